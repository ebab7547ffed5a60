"""Audio rendered before it is needed, so that a call is never silent: greeting, apology, handover, goodbye.

They are rendered by the release's own voice when a replica starts. Where that voice cannot be had, the system's
synthesiser has said the apology, and where there is none either, three tones do.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from models.contracts import Piece
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import Bot
from parley.bot.replies import realise
from parley.bundle import VersionRef

_log = logging.getLogger(__name__)

PROMPT_ACTS = ("greet", "apology", "handover", "goodbye")
"""Acts whose audio every replica keeps."""
_KEPT_VOICES = 4
"""TTS versions whose audio is kept: the champion's, the one before, and two arms of an experiment."""
_SYSTEM_VOICE_WITHIN_S = 2.0
"""A sentence takes it a twentieth of a second; new calls wait for it when a release brings a new dialogue."""


class Prompts:
    """The prompts of one bot, each a single piece, by text and by the TTS version that said it. Asking for one only
    reads, so that a call may do it; only `render_last_resort` takes its time."""

    def __init__(self, bot: Bot) -> None:
        self.texts = {act: realise(bot, act, {}) for act in PROMPT_ACTS}
        """Act to the words of its template."""
        self._by_version: dict[tuple[str, tuple[str, int]], Piece] = {}
        self._by_text: dict[str, Piece] = {}
        self._voice = bot.speech.system_voice
        self._last_resort = Piece(tones(), TELEPHONE_RATE)

    def keep(self, text: str, voice: VersionRef, piece: Piece) -> None:
        """Remember how a TTS version said a text."""
        self._by_version[text, (voice.model, voice.version)] = self._by_text[text] = piece
        voices = list(dict.fromkeys(by for _, by in self._by_version))
        for text_, by in list(self._by_version):
            if by in voices[:-_KEPT_VOICES]:
                del self._by_version[text_, by]

    def find(self, text: str, voice: VersionRef | None = None) -> Piece | None:
        """The text as this TTS version said it, or, where it is left out, as anybody did."""
        return self._by_text.get(text) if voice is None else self._by_version.get((text, (voice.model, voice.version)))

    def ready(self, act: str) -> Piece:
        """One of :data:`PROMPT_ACTS` as anybody said it; where nobody did, an apology."""
        return self._by_text.get(self.texts[act]) or self.last_resort()

    def apology(self) -> Piece:
        """An apology, whatever is down."""
        return self.ready("apology")

    def last_resort(self) -> Piece:
        """The apology as the system's synthesiser said it; three tones where it has not."""
        return self._last_resort

    def render_last_resort(self) -> None:
        """Have the system's synthesiser say the apology; never raises. It blocks: not for the event loop of calls."""
        pcm = _system_voice(self.texts["apology"], self._voice)
        if pcm is not None:
            self._last_resort = Piece(pcm, TELEPHONE_RATE)


def tones() -> Pcm:
    """ITU-T E.180's "special information tone": 950, 1400, 1800 Hz, a third of a second each, twice. int16 ``[n]``."""
    time_s = np.arange(TELEPHONE_RATE // 3) / TELEPHONE_RATE
    sequence = np.concatenate([np.sin(2 * np.pi * hertz * time_s) for hertz in (950, 1400, 1800)])
    gap = np.zeros(TELEPHONE_RATE // 2)
    return (np.concatenate([sequence, gap, sequence]) * 4000).astype(np.int16)


def _system_voice(text: str, voice: str) -> Pcm | None:
    """The text said by a voice of espeak-ng, int16 ``[n]`` at 8 kHz; None where it is not installed or fails."""
    binary = shutil.which("espeak-ng")
    if binary is None:
        return None
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "apology.wav"
            command = [binary, "-v", voice, "-s", "150", "-w", str(path), text]
            subprocess.run(command, check=True, capture_output=True, timeout=_SYSTEM_VOICE_WITHIN_S)
            audio, rate = soundfile.read(path, dtype="float32")
    except (subprocess.SubprocessError, OSError, soundfile.LibsndfileError) as error:
        _log.warning("the system's synthesiser failed", extra={"reason": type(error).__name__})
        return None
    if not len(audio):
        return None
    # Linear interpolation is enough for a last resort; what folds over is below the voice.
    places = np.arange(0, len(audio) - 1, rate / TELEPHONE_RATE)
    return (np.interp(places, np.arange(len(audio)), audio) * 20000).clip(-32768, 32767).astype(np.int16)
