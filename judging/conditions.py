"""What a call may suffer: noise of a place, lost packets, a level too low or too high."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.channel import Part, lose_packets, mix_at_snr, place_noise, through_codec
from parley.audio import Pcm

SNRS_DB = (6, 9, 12, 15, 18, 21, 24)


@dataclass(frozen=True)
class Condition:
    """One way to disturb a recording; the default is a clean mu-law line."""

    snr_db: float | None = None
    """Active speech over the noise; None adds no noise."""
    loss: float = 0.0
    """Share of 20 ms packets lost and concealed, 0 to 1."""
    gain_db: float = 0.0
    """Of everything, as at the caller's end."""
    codec: str = "ulaw"

    @property
    def name(self) -> str:
        """Short, for tables."""
        parts = [f"SNR {self.snr_db:g} dB"] if self.snr_db is not None else []
        parts += [f"loss {self.loss:.0%}"] if self.loss else []
        parts += [f"gain {self.gain_db:+g} dB"] if self.gain_db else []
        return ", ".join(parts) or "clean"

    def apply(self, pcm: Pcm, noise: NDArray[np.float32] | None, key: str) -> Pcm:
        """Disturb int16 samples ``[n]``; ``key`` (the recording's name) decides every draw, so systems hear the same.

        Args:
            pcm: the recording.
            noise: samples of the place at 8 kHz, needed where there is an SNR.
            key: names the recording.
        """
        rng = np.random.default_rng(crc32(key.encode()))
        if self.snr_db is not None and noise is not None:
            pcm = mix_at_snr(pcm, noise, self.snr_db, rng)
        if self.gain_db:
            pcm = np.clip(np.round(pcm * 10 ** (self.gain_db / 20)), -32768, 32767).astype(np.int16)
        pcm = through_codec(pcm, self.codec)
        return lose_packets(pcm, self.loss, rng, conceal=True) if self.loss else pcm


CLEAN = Condition()
NOISY = tuple(Condition(snr_db=float(snr)) for snr in SNRS_DB)
LOSSY = tuple(Condition(loss=share) for share in (0.01, 0.03, 0.05, 0.1))
LOUDNESS = tuple(Condition(gain_db=gain) for gain in (-20.0, 20.0))
GRID = (CLEAN, *NOISY, *LOSSY, *LOUDNESS)


def read_noise(path: Path | None, part: Part = "whole") -> NDArray[np.float32] | None:
    """The noise of a place, or half of it, as float32 samples at 8 kHz."""
    return place_noise(path, part) if path else None
