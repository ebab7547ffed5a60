"""The gateway's buffer of the bot's audio, played a frame a tick."""

from __future__ import annotations

from collections import deque

import numpy as np

from parley.audio import Pcm


class Playback:
    """Audio that waits to be played, and the marks behind it.

    Args:
        frame: samples that one tick plays.
    """

    def __init__(self, frame: int) -> None:
        self._frame = frame
        self._audio = np.zeros(0, dtype=np.int16)
        self._played = 0
        self._marks: deque[tuple[int, str]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be played."""
        return not len(self._audio)

    def add(self, pcm: Pcm) -> None:
        """Audio from the bot, int16 ``[n]``."""
        self._audio = np.concatenate([self._audio, pcm])

    def mark(self, name: str) -> None:
        """A mark behind the audio so far."""
        self._marks.append((self._played + len(self._audio), name))

    def clear(self) -> list[str]:
        """Drop what is not played; the marks to echo."""
        self._audio = self._audio[:0]
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def tick(self) -> tuple[Pcm, list[str]]:
        """Play a frame: its samples ``[frame]``, and the marks that were passed."""
        played, self._audio = self._audio[: self._frame], self._audio[self._frame :]
        self._played += len(played)
        passed = []
        while self._marks and self._marks[0][0] <= self._played:
            passed.append(self._marks.popleft()[1])
        return np.pad(played, (0, self._frame - len(played))), passed
