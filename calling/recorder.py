"""A call as stereo audio, caller left and bot right, both on one sample clock: tracks cannot drift apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parley.audio import Pcm, write_wav


class CallRecorder:
    """Collects a call frame by frame. ``rate``: samples a second, in Hz."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._caller: list[Pcm] = []
        self._bot: list[Pcm] = []
        self.samples = 0
        """Length so far."""

    def add(self, caller: Pcm, bot: Pcm) -> None:
        """What both said in the same stretch of time. int16 ``[n]`` each, of one length."""
        if len(caller) != len(bot):
            raise ValueError(f"caller has {len(caller)} samples and bot {len(bot)}")
        self._caller.append(caller)
        self._bot.append(bot)
        self.samples += len(caller)

    def stereo(self) -> NDArray[np.int16]:
        """The whole call, int16 ``[n, 2]``: caller left, bot right."""
        if not self._caller:
            return np.zeros((0, 2), dtype=np.int16)
        return np.stack([np.concatenate(self._caller), np.concatenate(self._bot)], axis=1)

    def write(self, path: Path) -> None:
        """Write it as a stereo WAV file."""
        write_wav(path, self.stereo(), self.rate)
