"""How far a voice is from the one it learned: mel-cepstral distance and pitch, frames matched by time warping.

**Mel-cepstral distance** (Kubichek, 1993), in dB: ``10 / ln 10 * sqrt(2 * sum over k = 1 .. 13 of (c_k - c'_k)^2)``,
its mean over the matched frames in which both speak. ``c_k = 2 / N * sum over n of ln|X_n| cos(pi k (n - 1/2) / N)``
with ``|X_n|`` the square root of the power in the n-th of N = 24 mel bands (60 to 3800 Hz), Hann windows of 25 ms, a
frame every 10 ms. ``c_0`` is left out, so loudness does not count; with this scale the distance is the root mean square
difference in dB of two smoothed mel spectra (Parseval). Frames are matched by the cheapest path of that distance.

**Pitch**: of matched frames that both voices voice, Pearson's correlation of log F0 and the root mean square difference
in cents; the share of matched speech frames that only one of them voices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.tts.alignment import HOP, mel_bands, warping_path
from models.tts.pitch import pitch_contour
from parley.audio import Pcm

COEFFICIENTS = 13
_BANDS, _WINDOW, _FFT = 24, 200, 512
_SPEECH_DB = 40.0
"""A frame speaks when it is at most this far below the loud frames (their 95th percentile)."""
_FEWEST_VOICED = 20


@dataclass(frozen=True)
class Distance:
    """Of one sentence. ``f0_correlation`` is nan where too few frames are voiced."""

    mcd_db: float
    f0_correlation: float
    f0_rmse_cents: float
    voicing_differs: float


def mel_cepstra(pcm: Pcm) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """``c_1 .. c_13`` of each frame, ``[frames, 13]``, and whether the frame speaks, ``[frames]``."""
    frames = max(1, len(pcm) // HOP)
    lead = (_WINDOW - HOP) // 2
    padded = np.pad(pcm.astype(np.float64) / 32768.0, (lead, _WINDOW))
    windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::HOP][:frames]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW), _FFT)) ** 2
    bands = power @ mel_bands(_BANDS, _FFT).T
    log = 0.5 * np.log(bands + 1e-8)
    n = np.arange(_BANDS) + 0.5
    cosines = np.cos(np.pi * np.outer(np.arange(1, COEFFICIENTS + 1), n) / _BANDS)
    level = 10 * np.log10(bands.sum(1) + 1e-8)
    return 2 / _BANDS * log @ cosines.T, level > np.quantile(level, 0.95) - _SPEECH_DB


def distance(mine: Pcm, theirs: Pcm) -> Distance:
    """Compare two renderings of a sentence, int16 ``[n]`` at 8 kHz each."""
    (a, speaks_a), (b, speaks_b) = mel_cepstra(mine), mel_cepstra(theirs)
    squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
    decibel = 10 / np.log(10) * np.sqrt(2 * np.maximum(squared, 0))
    rows, columns = warping_path(decibel)
    both = speaks_a[rows] & speaks_b[columns]
    rows, columns = rows[both], columns[both]
    hz_a, voiced_a = pitch_contour(mine, HOP)
    hz_b, voiced_b = pitch_contour(theirs, HOP)
    voiced = (voiced_a[rows] > 0) & (voiced_b[columns] > 0)
    log_a, log_b = np.log(hz_a[rows][voiced]), np.log(hz_b[columns][voiced])
    enough = len(log_a) >= _FEWEST_VOICED and log_a.std() > 0 and log_b.std() > 0
    return Distance(
        float(decibel[rows, columns].mean()) if len(rows) else float("nan"),
        float(np.corrcoef(log_a, log_b)[0, 1]) if enough else float("nan"),
        float(1200 / np.log(2) * np.sqrt(((log_a - log_b) ** 2).mean())) if enough else float("nan"),
        float((voiced_a[rows] != voiced_b[columns]).mean()) if len(rows) else float("nan"),
    )
