"""What a call has heard of late, by its sample clock: two halves of a sentence can be heard again as one."""

from __future__ import annotations

import time
from collections import deque

import numpy as np

from orchestrator.wall_clock import CALL_RATE
from parley.audio import Pcm

KEPT_S = 40
"""Audio of the call that is kept to hear halves again as one."""
_KEPT_ARRIVALS = 1000


class RecentAudio:
    """The last seconds of the inbound audio by the sample clock, and when of late it was received."""

    def __init__(self, keep_s: float = KEPT_S) -> None:
        self._keep = round(keep_s * CALL_RATE)
        self._received: deque[tuple[int, float]] = deque(maxlen=_KEPT_ARRIVALS)
        self._parts: deque[Pcm] = deque()
        self._first = 0
        self._end = 0

    def add(self, pcm: Pcm) -> None:
        """The next samples, int16 ``[n]``."""
        self._parts.append(pcm)
        self._end += len(pcm)
        self._received.append((self._end, time.monotonic()))
        while self._end - self._first - len(self._parts[0]) >= self._keep:
            self._first += len(self._parts.popleft())

    def between(self, start: int, end: int) -> Pcm:
        """Samples ``start`` to ``end`` of the call, as far as they are kept."""
        joined = np.concatenate(list(self._parts)) if self._parts else np.zeros(0, dtype=np.int16)
        return joined[max(0, start - self._first) : max(0, end - self._first)]

    def received(self, sample: int) -> float | None:
        """Monotonic time at which the clock first stood at ``sample`` or later, for the latency figures only."""
        return next((at for end, at in self._received if end >= sample), None)
