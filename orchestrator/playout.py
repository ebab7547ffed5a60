"""What the caller has heard of the bot: a clock of samples sent, corrected by the gateway's mark echoes.

Some gateways never echo a mark, so the clock runs by itself, on the call's time; an echo only corrects it. A lost echo
can therefore never leave the bot "speaking" for ever. Some gateways echo a mark when they receive it: audio cannot have
been played in less time than it lasts, so such an echo says nothing. A late echo moves the end by some seconds at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.wall_clock import CALL_RATE

EARLY_S = 0.1
"""An echo may come this much before its audio can have ended."""
LATE_S = 3.0
"""A gateway is never believed to play further behind than this."""
_KEPT_MARKS, _KEPT_WORDS = 256, 1024
"""More than any answer has. Older ones are forgotten: a gateway that never echoes must not fill the memory."""


@dataclass(frozen=True)
class SpokenWord:
    """A word and the sample, counted from the first one ever sent in the call, at which it ends."""

    word: str
    end: int


@dataclass(frozen=True)
class _Mark:
    position: int
    """Samples sent up to it."""
    earliest: int
    """When its audio can have been played at the earliest."""


class Playout:
    """Samples sent and played in one call. ``now`` is always the call's time in samples, by the wall clock."""

    def __init__(self) -> None:
        self.sent = 0
        """Samples sent since the call began; those that a ``clear`` took back are counted off."""
        self.until = 0
        """When the caller has heard everything, as far as is known."""
        self.early_echoes = 0
        self._earliest = 0
        self._marks: dict[str, _Mark] = {}
        self._words: list[SpokenWord] = []

    def send(self, samples: int, words: Sequence[SpokenWord], mark: str | None, now: int) -> None:
        """A piece is sent, and a mark after it.

        Args:
            samples: its length.
            words: words that end in this piece, or soon after it.
            mark: None for none: then the clock alone tells when it was played.
        """
        self._words = [*self._words, *words][-_KEPT_WORDS:]
        self.sent += samples
        self.until = max(self.until, now) + samples
        self._earliest = max(self._earliest, now) + samples
        if mark is not None:
            self._marks[mark] = _Mark(self.sent, self._earliest)
        if len(self._marks) > _KEPT_MARKS:
            del self._marks[next(iter(self._marks))]

    def echoed(self, name: str, now: int) -> None:
        """The gateway says that everything up to this mark was played.

        Unknown and cleared marks say nothing, nor do those that come earlier than their audio can have ended.
        """
        mark = self._marks.get(name)
        if mark is None:
            return
        if now < mark.earliest - EARLY_S * CALL_RATE:
            self.early_echoes += 1
            return
        # What came before it was played too, even if its own echo is lost or still under way.
        self._marks = {other: its for other, its in self._marks.items() if its.position > mark.position}
        latest = self._earliest + round(LATE_S * CALL_RATE)
        self.until = min(max(now + self.sent - mark.position, self._earliest), latest)

    def speaking(self, now: int) -> bool:
        """Whether the caller still hears the bot."""
        return now < self.until

    def settled(self) -> bool:
        """Whether the last mark came back, in its time."""
        return not self._marks

    def played(self, now: int) -> int:
        """Samples the caller has heard since the call began."""
        return self.sent - max(0, self.until - now)

    def heard_words(self, since: int, now: int) -> list[str]:
        """Words heard in full, of the audio sent after sample ``since``."""
        played = self.played(now)
        return [spoken.word for spoken in self._words if since < spoken.end <= played]

    def clear(self, now: int) -> int:
        """The rest was dropped by a ``clear``: forget its marks. Returns the samples dropped."""
        dropped = self.sent - self.played(now)
        self.sent -= dropped
        self._words = [spoken for spoken in self._words if spoken.end <= self.sent]
        self._marks.clear()
        self.until = self._earliest = now
        return dropped

    def stop(self) -> int:
        """No more is sent, but what was cannot be taken back. Returns the samples dropped: none."""
        self._words = [spoken for spoken in self._words if spoken.end <= self.sent]
        return 0
