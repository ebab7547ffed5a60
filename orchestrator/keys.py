"""Telephone keys as an input: digits where digits are asked for, a person where they are not.

    pad = KeyPad()
    keyed = pad.press("4", at, most=8, asked=True)     # None: the number goes on
    keyed = pad.expired(at)                            # nothing more was pressed

A number ends with ``#``, or when no key follows for a while; ``*`` takes back what was keyed. Time is the call's, by
the wall clock, in samples.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.wall_clock import CALL_RATE

PAUSE_S = 3.0
"""Without a further key for this long a number is over: the usual inter-digit time-out (VoiceXML 2.0, appendix D)."""
PAUSE_WHEN_FULL_S = 1.0
"""The same once it has as many digits as it may have: a caller may still press one too many."""
MOST_DIGITS = 64
"""Keys that are kept of one number; beyond, it is too long for any slot."""
OPERATOR = "0"


@dataclass(frozen=True)
class Keyed:
    """What keys meant. ``digits`` is empty where a person was asked for."""

    digits: str = ""
    operator: bool = False


class KeyPad:
    """The keys of one call, collected to numbers."""

    def __init__(self) -> None:
        self._digits = ""
        self._full_at = 0
        self._last = 0

    @property
    def collecting(self) -> bool:
        """Whether a number is being keyed."""
        return bool(self._digits)

    def press(self, key: str, at: int, *, most: int | None, asked: bool) -> Keyed | None:
        """A key was pressed; what that meant, once it is known.

        Args:
            key: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``.
            at: the time in samples.
            most: digits of the longest number that has a place now; None where none has.
            asked: whether a number is what was asked for: else a zero before any digit calls a person.
        """
        if key == "*":
            self._digits = ""
        elif key == "#":
            return self._over(ended=True)
        elif key in "0123456789" and len(key) == 1:
            if not self._digits and key == OPERATOR and not asked:
                return Keyed(operator=True)
            if not self._digits and most is None:
                return None
            self._full_at = most or self._full_at
            self._digits = (self._digits + key)[:MOST_DIGITS]
            self._last = at
        return None

    def expired(self, at: int) -> Keyed | None:
        """What was keyed, once no further key has come for long enough. Says so once."""
        pause_s = PAUSE_S if len(self._digits) < self._full_at else PAUSE_WHEN_FULL_S
        return self._over(ended=False) if self._digits and at - self._last >= pause_s * CALL_RATE else None

    def _over(self, *, ended: bool) -> Keyed | None:
        digits, self._digits = self._digits, ""
        if digits == OPERATOR and not ended:
            return Keyed(operator=True)  # one zero and nothing more: the key for a person
        return Keyed(digits) if digits else None
