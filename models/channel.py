"""The telephone channel: level, line equalisation, noise at a drawn SNR, band limit and G.711.

A :class:`Channel` is a small record, so a manifest can hold what was drawn and anyone can apply it again.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from parley import g711
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm, read_audio

NOISES = ("white", "pink", "hum", "babble")
Part = Literal["whole", "first", "second"]


@dataclass(frozen=True)
class Channel:
    """One drawn telephone line."""

    gain_db: float = 0.0
    """Level of the speech (its active part) relative to -23 dBFS."""
    tilt_db: float = 0.0
    """Spectral slope across the band: handsets and rooms."""
    low_hz: float = 200.0
    high_hz: float = 3600.0
    noise: str = ""
    """One of :data:`NOISES`; empty is a silent line."""
    snr_db: float = 40.0
    codec: str = "ulaw"
    """``ulaw``, ``alaw`` or ``none``."""
    seed: int = 0

    def record(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {k: round(v, 4) if isinstance(v, float) else v for k, v in asdict(self).items()}


def draw_channel(rng: random.Random, *, noisy: float = 0.7) -> Channel:
    """Draw a line; ``noisy`` is the share of lines with audible noise (SNR 5 to 30 dB)."""
    has_noise = rng.random() < noisy
    return Channel(
        gain_db=rng.uniform(-15, 10),
        tilt_db=rng.uniform(-8, 8),
        low_hz=rng.uniform(60, 350),
        high_hz=rng.uniform(3000, 3950),
        noise=rng.choice(NOISES) if has_noise else "",
        snr_db=rng.uniform(5, 30) if has_noise else 40.0,
        codec=rng.choice(("ulaw", "ulaw", "alaw", "none")),
        seed=rng.getrandbits(31),
    )


def apply(pcm: Pcm, channel: Channel, babble: NDArray[np.float32] | None = None) -> Pcm:
    """Send int16 speech ``[n]`` (8 kHz) through a line; same shape out.

    Args:
        pcm: the speech.
        channel: the line.
        babble: float noise ``[m]`` for ``noise="babble"`` (voices talking over each other); pink when absent.
    """
    rng = np.random.default_rng(channel.seed)
    speech = _equalise(pcm.astype(np.float32), channel)
    level = active_rms(speech)
    if level > 0:
        speech *= np.float32(10 ** ((channel.gain_db - 23) / 20) * 32768 / level)
    if channel.noise:
        noise = _noise(channel.noise, len(pcm), rng, babble)
        wanted = active_rms(speech) * 10 ** (-channel.snr_db / 20)
        speech = speech + noise * np.float32(wanted / (float(np.sqrt(np.mean(noise**2))) + 1e-9))
    out = np.clip(np.round(speech), -32768, 32767).astype(np.int16)
    return through_codec(out, channel.codec)


def through_codec(pcm: Pcm, codec: str) -> Pcm:
    """Encode and decode by ``ulaw`` or ``alaw``; any other name leaves the samples alone."""
    if codec == "ulaw":
        return g711.ulaw_decode(g711.ulaw_encode(pcm))
    return g711.alaw_decode(g711.alaw_encode(pcm)) if codec == "alaw" else pcm


def place_noise(path: Path, part: Part = "whole") -> NDArray[np.float32]:
    """A recording of a place's noise at 8 kHz, float32 ``[n]``, or half of it: one to train on, one to measure with."""
    noise = read_audio(path).astype(np.float32)
    middle = len(noise) // 2
    return {"whole": noise, "first": noise[:middle], "second": noise[middle:]}[part]


def active_rms(audio: NDArray[Any]) -> float:
    """RMS over the 20 ms frames within 25 dB of the loudest: the level of the speech, not of its pauses."""
    frames = np.asarray(audio[: len(audio) // 160 * 160], dtype=np.float32).reshape(-1, 160)
    if not len(frames):
        return float(np.sqrt(np.mean(np.square(audio, dtype=np.float32)))) if len(audio) else 0.0
    power = np.mean(frames**2, axis=1)
    return float(np.sqrt(np.mean(power[power >= np.max(power) * 10**-2.5])))


def mix_at_snr(pcm: Pcm, noise: NDArray[Any], snr_db: float, rng: np.random.Generator) -> Pcm:
    """Add recorded noise ``[m]`` from a drawn offset so that active speech stands ``snr_db`` above it."""
    section = _section(noise.astype(np.float32), len(pcm), rng)
    gain = active_rms(pcm) * 10 ** (-snr_db / 20) / (float(np.sqrt(np.mean(section**2))) + 1e-9)
    return np.clip(np.round(pcm + section * gain), -32768, 32767).astype(np.int16)


def lose_packets(pcm: Pcm, share: float, rng: np.random.Generator, *, conceal: bool) -> Pcm:
    """Lose 20 ms packets of int16 ``[n]``, in bursts of 1.5 on average (Gilbert 1960).

    Args:
        pcm: the audio.
        share: of packets that are lost, 0 to 1.
        rng: decides which.
        conceal: repeat the packet before, fading out over 60 ms (in the manner of G.711 Appendix I); else silence.
    """
    count = len(pcm) // FRAME_SAMPLES
    out = pcm.copy()
    lost, run = False, 0
    for index in range(count):
        lost = rng.random() < (1 / 3 if lost else share / (1.5 * (1 - share)) if share < 1 else 1)
        run = run + 1 if lost else 0
        if not lost:
            continue
        at = index * FRAME_SAMPLES
        out[at : at + FRAME_SAMPLES] = 0
        if conceal and run <= 3 and at >= 2 * FRAME_SAMPLES:
            out[at : at + FRAME_SAMPLES] = _repeat(out[at - 2 * FRAME_SAMPLES : at], run)
    return out


def _repeat(before: Pcm, run: int) -> Pcm:
    """The last pitch period of ``before`` again and again, quieter the longer the loss lasts. int16 ``[160]``."""
    history = before.astype(np.float32)
    tail = history[-80:]
    # Pitch of 66 to 200 Hz by normalised correlation, as the recommendation does.
    lags = np.arange(40, 121)
    windows = np.lib.stride_tricks.sliding_window_view(history, 80)[len(history) - 80 - lags]
    score = windows @ tail / (np.sqrt(np.sum(windows**2, axis=1)) + 1.0)
    period = history[-int(lags[int(np.argmax(score))]) :]
    fade = np.linspace(1 - (run - 1) / 3, 1 - run / 3, FRAME_SAMPLES)
    return (np.resize(period, FRAME_SAMPLES) * fade).astype(np.int16)


def _equalise(audio: NDArray[np.float32], channel: Channel) -> NDArray[np.float32]:
    """Tilt and band limit, as one zero-phase gain curve over the spectrum."""
    spectrum = np.fft.rfft(audio)
    hertz = np.fft.rfftfreq(len(audio), 1 / TELEPHONE_RATE)
    octaves = np.log2(np.maximum(hertz, 50) / 1000)
    gain_db = channel.tilt_db * octaves / 3
    gain_db -= 24 * np.maximum(0, np.log2(channel.low_hz / np.maximum(hertz, 1)))
    gain_db -= 48 * np.maximum(0, np.log2(np.maximum(hertz, 1) / channel.high_hz))
    return np.fft.irfft(spectrum * 10 ** (np.maximum(gain_db, -60) / 20), len(audio)).astype(np.float32)


def _noise(kind: str, n: int, rng: np.random.Generator, babble: NDArray[np.float32] | None) -> NDArray[np.float32]:
    if kind == "babble" and babble is not None:
        return _section(babble, n, rng)
    if kind == "hum":
        mains, t = rng.choice([50.0, 60.0]), np.arange(n) / TELEPHONE_RATE
        tones = sum(np.sin(2 * np.pi * mains * k * t + rng.uniform(0, 6.3)) / k for k in (1, 2, 3, 5, 7))
        return (tones + 0.3 * rng.standard_normal(n)).astype(np.float32)
    white = rng.standard_normal(n)
    if kind == "white":
        return white.astype(np.float32)
    shape = 1 / np.sqrt(np.maximum(np.fft.rfftfreq(n, 1 / TELEPHONE_RATE), 30))
    return np.fft.irfft(np.fft.rfft(white) * shape, n).astype(np.float32)


def _section(noise: NDArray[np.float32], n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    repeated = np.tile(noise, -(-n // len(noise)) + 1)
    start = int(rng.integers(0, len(repeated) - n))
    return repeated[start : start + n]
