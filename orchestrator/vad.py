"""Voice activity on 8 kHz telephone audio: which 20 ms frames hold speech. Time is counted in samples only.

Two detectors listen. The small network of :mod:`models.vad` knows what a voice is like and hears it in the noise of a
place; on a quiet line :mod:`orchestrator.energy` also hears the soft ends of sentences. A frame is speech if the
network says so, or if the line is quiet and its energy says so.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.vad.client import Detector, power
from orchestrator.energy import EnergyDetector, EnergyParams, frame_levels
from parley.audio import FRAME_SAMPLES, Pcm


class VoiceActivity(Protocol):
    """What turn taking listens by."""

    def push(self, pcm: Pcm) -> list[bool]:
        """Whether each frame of ``pcm`` holds speech. int16, a whole number of 160-sample frames."""
        ...


@dataclass(frozen=True)
class VadParams:
    """Thresholds of probability, and 20 ms frames. Set on recordings of training and dev speakers."""

    onset: float = 0.6
    """A frame at least so probable may begin speech."""
    offset: float = 0.05
    """Speech goes on while frames are more probable than this."""
    onset_frames: int = 4
    """Frames of speech among the last ``onset_window`` that begin it."""
    onset_window: int = 6
    resume: float = 0.15
    """Two frames so probable begin it again soon after it ended: a caller who paused goes on softly."""
    resume_window: int = 25
    quiet_line_db: float = 20.0
    """A line whose noise is below this is quiet. Telephone noise of no place at all lies below 12 dB."""
    energy: EnergyParams = field(default_factory=EnergyParams)


class Vad:
    """The voice activity of one call, a decision a frame."""

    def __init__(self, params: VadParams | None = None) -> None:
        self._params = params or VadParams()
        self._network = Detector()
        self._energy = EnergyDetector(self._params.energy)
        self._onset: deque[bool] = deque(maxlen=self._params.onset_window)
        self._before = 0.0
        self._voice = False
        """Whether the network heard speech in the last frame."""
        self._since = self._params.resume_window + 1
        """Frames since speech."""
        self.active = False
        """Whether the last frame belongs to speech."""

    def push(self, pcm: Pcm) -> list[bool]:
        """Whether each frame of ``pcm`` holds speech. int16, a whole number of 160-sample frames."""
        spectrum = power(pcm.reshape(-1, FRAME_SAMPLES))
        looks = zip(self._network.push(spectrum), frame_levels(spectrum), spectrum, strict=True)
        return [self.decide(*look) for look in looks]

    def decide(self, probability: float, level_db: float, power: NDArray[np.float32]) -> bool:
        """One frame: the network's probability, the level and the power ``[129]`` it was measured on."""
        loud = self._energy.decide(level_db, power)
        audible = level_db > self._params.energy.quietest_db
        quiet = self._energy.floor_db < self._params.quiet_line_db
        self.active = self._voiced(probability, audible) or (quiet and loud)
        self._since = 0 if self.active else self._since + 1
        return self.active

    def _voiced(self, probability: float, audible: bool) -> bool:
        params = self._params
        self._onset.append(audible and probability > params.onset)
        soon = self._since <= params.resume_window and min(probability, self._before) > params.resume
        goes_on = self._voice and probability > params.offset
        self._before = probability
        self._voice = audible and (goes_on or soon) or sum(self._onset) >= params.onset_frames
        return self._voice
