"""The running side of voice activity: band levels of 20 ms frames and a small causal network, in numpy.

    detector = Detector(load_weights())
    speech = detector.push(power(frames))  # int16 [n, 160] -> probability of speech, float32 [n]

Levels are taken relative to their own slow mean and to a floor that follows the quietest of late, so neither the level
of the call nor a steady noise matters; three dilated convolutions see half a second of that. No look-ahead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE
from parley.errors import ParleyError

Floats = NDArray[np.float32]
BANDS, HIDDEN = 18, 40
FEATURES = 2 * BANDS + 1
DILATIONS = (1, 3, 9)
"""Of the convolutions, each over three frames."""
_FFT = 256
_FLOOR = 4.0
"""Energy added to every band: below it is what G.711 makes of silence."""
_FALL, _RISE = np.array([[[0.02], [0.3]], [[0.02], [0.004]]], dtype=np.float32)
"""Shares by which mean and floor move to a lower, and to a higher level, in one frame of 20 ms."""
_ZERO, _HALF = np.float32(0), np.float32(0.5)
WEIGHTS = Path(__file__).with_name("weights.npz")


@dataclass(frozen=True)
class Weights:
    """The network: three convolutions with rectifiers, and a logistic output."""

    first: Floats  # [3, FEATURES, HIDDEN], the earliest frame first
    first_bias: Floats  # [HIDDEN]
    second: Floats  # [3, HIDDEN, HIDDEN]
    second_bias: Floats  # [HIDDEN]
    third: Floats  # [3, HIDDEN, HIDDEN]
    third_bias: Floats  # [HIDDEN]
    output: Floats  # [HIDDEN]
    output_bias: Floats  # [1]

    def layers(self) -> list[tuple[Floats, Floats, int]]:
        """Weight, bias and dilation of each convolution."""
        pairs = [(self.first, self.first_bias), (self.second, self.second_bias), (self.third, self.third_bias)]
        return [(weight, bias, dilation) for (weight, bias), dilation in zip(pairs, DILATIONS, strict=True)]


@lru_cache(maxsize=4)
def load_weights(path: Path = WEIGHTS) -> Weights:
    """Read a weights file.

    Raises:
        ParleyError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            return Weights(**{f.name: found[f.name].astype(np.float32) for f in fields(Weights)})
    except (OSError, ValueError, KeyError) as error:
        raise ParleyError(
            f"weights of voice activity are missing or damaged ({type(error).__name__})",
            where=str(path), mend="install Parley again, or run: python -m models.vad.train",
        ) from None  # fmt: skip


def _band_matrix() -> Floats:
    """Triangles on the mel scale from 150 to 3800 Hz, ``[bins, BANDS]``: hum and handling noise lie below."""
    hertz = np.fft.rfftfreq(_FFT, 1 / TELEPHONE_RATE)
    mel, edges = np.log1p(hertz / 700), np.linspace(np.log1p(150 / 700), np.log1p(3800 / 700), BANDS + 2)
    rising = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return (triangles / triangles.sum(axis=0) / FRAME_SAMPLES).astype(np.float32)


def _fourier() -> Floats:
    """The windowed transform of a frame as a product, ``[160, 2 * bins]``: for one frame quicker than an FFT's call."""
    waves = np.fft.rfft(np.diag(np.hanning(FRAME_SAMPLES)), _FFT, axis=1)
    return np.concatenate([waves.real, waves.imag], axis=1).astype(np.float32)


_BINS = _FFT // 2 + 1
_MATRIX = _band_matrix()
_FOURIER = _fourier()


def power(frames: NDArray[np.int16]) -> Floats:
    """Power spectrum of each frame, int16 ``[n, 160]`` to ``[n, 129]``: bins of 31.25 Hz, Hann window."""
    waves = frames.astype(np.float32) @ _FOURIER
    waves *= waves
    return np.asarray(waves[:, :_BINS] + waves[:, _BINS:], dtype=np.float32)


def band_levels(power: Floats) -> Floats:
    """Natural log of the energy in each band; :func:`power` ``[n, 129]`` to ``[n, BANDS]``."""
    return np.asarray(np.log(power @ _MATRIX + _FLOOR), dtype=np.float32)


class Levels:
    """Turns band levels into what the network sees, frame after frame of one call."""

    def __init__(self) -> None:
        self._around: Floats | None = None  # [2, BANDS]: slow mean and floor

    def push(self, levels: Floats) -> Floats:
        """``[BANDS]`` of one frame to ``[FEATURES]``."""
        if self._around is None:
            self._around = np.stack([levels, levels])
        distance = levels - self._around
        self._around += distance * np.where(distance < 0, _FALL, _RISE)
        features = np.empty(FEATURES, dtype=np.float32)
        np.subtract(levels, self._around, out=features[:-1].reshape(2, BANDS))
        features[-1] = np.add.reduce(levels) / BANDS - 6.0
        features *= _HALF
        return features


class _Layer:
    """One convolution over what it has been given so far: a ring of as many rows as it reaches back."""

    def __init__(self, weight: Floats, bias: Floats, dilation: int) -> None:
        size = 2 * dilation + 1
        self._weight, self._bias = weight.reshape(-1, len(bias)), bias
        self._seen = np.zeros((size, weight.shape[1]), dtype=np.float32)
        self._taps = [np.array([(at + 1) % size, (at - dilation) % size, at]) for at in range(size)]
        self._at = 0

    def push(self, x: Floats) -> Floats:
        """One frame in, one out."""
        self._at = at = (self._at + 1) % len(self._taps)
        self._seen[at] = x
        y: Floats = self._seen.take(self._taps[at], axis=0).ravel() @ self._weight
        y += self._bias
        return np.maximum(y, _ZERO, out=y)


class Detector:
    """Voice activity of one call."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._weights = weights or load_weights()
        self._levels = Levels()
        self._layers = [_Layer(*layer) for layer in self._weights.layers()]

    def push(self, power: Floats) -> list[float]:
        """Probability of speech in each frame; :func:`power` of it ``[n, 129]``."""
        return [self._frame(levels) for levels in band_levels(power)]

    def _frame(self, levels: Floats) -> float:
        x = self._levels.push(levels)
        for layer in self._layers:
            x = layer.push(x)
        logit = float(x @ self._weights.output) + float(self._weights.output_bias[0])
        return 1 / (1 + math.exp(-max(-50.0, logit)))
