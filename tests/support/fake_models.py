"""Models that need no training: for tests of calls.

A word of this language is a tone: the fake STT tells utterances apart by their pitch, so that two calls at once cannot
hear each other's without a test noticing.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from models.contracts import Piece, Reply, TimedWord, Transcript, Understanding
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot.replies import realise
from parley.bundle import Family, VersionRef
from parley.serving.engine import EngineUnavailable

SENTENCES: dict[int, tuple[str, str, dict[str, str]]] = {
    300: ("i'd like a latte", "orderDrink", {"coffeeDrink": "latte"}),
    400: ("a large one", "inform", {"size": "large"}),
    500: ("yes", "affirm", {}),
    600: ("no thanks", "deny", {}),
    700: ("operator", "operator", {}),
    800: ("i'd like a small mocha", "orderDrink", {"coffeeDrink": "mocha", "size": "small"}),
    900: ("", "", {}),
}
"""Pitch in Hz to what it means. 900 Hz is never understood."""


def tone(hertz: int, seconds: float, amplitude: float = 8000, rate: int = TELEPHONE_RATE) -> Pcm:
    """A word of the fakes' language, int16 ``[n]``."""
    time_s = np.arange(round(seconds * rate)) / rate
    return (amplitude * np.sin(2 * np.pi * hertz * time_s)).astype(np.int16)


def babble(seconds: float, seed: int = 0, pitch: float = 120, amplitude: float = 6000) -> Pcm:
    """Speech without words, int16 ``[n]``: syllables with a gliding pitch, changing formants and a hiss between."""
    rng = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < seconds * TELEPHONE_RATE:
        samples = round(rng.uniform(0.12, 0.28) * TELEPHONE_RATE)
        hertz = np.linspace(*(pitch * rng.uniform(0.8, 1.3, 2)), samples)
        phase, wave = 2 * np.pi * np.cumsum(hertz) / TELEPHONE_RATE, np.zeros(samples)
        formants = rng.uniform([300, 900, 2200], [900, 2200, 3200])
        for k in range(1, 25):
            loudness = sum(1 / (1 + ((k * pitch - formant) / 150) ** 2) for formant in formants)
            wave += loudness * np.sin(k * phase + rng.uniform(0, 6)) * (k * hertz < 3600)
        hiss = rng.standard_normal(round(rng.uniform(0.02, 0.08) * TELEPHONE_RATE)) * 0.2
        parts += [wave * np.sin(np.linspace(0, np.pi, samples)) ** 0.5, hiss]
    wave = np.concatenate(parts)[: round(seconds * TELEPHONE_RATE)]
    return np.clip(wave / wave.std() * amplitude / 2, -32000, 32000).astype(np.int16)


@dataclass
class FakeModels:
    """All four stages; a stage in ``down`` raises as a dead engine does. Stands in for the client pool."""

    bot: Any
    down: set[str] = field(default_factory=set)
    words_s: float = 0.2
    broken: set[str] = field(default_factory=set)
    """Stages that fail with a bug, not with an engine error."""

    hanging: set[str] = field(default_factory=set)
    """Stages that never answer: only the STT can."""

    voice: Pcm | None = None
    """What the bot sounds like, over and over; None is a tone."""

    rate: int = TELEPHONE_RATE
    """Of the audio that the STT hears and the TTS makes."""

    fed: list[int] = field(default_factory=list)
    """Samples that the STT was given, each time."""

    guesses: int = 0
    """How often the STT was asked for its best guess so far."""

    def check(self, stage: str) -> None:
        if stage in self.broken:
            raise ZeroDivisionError("a bug")
        if stage in self.down:
            raise EngineUnavailable("no server", where=stage)

    async def stt(self, ref: VersionRef) -> FakeStt:
        return FakeStt(self, self.rate)

    async def nlu(self, ref: VersionRef) -> FakeNlu:
        return FakeNlu(self)

    async def nlg(self, ref: VersionRef) -> FakeNlg:
        return FakeNlg(self)

    async def tts(self, ref: VersionRef) -> FakeTts:
        return FakeTts(self, self.rate)

    def read(self, family: Family, ref: VersionRef) -> None:
        """Nothing has to be read."""


@dataclass
class FakeStt:
    models: FakeModels
    sample_rate: int = TELEPHONE_RATE

    def new_stream(self) -> FakeStream:
        return FakeStream(self.models)


class FakeStream:
    def __init__(self, models: FakeModels) -> None:
        self._models = models
        self._audio: list[Pcm] = []

    async def accept(self, pcm: Pcm) -> None:
        self._models.check("stt")
        self._models.fed.append(len(pcm))
        self._audio.append(pcm)

    def partial(self) -> str:
        self._models.guesses += 1
        return f"{sum(map(len, self._audio)) // 1600} words"

    async def finish(self) -> Transcript:
        self._models.check("stt")
        if "stt" in self._models.hanging:
            await asyncio.Event().wait()
        pcm = np.concatenate(self._audio).astype(np.float64)
        spectrum = np.abs(np.fft.rfft(pcm, self._models.rate))
        text = SENTENCES.get(round(float(spectrum.argmax()) / 100) * 100, ("",))[0]
        return Transcript(text, 0.9 if text else 0.1, bool(text))


@dataclass
class FakeNlu:
    models: FakeModels

    async def parse(self, text: str) -> Understanding:
        self.models.check("nlu")
        found = next(((intent, slots) for said, intent, slots in SENTENCES.values() if said == text), ("", {}))
        return Understanding(*found, 0.99, not found[0])


@dataclass
class FakeNlg:
    models: FakeModels

    async def generate(self, act: str, slots: dict[str, str]) -> Reply:
        self.models.check("nlg")
        return Reply(realise(self.models.bot, act, slots))


@dataclass
class FakeTts:
    models: FakeModels
    sample_rate: int = TELEPHONE_RATE

    async def synthesise(self, text: str) -> AsyncGenerator[Piece, None]:
        words = text.split()
        per_word = self.models.words_s
        for index, word in enumerate(words):
            self.models.check("tts")
            end = TimedWord(word, index * per_word, (index + 1) * per_word)
            sound = tone(1200, per_word, rate=self.sample_rate)
            if (voice := self.models.voice) is not None:
                sound = np.resize(np.roll(voice, -index * len(sound)), len(sound))
            yield Piece(sound, self.sample_rate, (end,), index == len(words) - 1)


class ReadyEngine:
    """An engine that is, or is not, ready; the fake models never ask it anything."""

    answers = True

    async def infer(self, *_: Any, **__: Any) -> dict[str, np.ndarray]:
        raise AssertionError("the fake models use no engine")

    async def ready(self, model: str, version: int) -> bool:
        return self.answers

    async def close(self) -> None:
        return None
