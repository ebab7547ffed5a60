"""Synthetic callers: espeak-ng and flite speaking with many voices, rates and pitches, as 8 kHz PCM."""

from __future__ import annotations

import random
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from parley.audio import TELEPHONE_RATE, Pcm
from parley.errors import ParleyError
from parley.language import Language
from parley.language.english.sounds import CORRECTIONS
from parley.programs import require

_FLITE_MEAN_F0 = {"awb": 120, "kal": 105, "kal16": 105, "rms": 95, "slt": 170}
SAME_SPEAKER = {"kal": "kal16"}
"""A voice that is another voice's speaker (here at half the sample rate). Datasets leave it out: two splits must never
share a person."""
ESPEAK_VARIANTS = (
    "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5", "klatt", "klatt2", "klatt3",
    "klatt4", "Andy", "Annie", "Michael", "linda", "steph", "grandma", "grandpa", "adam", "david", "Lee", "Mario",
)  # fmt: skip


@dataclass(frozen=True)
class Voice:
    """A synthetic caller: an engine's voice spoken at a rate and pitch.

    ``rate`` multiplies the speed and ``pitch`` the fundamental; both 1.0 is the voice as it comes.
    """

    engine: str
    name: str
    rate: float = 1.0
    pitch: float = 1.0

    @property
    def speaker(self) -> str:
        """The voice without rate and pitch: the unit that splits keep together."""
        return f"{self.engine}:{self.name}"


def speakers(language: Language) -> list[Voice]:
    """Every voice at its own rate and pitch: the flite voices and each espeak-ng accent with each variant."""
    flite = [Voice("flite", name) for name in language.voices.flite]
    espeak = [Voice("espeak", f"{a}+{v}") for a in language.voices.espeak for v in ESPEAK_VARIANTS]
    return flite + espeak


def vary(voice: Voice, rng: random.Random) -> Voice:
    """The same voice in another mood: rate 0.8 to 1.25, pitch 0.85 to 1.2."""
    return Voice(voice.engine, voice.name, rng.uniform(0.8, 1.25), rng.uniform(0.85, 1.2))


def synthesise(text: str, voice: Voice) -> Pcm:
    """Speak ``text``.

    Returns:
        int16 samples, shape ``[n]``, 8 kHz, peak at -6 dBFS.

    Raises:
        ParleyError: the synthesiser is missing or failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "said.wav"
        command = _flite(text, voice, wav) if voice.engine == "flite" else _espeak(text, voice, wav)
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode or not wav.is_file() or wav.stat().st_size < 100:
            raise ParleyError(f"{command[0]} could not say {text!r}: {done.stderr.strip()}", where=voice.speaker)
        audio, rate = soundfile.read(str(wav), dtype="float32")
    return to_telephone_rate(audio, rate)


def to_telephone_rate(audio: NDArray[np.float32], rate: int) -> Pcm:
    """Resample float audio (mono ``[n]``) to 8 kHz int16 with its peak at -6 dBFS."""
    audio = soxr.resample(audio, rate, TELEPHONE_RATE) if rate != TELEPHONE_RATE else audio
    peak = float(np.max(np.abs(audio))) or 1.0
    return np.clip(np.round(audio * (16384.0 / peak)), -32768, 32767).astype(np.int16)


_FLITE_ADDENDA = {word: CORRECTIONS[word] for word in ("latte", "lattes")}
"""Those of the words that flite gets wrong which callers were always given: what a dataset's seed makes stays as it
was."""


def _flite(text: str, voice: Voice, wav: Path) -> list[str]:
    addenda = wav.with_name("addenda")
    addenda.write_text(
        "".join(f'"{word}" nil : {phones}\n' for word, phones in _FLITE_ADDENDA.items()), encoding="utf-8"
    )
    f0 = round(_FLITE_MEAN_F0[voice.name] * voice.pitch)
    stretch = f"duration_stretch={1 / voice.rate:.3f}"
    return [
        require("flite"), "-voice", voice.name, "-add_lex", str(addenda), "--setf", stretch,
        "--setf", f"int_f0_target_mean={f0}", "-t", text, "-o", str(wav),
    ]  # fmt: skip


def _espeak(text: str, voice: Voice, wav: Path) -> list[str]:
    rate, pitch = round(150 * voice.rate), round(min(99, 50 * voice.pitch))
    return [require("espeak-ng"), "-v", voice.name, "-s", str(rate), "-p", str(pitch), "-w", str(wav), text]
