"""Models that need no training, and a gateway that runs as fast as it can: for tests of calls.

A word of this language is a tone: the fake STT tells utterances apart by their pitch, so that two calls at once cannot
hear each other's without a test noticing.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from experiments.assignment import StageAssignment
from experiments.exposures import Exposure
from orchestrator.services import CallAssignment, CallParams, Script, Services
from orchestrator.turn_taking import TurnParams
from orchestrator.wires.twilio import Clear, Connected, Event, Mark, Media, Start, Stop, parse, render
from parley.audio import FRAME_SAMPLES, SAMPLE_RATE, Pcm
from parley.bot import load_bot
from parley.bot.replies import realise
from parley.g711 import ulaw_decode, ulaw_encode
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


def tone(hertz: int, seconds: float, amplitude: float = 8000) -> Pcm:
    """A word of the fakes' language, int16 ``[n]``."""
    time_s = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return (amplitude * np.sin(2 * np.pi * hertz * time_s)).astype(np.int16)


def babble(seconds: float, seed: int = 0, pitch: float = 120, amplitude: float = 6000) -> Pcm:
    """Speech without words, int16 ``[n]``: syllables with a gliding pitch, changing formants and a hiss between."""
    rng = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < seconds * SAMPLE_RATE:
        samples = round(rng.uniform(0.12, 0.28) * SAMPLE_RATE)
        hertz = np.linspace(*(pitch * rng.uniform(0.8, 1.3, 2)), samples)
        phase, wave = 2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE, np.zeros(samples)
        formants = rng.uniform([300, 900, 2200], [900, 2200, 3200])
        for k in range(1, 25):
            loudness = sum(1 / (1 + ((k * pitch - formant) / 150) ** 2) for formant in formants)
            wave += loudness * np.sin(k * phase + rng.uniform(0, 6)) * (k * hertz < 3600)
        hiss = rng.standard_normal(round(rng.uniform(0.02, 0.08) * SAMPLE_RATE)) * 0.2
        parts += [wave * np.sin(np.linspace(0, np.pi, samples)) ** 0.5, hiss]
    wave = np.concatenate(parts)[: round(seconds * SAMPLE_RATE)]
    return np.clip(wave / wave.std() * amplitude / 2, -32000, 32000).astype(np.int16)


@dataclass(frozen=True)
class Said:
    text: str
    confidence: float
    accepted: bool


@dataclass(frozen=True)
class Meant:
    intent: str
    slots: dict[str, str]
    confidence: float = 0.99
    out_of_scope: bool = False


@dataclass(frozen=True)
class Worded:
    text: str
    fallback: bool = False


@dataclass(frozen=True)
class EndedWord:
    word: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Sound:
    pcm: Pcm
    words: list[EndedWord]
    last: bool


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

    def check(self, stage: str) -> None:
        if stage in self.broken:
            raise ZeroDivisionError("a bug")
        if stage in self.down:
            raise EngineUnavailable("no server", where=stage)

    def get(self, stage: str, model: str, version: int) -> Any:
        return {"stt": FakeStt, "nlu": FakeNlu, "nlg": FakeNlg, "tts": FakeTts}[stage](self)


@dataclass
class FakeStt:
    models: FakeModels

    def new_stream(self) -> FakeStream:
        return FakeStream(self.models)


class FakeStream:
    def __init__(self, models: FakeModels) -> None:
        self._models = models
        self._audio: list[Pcm] = []

    async def accept(self, pcm: Pcm) -> None:
        self._models.check("stt")
        self._audio.append(pcm)

    def partial(self) -> str:
        return f"{sum(map(len, self._audio)) // 1600} words"

    async def finish(self) -> Said:
        self._models.check("stt")
        if "stt" in self._models.hanging:
            await asyncio.Event().wait()
        pcm = np.concatenate(self._audio).astype(np.float64)
        spectrum = np.abs(np.fft.rfft(pcm, SAMPLE_RATE))
        text = SENTENCES.get(round(float(spectrum.argmax()) / 100) * 100, ("",))[0]
        return Said(text, 0.9 if text else 0.1, bool(text))


@dataclass
class FakeNlu:
    models: FakeModels

    async def parse(self, text: str) -> Meant:
        self.models.check("nlu")
        found = next(((intent, slots) for said, intent, slots in SENTENCES.values() if said == text), ("", {}))
        return Meant(*found, out_of_scope=not found[0])


@dataclass
class FakeNlg:
    models: FakeModels

    async def generate(self, act: str, slots: dict[str, str]) -> Worded:
        self.models.check("nlg")
        return Worded(realise(self.models.bot, act, slots))


@dataclass
class FakeTts:
    models: FakeModels

    async def synthesise(self, text: str) -> AsyncIterator[Sound]:
        words = text.split()
        per_word = self.models.words_s
        for index, word in enumerate(words):
            self.models.check("tts")
            end = EndedWord(word, index * per_word, (index + 1) * per_word)
            sound = tone(1200, per_word)
            if (voice := self.models.voice) is not None:
                sound = np.resize(np.roll(voice, -index * len(sound)), len(sound))
            yield Sound(sound, [end], index == len(words) - 1)


class FakeClock:
    """A wall clock that the far end moves: a frame of audio is 20 ms, and so a call needs no time."""

    def __init__(self) -> None:
        self._now = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()

    def now(self) -> float:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._now + max(0.0, seconds), next(self._numbers), woken))
        await woken

    def advance(self, seconds: float) -> None:
        self._now += seconds
        while self._sleepers and self._sleepers[0][0] <= self._now + 1e-9:
            woken = heapq.heappop(self._sleepers)[2]
            if not woken.done():
                woken.set_result(None)


_CLOCK: ContextVar[FakeClock] = ContextVar("clock of the line")


class LineClock:
    """The clock of the line that this task's call is on: each call in a test has a clock of its own."""

    def now(self) -> float:
        return _CLOCK.get().now()

    async def sleep(self, seconds: float) -> None:
        await _CLOCK.get().sleep(seconds)


def fake_services(
    exposures: list[Exposure] | None = None, bot_name: str = "barista", **params: Any
) -> tuple[Services, FakeModels]:
    """A bot's calls over fake models. Waits are short; ``params`` are those of `CallParams`."""
    bot = load_bot(bot_name)
    models = FakeModels(bot)
    script = Script.of(bot)
    kept: list[Exposure] = exposures if exposures is not None else []

    def assign(caller: str, call_id: str) -> CallAssignment:
        stages = {
            stage: StageAssignment(stage, f"barista_{stage}", 1, None, None, "release", 0)
            for stage in ("stt", "nlu", "nlg", "tts")
        }
        return CallAssignment("unit", 7, stages, script)

    params.setdefault("turn", TurnParams(no_input_s=4.0))
    services = Services(
        pool=models,  # type: ignore[arg-type]
        assign=assign,
        log_exposures=kept.extend,
        params=CallParams(**params),
        clock=LineClock(),
    )
    return services, models


def script_of(services: Services) -> Script:
    """The script that every call of these services gets."""
    return services.assign("", "").script


class FakeLine:
    """A connection whose both ends are queues."""

    def __init__(self) -> None:
        self.inbound: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.clock = FakeClock()
        _CLOCK.set(self.clock)
        self.sent: list[Event] = []
        self.closed: tuple[int, str] | None = None
        self._news = asyncio.Event()

    async def receive(self) -> str | bytes | None:
        return await self.inbound.get()

    async def send(self, message: str) -> None:
        await asyncio.sleep(0)
        self.sent.append(parse(message))
        self._news.set()

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self._news.set()

    async def changed(self) -> None:
        self._news.clear()
        async with asyncio.timeout(5):
            await self._news.wait()


class FakeGateway:
    """Plays the gateway and the caller. Its frames move the call's wall clock: nothing waits for a real one."""

    def __init__(self, line: FakeLine, *, echoes: bool = True, parameters: dict[str, str] | None = None) -> None:
        self.line = line
        self.echoes = echoes
        self._chunk = 0
        self._echoed = 0
        self._heard = 0
        parameters = {"parley_trace": "1"} if parameters is None else parameters
        self.put(Connected())
        self.put(Start("MZ1", "CA1", "AC1", 1, parameters))

    def put(self, event: Event) -> None:
        self.line.inbound.put_nowait(render(event))

    def media(self) -> bytes:
        """All audio the bot has sent, mu-law."""
        return b"".join(event.payload for event in self.line.sent if isinstance(event, Media))

    def traces(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.line.sent if getattr(event, "kind", "") == kind]

    async def say(self, hertz: int, seconds: float = 0.8) -> None:
        await self.frames(tone(hertz, seconds))

    async def silence(self, seconds: float) -> None:
        rng = np.random.default_rng(1)
        await self.frames((rng.standard_normal(round(seconds * SAMPLE_RATE)) * 8).astype(np.int16))

    async def frames(self, pcm: Pcm) -> None:
        for at in range(0, len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES, FRAME_SAMPLES):
            self.line.clock.advance(0.02)
            self.send(self.line_of(pcm[at : at + FRAME_SAMPLES]))
            await self.others()

    def send(self, frame: Pcm) -> None:
        """One frame, whether or not its time has come."""
        self._chunk += 1
        self.put(Media("MZ1", ulaw_encode(frame).tobytes(), self._chunk, (self._chunk - 1) * 20, self._chunk + 1))

    def skip(self, frames: int) -> None:
        """Frames that are lost on their way."""
        self._chunk += frames

    @property
    def clock_ms(self) -> int:
        """Milliseconds of audio that the caller's telephone has made."""
        return self._chunk * 20

    async def others(self) -> None:
        """The call's tasks get their turn, as they do between frames on a real line."""
        while not self.line.inbound.empty() and self.line.closed is None:
            await asyncio.sleep(0)
        for _ in range(8):
            await asyncio.sleep(0)

    async def nothing(self, seconds: float) -> None:
        """Time passes in which the gateway sends no audio at all."""
        for _ in range(round(seconds / 0.05)):
            self.line.clock.advance(0.05)
            await self.others()

    async def hear_reply(self, replies: int) -> dict[str, Any]:
        """Wait until the bot has said this many turns, play them to the end, and give the last one's reply."""
        while len(self.traces("turn")) < replies and self.line.closed is None:
            await self.line.changed()
        await self.play_out()
        return self.traces("reply")[-1]

    async def play_out(self) -> None:
        """Everything sent so far is heard: the marks come back, the line stays silent."""
        marks = [event for event in self.line.sent if isinstance(event, Mark)]
        await self.silence((len(self.media()) - self._heard) / SAMPLE_RATE + 0.1)
        self._heard = len(self.media())
        if self.echoes:
            for mark in marks[self._echoed :]:
                self.put(mark)
            self._echoed = len(marks)
        await self.silence(0.1)

    async def turn(self, hertz: int, replies: int) -> dict[str, Any]:
        """Say something and hear the answer out."""
        await self.say(hertz)
        await self.silence(0.6)
        return await self.hear_reply(replies)

    def hang_up(self) -> None:
        self.put(Stop("MZ1", "CA1"))

    def line_of(self, pcm: Pcm) -> Pcm:
        """What the telephone line makes of the caller's samples."""
        return pcm

    def dumps(self) -> str:
        return json.dumps([type(event).__name__ for event in self.line.sent])


class EchoingGateway(FakeGateway):
    """Plays what it is sent, one piece after the other, and sends that back with the caller's voice.

    Args:
        echo_db: level of what comes back, relative to what was sent.
        delay_ms: how late.
        path: impulse response of the line and the room.
    """

    def __init__(self, line: FakeLine, *, echo_db: float, delay_ms: int, path: Any = (1.0,), **gateway: Any) -> None:
        super().__init__(line, **gateway)
        self.delay_ms = delay_ms
        self._path = np.asarray(path) * 10 ** (echo_db / 20)
        self._played = np.zeros(0)
        self._taken = 0

    def line_of(self, pcm: Pcm) -> Pcm:
        now = self._chunk * FRAME_SAMPLES
        for event in self.line.sent[self._taken :]:
            if isinstance(event, Clear):
                self._played = self._played[:now]
            elif isinstance(event, Media):
                gap = np.zeros(max(0, now - len(self._played)))
                self._played = np.concatenate([self._played, gap, ulaw_decode(np.frombuffer(event.payload, np.uint8))])
        self._taken = len(self.line.sent)
        first = now - round(self.delay_ms * SAMPLE_RATE / 1000) - len(self._path) + 1
        heard = np.zeros(FRAME_SAMPLES + len(self._path) - 1)
        known = self._played[max(0, first) : max(0, first + len(heard))]
        heard[max(0, -first) : max(0, -first) + len(known)] = known
        return np.clip(np.round(pcm + np.convolve(heard, self._path, "valid")), -32768, 32767).astype(np.int16)
