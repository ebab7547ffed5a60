"""The second clock of a call. Samples order what is said; the wall clock notices when they stop, or come too fast.

Tests hand in a clock of their own and run a call as fast as they can.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from parley.audio import TELEPHONE_RATE

CALL_RATE = TELEPHONE_RATE
"""Samples a second on a call's clock: what its echo guard, voice activity and turn taking listen at, in Hz. Gateways
and models of another rate are resampled at their doors."""


class Clock(Protocol):
    """Seconds that never run backwards, and waiting for them to pass."""

    def now(self) -> float:
        """Seconds since some moment."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds have passed."""
        ...


class MonotonicClock:
    """The machine's clock."""

    def now(self) -> float:
        """See `Clock`."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See `Clock`."""
        await asyncio.sleep(seconds)


class Elapsed:
    """Time since a call began, in samples: what the bot's audio is played by, and what waiting is measured with.

    A gateway plays our audio whether or not it sends any of its own, so playing it is not a matter of inbound samples.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()

    def samples(self) -> int:
        """Samples' worth of time that has passed."""
        return round((self._clock.now() - self._began) * CALL_RATE)


class Patience:
    """How long the caller has said nothing that counts, while the bot was silent. A noise does not start it anew.

    Args:
        elapsed: the call's time.
        wait_s: how long is long enough to ask again.
    """

    def __init__(self, elapsed: Elapsed, wait_s: float) -> None:
        self._elapsed = elapsed
        self._wait = wait_s * CALL_RATE
        self._since = 0

    def restart(self) -> None:
        """Something that counts was said, or asked."""
        self._since = self._elapsed.samples()

    def over(self, bot_until: int) -> bool:
        """Whether it is time to ask again. ``bot_until``: when the bot's audio ends or ended, as is known now."""
        return self._elapsed.samples() - max(self._since, bot_until) >= self._wait
