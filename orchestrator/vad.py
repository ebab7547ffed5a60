"""Voice activity on 8 kHz telephone audio: which 20 ms frames hold speech. Time is counted in samples only.

The small network of :mod:`models.vad` gives each frame a probability; :class:`Vad` makes it a decision: speech begins
with a few probable frames close together, and goes on until the probability falls low.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from models.vad.client import Detector
from parley.audio import FRAME_SAMPLES, Pcm


@dataclass(frozen=True)
class VadParams:
    """Thresholds of probability, and 20 ms frames. Set on recordings of training speakers in made noises."""

    onset: float = 0.6
    """A frame at least so probable may begin speech."""
    offset: float = 0.15
    """Speech goes on while frames are more probable than this."""
    onset_frames: int = 4
    """Frames of speech among the last ``onset_window`` that begin it."""
    onset_window: int = 6
    resume: float = 0.3
    """Two frames so probable begin it again soon after it ended: a caller who paused goes on softly."""
    resume_window: int = 25


class Vad:
    """The voice activity of one call, a decision a frame."""

    def __init__(self, params: VadParams | None = None) -> None:
        self._params = params or VadParams()
        self._detector = Detector()
        self._onset: deque[bool] = deque(maxlen=self._params.onset_window)
        self._before = 0.0
        self._since = self._params.resume_window + 1
        """Frames since speech."""
        self.active = False
        """Whether the last frame belongs to speech."""

    def push(self, pcm: Pcm) -> list[bool]:
        """Whether each frame of ``pcm`` holds speech. int16, a whole number of 160-sample frames."""
        return [self.decide(float(p)) for p in self._detector.push(pcm.reshape(-1, FRAME_SAMPLES))]

    def decide(self, probability: float) -> bool:
        """One frame, from the network."""
        params = self._params
        self._onset.append(probability > params.onset)
        soon = self._since <= params.resume_window and min(probability, self._before) > params.resume
        goes_on = self.active and probability > params.offset
        self.active = goes_on or soon or sum(self._onset) >= params.onset_frames
        self._since = 0 if self.active else self._since + 1
        self._before = probability
        return self.active
