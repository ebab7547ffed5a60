"""Voice activity by energy: what a quiet line's speech is found by (:mod:`orchestrator.vad`).

:func:`frame_levels` looks at any number of frames at once, of one call or of many; :class:`EnergyDetector` is the small
state of one call: a noise floor that falls at once and rises slowly, the level of the speech heard so far, and two
thresholds between them. Energy alone takes breath and clicks for speech, so a frame must also look voiced (a spectrum
that is not flat) to begin an utterance.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray

from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE

_BINS = np.fft.rfftfreq(256, 1 / TELEPHONE_RATE)
_BAND = slice(int(np.searchsorted(_BINS, 200)), int(np.searchsorted(_BINS, 3500, "right")))
"""The telephone band without its lowest part, where hum and handling noise live."""
_EPSILON = np.float32(1e-3)
_MEAN = np.zeros(len(_BINS), dtype=np.float32)
_MEAN[_BAND] = 1 / FRAME_SAMPLES / len(_BINS[_BAND])


def frame_levels(power: NDArray[np.float32]) -> list[float]:
    """Level of each frame, by its :func:`models.vad.client.power` ``[frames, 129]``.

    Returns:
        dB of the 200 to 3500 Hz band; 0 dB is one unit of amplitude.
    """
    return [10 * log10(mean) for mean in (power @ _MEAN + _EPSILON).tolist()]


def flatness(power: NDArray[np.float32]) -> float:
    """Spectral flatness of one frame ``[129]``, in dB.

    Geometric over arithmetic mean of the band's power: about -2 for white noise, -10 and less for vowels.
    """
    band = power[_BAND] + _EPSILON
    logs, total = np.add.reduce(np.log10(band)), np.add.reduce(band)
    return 10 * (float(logs) / len(band) - log10(float(total) / len(band)))


@dataclass(frozen=True)
class EnergyParams:
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


class EnergyDetector:
    """One call's speech by its energy, a decision a frame."""

    def __init__(self, params: EnergyParams | None = None) -> None:
        self._params = params or EnergyParams()
        self._recent: deque[float] = deque(maxlen=self._params.floor_window)
        self._onset: deque[bool] = deque(maxlen=self._params.onset_window)
        self._floor: float | None = None
        self._speech_db = 0.0
        self.active = False
        """Whether the last frame belongs to speech."""

    @property
    def floor_db(self) -> float:
        """The level of the line's noise."""
        return self._floor or 0.0

    def decide(self, level_db: float, power: NDArray[np.float32]) -> bool:
        """One frame: its level by :func:`frame_levels`, and the power ``[129]`` that it comes from."""
        params = self._params
        floor = self._follow_floor(level_db)
        lowest = max(params.quietest_db, self._speech_db - params.below_speech_db)
        if self.active:
            self.active = level_db > max(floor + params.offset_db, lowest)
        loud = level_db > max(floor + params.onset_db, lowest)
        self._onset.append(loud and flatness(power) < params.flat_db)
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
