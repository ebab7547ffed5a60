"""Audio of any length cut into slices of whole frames: other calls get their turn between two of them."""

from __future__ import annotations

import numpy as np

from orchestrator.wall_clock import CALL_RATE
from orchestrator.wires.contract import Audio
from parley.audio import FRAME_SAMPLES, Pcm

SLICE_SAMPLES = 5 * FRAME_SAMPLES
"""Audio that is listened to before other calls get their turn: half a millisecond of a core."""


class Slices:
    """What waits to be heard, and the call's sample clock: less than a frame waits for more."""

    def __init__(self) -> None:
        self._rest: Pcm = np.zeros(0, dtype=np.int16)
        self._at = 0

    def add(self, pcm: Pcm) -> None:
        """The next samples, int16 ``[n]`` at the call's rate."""
        if len(pcm):
            self._rest = np.concatenate([self._rest, pcm]) if len(self._rest) else pcm

    def pop(self) -> Audio | None:
        """The next slice; None while less than a frame waits."""
        rest = self._rest
        samples = min(len(rest) // FRAME_SAMPLES * FRAME_SAMPLES, SLICE_SAMPLES)
        if not samples:
            return None
        audio = Audio(rest[:samples], CALL_RATE, self._at)
        self._rest = rest[samples:]
        self._at += samples
        return audio

    def drain(self) -> list[Audio]:
        """All slices there are."""
        slices = []
        while (audio := self.pop()) is not None:
            slices.append(audio)
        return slices
