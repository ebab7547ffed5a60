"""The running side of voice activity: band levels of 20 ms frames and a small causal network, in numpy.

    detector = Detector(load_weights())
    speech = detector.push(frames)         # int16 [n, 160] -> probability of speech, float32 [n]

Levels are taken relative to their own slow mean and to a floor that follows the quietest of late, so neither the level
of the call nor a steady noise matters; three dilated convolutions see half a second of that. No look-ahead.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parley.audio import FRAME_SAMPLES, SAMPLE_RATE
from parley.errors import ParleyError

Floats = NDArray[np.float32]
BANDS, HIDDEN = 18, 24
FEATURES = 2 * BANDS + 1
DILATIONS = (1, 3, 9)
"""Of the convolutions, each over three frames."""
_FFT = 256
_FLOOR = 4.0
"""Energy added to every band: below it is what G.711 makes of silence."""
_MEAN_DECAY = 0.98
"""A frame of 20 ms: the mean forgets within about a second."""
_FALL, _RISE = 0.3, 0.004
"""Shares by which the floor moves to a lower, and to a higher level, in one frame."""
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
    hertz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    mel, edges = np.log1p(hertz / 700), np.linspace(np.log1p(150 / 700), np.log1p(3800 / 700), BANDS + 2)
    rising = (mel[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - mel[:, None]) / (edges[2:] - edges[1:-1])
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return (triangles / triangles.sum(axis=0)).astype(np.float32)


_MATRIX = _band_matrix()
_WINDOW = np.hanning(FRAME_SAMPLES).astype(np.float32)


def band_levels(frames: NDArray[np.int16]) -> Floats:
    """Natural log of the energy in each band; int16 ``[n, 160]`` to ``[n, BANDS]``."""
    spectrum = np.fft.rfft(frames.astype(np.float32) * _WINDOW, _FFT, axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) / FRAME_SAMPLES
    return np.asarray(np.log(power @ _MATRIX + _FLOOR), dtype=np.float32)


class Levels:
    """Turns band levels into what the network sees, frame after frame of one call."""

    def __init__(self) -> None:
        self._mean: Floats | None = None
        self._floor: Floats = np.zeros(BANDS, dtype=np.float32)

    def push(self, levels: Floats) -> Floats:
        """``[BANDS]`` of one frame to ``[FEATURES]``."""
        if self._mean is None:
            self._mean, self._floor = levels.copy(), levels.copy()
        self._mean = _MEAN_DECAY * self._mean + (1 - _MEAN_DECAY) * levels
        distance = levels - self._floor
        self._floor = self._floor + np.where(distance < 0, _FALL, _RISE).astype(np.float32) * distance
        absolute = np.array([levels.mean() - 6.0], dtype=np.float32)
        return np.concatenate([levels - self._mean, levels - self._floor, absolute]) * np.float32(0.5)


class Detector:
    """Voice activity of one call."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._weights = weights or load_weights()
        self._levels = Levels()
        self._seen = [np.zeros((2 * d, w.shape[1]), dtype=np.float32) for w, _, d in self._weights.layers()]

    def push(self, frames: NDArray[np.int16]) -> Floats:
        """Probability of speech in each frame; int16 ``[n, 160]``."""
        n = len(frames)
        if not n:
            return np.zeros(0, dtype=np.float32)
        x = np.stack([self._levels.push(row) for row in band_levels(frames)])  # [n, FEATURES]
        for index, (weight, bias, dilation) in enumerate(self._weights.layers()):
            seen = np.concatenate([self._seen[index], x])
            self._seen[index] = seen[n:]
            taps = np.concatenate([seen[k * dilation : k * dilation + n] for k in range(3)], axis=1)
            x = np.maximum(taps @ weight.reshape(-1, len(bias)) + bias, 0)
        logits = x @ self._weights.output + self._weights.output_bias[0]
        return np.asarray(1 / (1 + np.exp(-logits)), dtype=np.float32)
