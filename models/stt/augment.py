"""What happens to an utterance on its way to a training batch: room, line, noise, overload, lost packets, codec.

Wider than any one call, so that no test condition is met for the first time by the caller who pays for it. The
dataset's own :mod:`models.channel` stays what dev and test rows are heard through.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft

from models.channel import active_rms, lose_packets, through_codec
from models.noises import NoiseBank, room_response
from parley.audio import TELEPHONE_RATE, Pcm


@dataclass(frozen=True)
class Disturbance:
    """Shares and ranges of what is drawn."""

    noisy: float = 0.75
    snr_db: tuple[float, float] = (0.0, 30.0)
    room: float = 0.3
    lost: float = 0.15
    """Share of calls that lose packets, 1 to 12 % of them."""
    overloaded: float = 0.12
    """Share of calls that clip, half of them at full scale: as loud as a telephone gets."""
    level_dbfs: tuple[float, float] = (-50.0, -8.0)
    """Level of active speech: mostly a usual one, about -23."""
    any_level: float = 0.3
    """Share of calls at any level of that range, as likely the faintest as the loudest."""


def disturb(pcm: Pcm, rng: random.Random, bank: NoiseBank, how: Disturbance | None = None) -> Pcm:
    """Send int16 speech ``[n]`` (8 kHz) through a drawn call; same shape out. Silence becomes noise alone."""
    how = how or Disturbance()
    draw = np.random.default_rng(rng.getrandbits(63))
    speech = _line(pcm.astype(np.float32), draw, how)
    level = active_rms(speech)
    wanted = 32768 * 10 ** (_level_dbfs(draw, how) / 20)
    if level > 0:
        speech *= np.float32(wanted / level)
    if draw.random() < how.noisy or not level:
        noise = bank.draw(len(pcm), draw)
        if draw.random() < 0.5:
            noise = _line(noise, draw, how)
            noise /= np.float32(np.sqrt(np.mean(noise**2)) + 1e-9)
        speech = speech + noise * np.float32(wanted * 10 ** (-draw.uniform(*how.snr_db) / 20))
    if draw.random() < how.overloaded:
        limit = draw.uniform(0.08, 0.5) * float(np.max(np.abs(speech)) + 1)
        speech = np.clip(speech, -limit, limit)
        if draw.random() < 0.5:
            speech *= np.float32(32767 / limit)
    out = np.clip(np.round(speech), -32768, 32767).astype(np.int16)
    out = through_codec(out, ("ulaw", "ulaw", "alaw", "none")[int(draw.integers(4))])
    if draw.random() < how.lost:
        out = lose_packets(out, draw.uniform(0.01, 0.12), draw, conceal=draw.random() < 0.6)
    return out


def _level_dbfs(draw: np.random.Generator, how: Disturbance) -> float:
    low, high = how.level_dbfs
    if how.any_level and draw.random() < how.any_level:
        return float(draw.uniform(low, high))
    return float(np.clip(draw.normal(-23, 8), low, high))


def _line(audio: NDArray[np.float32], draw: np.random.Generator, how: Disturbance) -> NDArray[np.float32]:
    """Room and frequency response, as one product over the spectrum."""
    room = room_response(draw, draw.uniform(0.1, 0.7), draw.uniform(-2, 15)) if draw.random() < how.room else None
    n = next_fast_len(len(audio) + (len(room) if room is not None else 0), real=True)
    spectrum = rfft(audio, n)
    if room is not None:
        spectrum *= rfft(room, n)
    # The curve is smooth: 129 points of it are enough.
    hertz = np.linspace(0, TELEPHONE_RATE / 2, 129)
    gain = 10 ** (_response_db(hertz, draw) / 20)
    spectrum *= np.interp(np.linspace(0, TELEPHONE_RATE / 2, len(spectrum)), hertz, gain).astype(np.float32)
    return np.asarray(irfft(spectrum, n)[: len(audio)], dtype=np.float32)


def _response_db(hertz: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """Tilt, two resonances, and the band limits of a telephone or of none."""
    octaves = np.log2(np.maximum(hertz, 50) / 1000)
    gain = draw.uniform(-8, 8) * octaves / 3
    for _ in range(2):
        centre, width = draw.uniform(200, 3800), draw.uniform(0.2, 0.8)
        gain += draw.uniform(-6, 6) * np.exp(-((np.log2(np.maximum(hertz, 50) / centre) / width) ** 2))
    if draw.random() < 0.7:
        low, high = draw.uniform(60, 350), draw.uniform(2900, 3950)
        gain -= 24 * np.maximum(0, np.log2(low / np.maximum(hertz, 1)))
        gain -= 48 * np.maximum(0, np.log2(np.maximum(hertz, 1) / high))
    return np.maximum(gain, -60)
