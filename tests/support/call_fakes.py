"""A gateway that runs as fast as it can, and calls over it with models that need no training."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable
from contextvars import ContextVar
from typing import Any

import numpy as np
from fake_models import FakeModels, tone

from experiments.assignment import StageAssignment
from experiments.exposures import Exposure
from orchestrator.services import CallAssignment, CallParams, Script, Services
from orchestrator.session import answer_call
from orchestrator.stages import Retries
from orchestrator.turn_taking import TurnParams
from orchestrator.wires.line import Line
from orchestrator.wires.message_call import MessageCall, Pauses
from orchestrator.wires.twilio.messages import Clear, Connected, Event, Mark, Media, Start, Stop, parse, render
from orchestrator.wires.twilio.wire import TwilioDialect
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm
from parley.bot import load_bot
from parley.g711 import ulaw_decode, ulaw_encode
from parley.row_log import Row


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


def use_clock(clock: FakeClock) -> None:
    """What :class:`LineClock` shows in this task and those it starts."""
    _CLOCK.set(clock)


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

    def record(rows: Iterable[Row]) -> None:
        for row in rows:
            if isinstance(row, Exposure) and exposures is not None:
                exposures.append(row)

    def assign(caller: str, call_id: str) -> CallAssignment:
        stages = {
            stage: StageAssignment(stage, f"barista_{stage}", 1, None, None, "release", 0)
            for stage in ("stt", "nlu", "nlg", "tts")
        }
        return CallAssignment("unit", 7, stages, script)

    params.setdefault("turn", TurnParams(no_input_s=4.0))
    params.setdefault("retries", Retries(0.001, (0.001, 0.001)))
    services = Services(
        pool=models,
        assign=assign,
        record=record,
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
        use_clock(self.clock)
        self.sent: list[Event] = []
        self.closed: tuple[int, str] | None = None
        self._news = asyncio.Event()

    async def receive(self) -> str | bytes | None:
        return await self.inbound.get()

    async def send(self, message: str | bytes) -> None:
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
        await self.frames((rng.standard_normal(round(seconds * TELEPHONE_RATE)) * 8).astype(np.int16))

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
        await self.silence((len(self.media()) - self._heard) / TELEPHONE_RATE + 0.1)
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
        first = now - round(self.delay_ms * TELEPHONE_RATE / 1000) - len(self._path) + 1
        heard = np.zeros(FRAME_SAMPLES + len(self._path) - 1)
        known = self._played[max(0, first) : max(0, first + len(heard))]
        heard[max(0, -first) : max(0, -first) + len(known)] = known
        return np.clip(np.round(pcm + np.convolve(heard, self._path, "valid")), -32768, 32767).astype(np.int16)


Caller = Callable[[FakeGateway], Awaitable[None]]


async def answer_line(line: Line, services: Services) -> str:
    """Serve the call of a Twilio gateway on a connection, whose floods are dropped at once; why it ended."""
    call = MessageCall(line, services.clock, TwilioDialect(), Pauses(dropped_s=0.0, last_s=0.0))
    return await answer_call(call, services)


async def call(services: Services, caller: Caller, **gateway: Any) -> tuple[FakeGateway, str]:
    """Run a call with ``caller`` on its other end; the gateway as it was left, and why the call ended."""
    line = FakeLine()
    far_end = FakeGateway(line, **gateway)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        session = group.create_task(answer_line(line, services))
        await caller(far_end)
    return far_end, session.result()


def run(services: Services, caller: Caller, **gateway: Any) -> tuple[FakeGateway, str]:
    """See :func:`call`."""
    return asyncio.run(call(services, caller, **gateway))
