"""Noises of the places people call from, made from nothing: for training, so that no recording of noise is needed.

    bank = NoiseBank.make(seed=7, talkers=[pcm, ...])
    noise = bank.draw(8000, rng)        # float32 [8000], RMS 1

Steady ones (hiss of steam, hum, fan, rain), voices (babble of one to eight talkers), things that strike each other
(crockery, steps, doors), machines (grinder, motor) and music. A drawn noise is one of them or a sum of two, with a
level that may swell. A recording of a place can be one of the kinds; it is then drawn more often than the made ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, lfilter, sosfilt

from parley.audio import TELEPHONE_RATE, Pcm

Samples = NDArray[np.float32]
_SECONDS = 40
_N = _SECONDS * TELEPHONE_RATE
_RECORDED = "recorded"
_RECORDED_SHARE = 0.3
"""Of the stretches drawn, where there is a recording."""


@dataclass(frozen=True)
class NoiseBank:
    """Stretches of noise by kind, each float32 ``[n]`` with RMS 1."""

    kinds: dict[str, list[Samples]]

    @classmethod
    def make(
        cls, seed: int, talkers: Sequence[Pcm] = (), variants: int = 4, recorded: Samples | None = None
    ) -> NoiseBank:
        """Make ``variants`` stretches of every kind; babble only if there are ``talkers`` (int16 utterances).

        ``recorded`` is a place's own noise, float32 ``[n]`` at 8 kHz.
        """
        kinds = dict(_made(seed, variants))
        if talkers:
            rng = np.random.default_rng([seed, len(_KINDS)])
            kinds["babble"] = [_unit(babble(rng, talkers, voices)) for voices in (1, 2, 3, 5, 8)]
        if recorded is not None:
            kinds[_RECORDED] = [_unit(recorded)]
        return cls(kinds)

    def draw(self, n: int, rng: np.random.Generator) -> Samples:
        """``n`` samples of a drawn noise, RMS 1."""
        noise = self._stretch(n, rng)
        if rng.random() < 0.35:
            noise = noise + self._stretch(n, rng) * np.float32(rng.uniform(0.3, 1.0))
        if rng.random() < 0.3:
            noise = noise * _swell(n, rng)
        return _unit(noise)

    def _stretch(self, n: int, rng: np.random.Generator) -> Samples:
        names = [name for name in self.kinds if name != _RECORDED]
        name = names[int(rng.integers(len(names)))]
        if _RECORDED in self.kinds and rng.random() < _RECORDED_SHARE:
            name = _RECORDED
        variants = self.kinds[name]
        whole = variants[int(rng.integers(len(variants)))]
        start = int(rng.integers(len(whole)))
        return np.take(whole, np.arange(start, start + n), mode="wrap")


@lru_cache(maxsize=1)
def _made(seed: int, variants: int) -> dict[str, list[Samples]]:
    """Every kind but babble; kept, for it takes seconds."""
    kinds = {}
    for index, (name, make) in enumerate(_KINDS.items()):
        rng = np.random.default_rng([seed, index])
        kinds[name] = [_unit(make(rng)) for _ in range(variants)]
    return kinds


def _unit(noise: NDArray[np.floating]) -> Samples:
    return (noise / (np.sqrt(np.mean(noise**2)) + 1e-9)).astype(np.float32)


def _swell(n: int, rng: np.random.Generator) -> Samples:
    """A slow envelope between -12 and 0 dB."""
    points = max(2, n // 4000)
    level = np.interp(np.linspace(0, points - 1, n), np.arange(points), rng.uniform(-12, 0, points))
    return (10 ** (level / 20)).astype(np.float32)


def _band(noise: NDArray[np.floating], low: float, high: float, order: int = 2) -> NDArray[np.float64]:
    sos = butter(order, [low, min(high, 3990.0)], "bandpass", fs=TELEPHONE_RATE, output="sos")
    return np.asarray(sosfilt(sos, noise))


def _coloured(rng: np.random.Generator) -> NDArray[np.float64]:
    """White to brown noise: fans, traffic, a bad line."""
    slope = rng.uniform(0.0, 2.0)
    hertz = np.maximum(np.fft.rfftfreq(_N, 1 / TELEPHONE_RATE), 40)
    return np.fft.irfft(np.fft.rfft(rng.standard_normal(_N)) * hertz ** (-slope / 2), _N)


def _hum(rng: np.random.Generator) -> NDArray[np.float64]:
    """Mains or a motor: harmonics of 50 to 180 Hz that drift, over a little noise."""
    base = rng.choice([50.0, 60.0, rng.uniform(70, 180)])
    drift = np.cumsum(np.interp(np.arange(_N), np.linspace(0, _N, 50), rng.uniform(0.97, 1.03, 50)))
    phase = 2 * np.pi * base * drift / TELEPHONE_RATE
    tones = sum(rng.uniform(0.2, 1.0) / k**0.7 * np.sin(k * phase + rng.uniform(0, 6.3)) for k in range(1, 16))
    return np.asarray(tones + rng.uniform(0.05, 0.5) * rng.standard_normal(_N))


def _steam(rng: np.random.Generator) -> NDArray[np.float64]:
    """Hiss that comes and goes: a milk steamer, a tap, frying."""
    low = rng.uniform(400, 2000)
    hiss = _band(rng.standard_normal(_N), low, low + rng.uniform(1200, 3000))
    gate = np.repeat(rng.random(_N // 4000) < rng.uniform(0.4, 0.9), 4000).astype(np.float64)
    gate = lfilter([0.002], [1, -0.998], gate)
    flutter = 1 + rng.uniform(0, 0.6) * np.interp(np.arange(_N), np.linspace(0, _N, 400), rng.standard_normal(400))
    return hiss * (gate + 0.03) * flutter


def _grinder(rng: np.random.Generator) -> NDArray[np.float64]:
    """A coffee grinder or blender: a rough buzz with noise, in stretches of seconds."""
    base = rng.uniform(80, 300) * np.interp(np.arange(_N), np.linspace(0, _N, 80), rng.uniform(0.9, 1.1, 80))
    saw = np.mod(np.cumsum(base) / TELEPHONE_RATE, 1.0) - 0.5
    rough = saw * (1 + 0.8 * rng.standard_normal(_N)) + 0.4 * rng.standard_normal(_N)
    gate = np.repeat(rng.random(_N // 8000) < 0.6, 8000).astype(np.float64)
    return _band(rough, rng.uniform(80, 300), rng.uniform(2000, 3900)) * (lfilter([0.001], [1, -0.999], gate) + 0.02)


def _struck(rng: np.random.Generator, rate: float, hertz: tuple[float, float], decay_s: tuple[float, float]) -> Samples:
    """Blows, ``rate`` a second, each a sum of decaying tones with a click; float32 ``[_N]``."""
    out = np.zeros(_N + TELEPHONE_RATE, dtype=np.float32)
    for _ in range(int(rng.poisson(rate * _SECONDS))):
        at, n = int(rng.integers(_N)), int(TELEPHONE_RATE * rng.uniform(0.1, 0.6))
        t = np.arange(n) / TELEPHONE_RATE
        blow = np.zeros(n)
        for _ in range(int(rng.integers(2, 7))):
            fade = np.exp(-t / rng.uniform(*decay_s))
            blow += rng.uniform(0.2, 1) * fade * np.sin(2 * np.pi * rng.uniform(*hertz) * t + rng.uniform(0, 6.3))
        blow[:40] += rng.standard_normal(min(40, n)) * np.linspace(1, 0, 40)
        out[at : at + n] += (10 ** rng.uniform(-1.2, 0) * blow).astype(np.float32)
    return out[:_N]


def _crockery(rng: np.random.Generator) -> NDArray[np.float64]:
    """Cups, spoons and plates in a room, over its faint noise."""
    blows = _struck(rng, rng.uniform(1, 7), (700, 3900), (0.008, 0.12))
    return np.asarray(_room(blows, rng) + rng.uniform(0.005, 0.05) * rng.standard_normal(_N))


def _steps(rng: np.random.Generator) -> NDArray[np.float64]:
    """Steps, doors, chairs: low blows."""
    blows = _struck(rng, rng.uniform(0.7, 4), (60, 600), (0.01, 0.08))
    return np.asarray(_room(blows, rng) + rng.uniform(0.005, 0.05) * rng.standard_normal(_N))


def _rain(rng: np.random.Generator) -> NDArray[np.float64]:
    """Many small drops: water running, rain, paper."""
    drops = rng.standard_normal(_N) * (rng.random(_N) < rng.uniform(0.002, 0.05)) * rng.exponential(1.0, _N)
    return _band(drops, rng.uniform(200, 1200), rng.uniform(2500, 3900))


def _music(rng: np.random.Generator) -> NDArray[np.float64]:
    """Chords and a tune of plucked harmonic tones, with a beat."""
    beat = int(TELEPHONE_RATE * rng.uniform(0.2, 0.6))
    scale = np.array([0, 2, 4, 5, 7, 9, 11, 12])
    root = rng.uniform(80, 200)
    out = np.zeros(_N + 4 * beat)
    for start in range(0, _N, beat):
        for _ in range(int(rng.integers(1, 4))):
            base = root * 2 ** ((rng.choice(scale) + 12 * rng.integers(0, 3)) / 12)
            n = int(beat * rng.uniform(0.8, 3.5))
            t = np.arange(n) / TELEPHONE_RATE
            partials = [k for k in range(1, 7) if base * k < 3900]
            tone = sum(rng.uniform(0.3, 1) / k * np.sin(2 * np.pi * base * k * t) for k in partials)
            out[start : start + n] += tone * np.exp(-t / rng.uniform(0.1, 0.8)) * np.minimum(1, t * 100)
        if rng.random() < 0.7:
            out[start : start + 800] += rng.uniform(0.3, 1) * rng.standard_normal(800) * np.exp(-np.arange(800) / 150)
    return out[:_N]


def babble(rng: np.random.Generator, talkers: Sequence[Pcm], voices: int) -> NDArray[np.float64]:
    """``voices`` talkers at once, each in turn at a level of its own, in a room."""
    out = np.zeros(_N, dtype=np.float32)
    for _ in range(voices):
        position = -int(rng.integers(TELEPHONE_RATE))
        while position < _N:
            said = talkers[int(rng.integers(len(talkers)))].astype(np.float32)
            said *= np.float32(10 ** (rng.uniform(-8, 0) / 20) / (np.sqrt(np.mean(said**2)) + 1))
            begin, end = max(0, position), min(_N, position + len(said))
            if end > begin:
                out[begin:end] += said[begin - position : end - position]
            position += len(said) + int(rng.integers(TELEPHONE_RATE // 2))
    return _room(out, rng)


def _room(dry: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.float64]:
    response = room_response(rng, rng.uniform(0.2, 0.8), rng.uniform(-5, 8))
    n = len(dry) + len(response)
    return np.fft.irfft(np.fft.rfft(dry, n) * np.fft.rfft(response, n), n)[: len(dry)]


def room_response(rng: np.random.Generator, decay_s: float, direct_db: float) -> Samples:
    """A room's impulse response: the direct sound and a tail of decaying noise (Schroeder 1962).

    Args:
        rng: draws the tail.
        decay_s: reverberation time, to -60 dB.
        direct_db: energy of the direct sound over the tail's.
    """
    n = int(TELEPHONE_RATE * min(decay_s, 0.6))
    tail = rng.standard_normal(n) * 10 ** (-3 * np.arange(n) / (TELEPHONE_RATE * decay_s))
    tail[: int(0.002 * TELEPHONE_RATE)] = 0
    tail *= 10 ** (-direct_db / 20) / (np.sqrt(np.sum(tail**2)) + 1e-9)
    tail[0] = 1.0
    return tail.astype(np.float32)


_KINDS: dict[str, Callable[[np.random.Generator], NDArray[np.floating]]] = {
    "coloured": _coloured, "hum": _hum, "steam": _steam, "grinder": _grinder, "crockery": _crockery, "steps": _steps,
    "rain": _rain, "music": _music,
}  # fmt: skip
