"""Voice activity on 8 kHz telephone audio: which 20 ms frames hold speech. Time is counted in samples only.

:func:`frame_levels` looks at any number of frames at once, of one call or of many; :class:`Vad` is the small state of
one call: a noise floor that falls at once and rises slowly, the level of the speech heard so far, and two thresholds
between them. Energy alone takes breath and clicks for speech, so a frame must also look voiced (a spectrum that is not
flat) to begin an utterance.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parley.audio import FRAME_SAMPLES, Pcm

_FFT = 256
_WINDOW = np.hanning(FRAME_SAMPLES).astype(np.float32)
_BINS = np.fft.rfftfreq(_FFT, 1 / 8000)
# The telephone band without its lowest part, where hum and handling noise live.
_BAND = (_BINS >= 200) & (_BINS <= 3500)
_EPSILON = 1e-3


def frame_levels(frames: NDArray[np.int16]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Level and spectral flatness of each frame.

    Args:
        frames: int16, shape ``[frames, 160]``.

    Returns:
        dB of the 200 to 3500 Hz band (0 dB is one unit of amplitude) and flatness in dB (geometric over arithmetic
        mean of the power spectrum: about -2 for white noise, -10 and less for vowels), both float32 ``[frames]``.
    """
    spectrum = np.fft.rfft(frames.astype(np.float32) * _WINDOW, _FFT, axis=1)[:, _BAND]
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) + _EPSILON  # [frames, bins]
    mean = power.mean(axis=1)
    level = 10 * np.log10(mean / FRAME_SAMPLES)
    flatness = 10 * (np.log10(power).mean(axis=1) - np.log10(mean))
    return level.astype(np.float32), flatness.astype(np.float32)


@dataclass(frozen=True)
class VadParams:
    """Thresholds, in dB and 20 ms frames."""

    onset_db: float = 9.0
    """Above the noise floor to begin."""
    offset_db: float = 5.0
    """Above the noise floor to go on."""
    below_speech_db: float = 26.0
    """Speech is never this far below the call's speech level: so breath and far voices end an utterance."""
    quietest_db: float = 22.0
    """Nothing below this is speech, however silent the line."""
    flat_db: float = -5.0
    """A frame flatter than this does not begin speech."""
    onset_frames: int = 3
    """Frames of speech among the last ``onset_window`` that begin it."""
    onset_window: int = 5
    floor_window: int = 75
    """Frames over which the noise floor is looked for (1.5 s)."""
    floor_rise_db: float = 0.04
    """The floor rises by at most this per frame while there is speech above it."""


class Vad:
    """The voice activity of one call, a decision a frame."""

    def __init__(self, params: VadParams | None = None) -> None:
        self._params = params or VadParams()
        self._recent: deque[float] = deque(maxlen=self._params.floor_window)
        self._onset: deque[bool] = deque(maxlen=self._params.onset_window)
        self._floor: float | None = None
        self._speech_db = 0.0
        self.active = False
        """Whether the last frame belongs to speech."""

    def push(self, pcm: Pcm) -> list[bool]:
        """Whether each frame of ``pcm`` holds speech. int16, a whole number of 160-sample frames."""
        level, flatness = frame_levels(pcm.reshape(-1, FRAME_SAMPLES))
        return [self.decide(float(db), float(flat)) for db, flat in zip(level, flatness, strict=True)]

    def decide(self, level_db: float, flatness_db: float) -> bool:
        """One frame, from :func:`frame_levels`."""
        params = self._params
        floor = self._follow_floor(level_db)
        lowest = max(params.quietest_db, self._speech_db - params.below_speech_db)
        if self.active:
            self.active = level_db > max(floor + params.offset_db, lowest)
        loud = level_db > max(floor + params.onset_db, lowest)
        self._onset.append(loud and flatness_db < params.flat_db)
        if not self.active and sum(self._onset) >= params.onset_frames:
            self.active = True
        if self.active:
            # The level of speech: quick up, 6 dB a second down, so that a call that gets quieter is still heard.
            self._speech_db = max(self._speech_db - 0.12, min(level_db, self._speech_db + 3.0), 30.0)
        return self.active

    def _follow_floor(self, level_db: float) -> float:
        """Minimum statistics (Martin, 2001) in short: the low end of the last frames, rising slowly."""
        self._recent.append(level_db)
        low = sorted(self._recent)[len(self._recent) // 10]
        if self._floor is None:
            self._floor = min(low, 40.0)
        elif low < self._floor:
            self._floor += 0.3 * (low - self._floor)
        else:
            self._floor += min(self._params.floor_rise_db * (1 if self.active else 5), low - self._floor)
        return self._floor
