"""What an ear would complain of, measured in the samples: buzzing, clicks, clipping, cut words, hum, dead air.

- **Harmonic-to-noise ratio** (Boersma, 1993), ``10 log10(r / (1 - r))`` in dB with ``r`` the normalised correlation of
  a voiced stretch of 40 ms with the one a period later; also in the band from 2 to 3.8 kHz alone, where a vocoder that
  buzzes puts harmonics that a voice does not have. Median over voiced frames; to be read beside the training voice's.
- **Borders**: where two pieces of audio meet, the step between the samples, as its rank among the steps 20 ms around.
  Without clicks the ranks are uniform: one in a hundred is above 0.99.
- **Cut words**: level of the last 10 ms below the loud frames, and the silence kept after the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import soxr
from numpy.typing import NDArray
from scipy.signal import butter, sosfiltfilt

from models.tts.alignment import HOP
from models.tts.pitch import pitch_contour
from parley.audio import TELEPHONE_RATE, Pcm

_FINE = 4
"""Oversampling: a period is then known to 31 us, an eighth of a cycle at 3.8 kHz."""
_WINDOW_S = 0.04
_HIGH_HZ = (2000.0, 3800.0)
_CLIPPED = 32700
_AROUND = TELEPHONE_RATE // 50
_SILENT_DB = -40.0


@dataclass(frozen=True)
class Signal:
    """Of one utterance; ``border_ranks``: one for each border of pieces."""

    hnr_db: float
    high_hnr_db: float
    clipped: int
    peak_dbfs: float
    dc: float
    end_db: float
    lead_ms: float
    tail_ms: float
    longest_pause_ms: float
    floor_db: float
    border_ranks: tuple[float, ...]


def look(pcm: Pcm, borders: Sequence[int] = ()) -> Signal:
    """Check int16 ``[n]`` at 8 kHz; ``borders``: samples at which a new piece begins."""
    level = _levels(pcm)
    loud = float(np.quantile(level, 0.95))
    silent = level < loud + _SILENT_DB
    speaking = np.flatnonzero(~silent)
    first, last = (int(speaking[0]), int(speaking[-1])) if len(speaking) else (0, 0)
    hnr, high = harmonicity(pcm)
    samples = pcm.astype(np.float64)
    return Signal(
        hnr,
        high,
        int((np.abs(pcm.astype(np.int32)) >= _CLIPPED).sum()),
        20 * float(np.log10(max(np.abs(samples).max(), 1.0) / 32768.0)),
        float(abs(samples.mean()) / max(samples.std(), 1.0)),
        float(level[-1] - loud),
        first * 10.0,
        (len(level) - 1 - last) * 10.0,
        _longest(silent[first : last + 1]) * 10.0,
        float(np.quantile(level, 0.02) - loud),
        tuple(border_rank(samples, at) for at in borders if _AROUND < at < len(pcm) - _AROUND),
    )


def _levels(pcm: Pcm) -> NDArray[np.float64]:
    """dB of each 10 ms, full scale 0."""
    frames = max(1, len(pcm) // HOP)
    blocks = np.resize(pcm, frames * HOP).reshape(frames, HOP).astype(np.float64) / 32768.0
    return 10 * np.log10((blocks**2).mean(1) + 1e-10)


def _longest(flags: NDArray[np.bool_]) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def border_rank(samples: NDArray[np.float64], at: int) -> float:
    """Share of the steps around sample ``at`` that are smaller than the step onto it, 0 to 1."""
    steps = np.abs(np.diff(samples[at - _AROUND : at + _AROUND]))
    own = steps[_AROUND - 1]
    return float((steps < own).mean())


def harmonicity(pcm: Pcm) -> tuple[float, float]:
    """Median harmonic-to-noise ratio in dB over voiced frames, of the whole band and of 2 to 3.8 kHz; nan without."""
    hz, voiced = pitch_contour(pcm, HOP)
    whole = pcm.astype(np.float64)
    bands = (whole, sosfiltfilt(butter(6, _HIGH_HZ, "bandpass", fs=TELEPHONE_RATE, output="sos"), whole))
    out = []
    for band in bands:
        fine = soxr.resample(band, TELEPHONE_RATE, TELEPHONE_RATE * _FINE)
        ratios = [_ratio(fine, int((n + 0.5) * HOP * _FINE), float(hz[n])) for n in np.flatnonzero(voiced > 0)]
        known = [r for r in ratios if r is not None]
        out.append(float(np.median(known)) if known else float("nan"))
    return out[0], out[1]


def _ratio(fine: NDArray[np.float64], centre: int, hz: float) -> float | None:
    """Harmonic-to-noise ratio around a sample, the period searched 3 % around ``1 / hz``."""
    period, size = TELEPHONE_RATE * _FINE / hz, int(_WINDOW_S * TELEPHONE_RATE * _FINE)
    begin = centre - size // 2
    lags = np.arange(int(period * 0.97), int(period * 1.03) + 2)
    if begin < 0 or begin + size + lags[-1] > len(fine):
        return None
    still = fine[begin : begin + size]
    moved = np.lib.stride_tricks.sliding_window_view(fine[begin + lags[0] : begin + lags[-1] + size], size)
    norms = np.sqrt((still**2).sum() * (moved**2).sum(1))
    if norms.min() <= 0:
        return None
    best = float(np.clip((moved @ still / norms).max(), 1e-3, 0.9999))
    return 10 * float(np.log10(best / (1 - best)))
