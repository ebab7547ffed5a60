"""Fundamental frequency of a recording: normalised autocorrelation, then the smoothest path through its peaks.

The method is Talkin's RAPT (1995) without its refinements: one candidate a lag, dynamic programming over frames.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import medfilt

from parley.audio import TELEPHONE_RATE

LOW_HZ, HIGH_HZ = 70.0, 400.0
_WINDOW = 320
_VOICED_ABOVE = 0.55


def pitch_contour(pcm: NDArray[np.int16], hop: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """F0 and voicing of each frame of ``hop`` samples.

    Returns:
        Hz, carried straight through unvoiced frames, and 1.0 where voiced, else 0.0; both fp32 ``[frames]``.
    """
    frames = len(pcm) // hop
    lags = np.arange(int(TELEPHONE_RATE / HIGH_HZ), int(TELEPHONE_RATE / LOW_HZ) + 2)
    similarity, level = _similarity(pcm.astype(np.float64), frames, hop, lags)
    best = _smoothest(similarity, lags)
    row = np.arange(frames)
    voiced = (similarity[row, best] > _VOICED_ABOVE) & (level > 0.02 * np.quantile(level, 0.95))
    voiced = medfilt(voiced.astype(np.float64), 3) > 0.5
    inner = np.clip(best, 1, len(lags) - 2)
    before, at, after = (similarity[row, inner + d] for d in (-1, 0, 1))
    bend = before - 2 * at + after
    shift = np.where(np.abs(bend) > 1e-9, 0.5 * (before - after) / np.where(bend == 0, 1, bend), 0.0)
    hz = TELEPHONE_RATE / (lags[inner] + np.clip(shift, -0.5, 0.5))
    if not voiced.any():
        return np.full(frames, 150.0, dtype=np.float32), np.zeros(frames, dtype=np.float32)
    contour = np.interp(row, row[voiced], hz[voiced])
    smooth = np.convolve(np.pad(medfilt(contour, 3), 1, mode="edge"), np.ones(3) / 3, mode="valid")
    return smooth.astype(np.float32), voiced.astype(np.float32)


def _similarity(
    pcm: NDArray[np.float64], frames: int, hop: int, lags: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Normalised cross-correlation ``[frames, lags]`` and root mean square ``[frames]``, centred on each frame."""
    longest = int(lags[-1])
    span = _WINDOW + longest
    lead = span // 2 - hop // 2
    padded = np.pad(pcm, (lead, span))
    windows = np.lib.stride_tricks.sliding_window_view(padded, span)[::hop][:frames]
    size = 1024
    head = np.fft.rfft(windows[:, :_WINDOW], size)
    cross = np.fft.irfft(np.conj(head) * np.fft.rfft(windows, size), size)[:, lags]
    energy = np.cumsum(np.pad(windows**2, ((0, 0), (1, 0))), axis=1)
    first = energy[:, _WINDOW] - energy[:, 0]
    shifted = energy[:, lags + _WINDOW] - energy[:, lags]
    floor = 1e4
    return cross / np.sqrt((first[:, None] + floor) * (shifted + floor)), np.sqrt(first / _WINDOW)


def _smoothest(similarity: NDArray[np.float64], lags: NDArray[np.int64]) -> NDArray[np.int64]:
    """Index of the lag of each frame on the path of highest similarity and least jumping."""
    log = np.log(lags)
    jump = 2.0 * np.abs(log[:, None] - log[None])
    # A tie between a period and twice the period goes to the shorter one.
    score = similarity - 0.03 * (log - log[0])[None]
    total = score[0]
    back = np.zeros(similarity.shape, dtype=np.int64)
    for n in range(1, len(score)):
        options = total[None] - jump
        back[n] = options.argmax(1)
        total = options[np.arange(len(lags)), back[n]] + score[n]
    path = np.zeros(len(score), dtype=np.int64)
    path[-1] = int(total.argmax())
    for n in range(len(score) - 1, 0, -1):
        path[n - 1] = back[n, path[n]]
    return path
