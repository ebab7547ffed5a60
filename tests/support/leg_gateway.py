"""A gateway on any wire, by the test caller's side of it, as fast as it can: for tests that every wire has to pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import numpy as np
from call_fakes import FakeClock, use_clock
from fake_models import tone

from calling.wires.contract import BotAudio, BotEvent, BotMark, BotTells, CallerWire, Message
from orchestrator.services import Services
from orchestrator.session import answer_call
from orchestrator.wires.contract import Wire
from parley.audio import TELEPHONE_RATE, Pcm
from parley.resampling import Resampler

FarEnd = TypeVar("FarEnd", bound="LegGateway")


class LegGateway:
    """Plays the gateway and the caller, and is the line between them and the bot. Its frames move the wall clock."""

    def __init__(self, wire: CallerWire) -> None:
        self.clock = FakeClock()
        use_clock(self.clock)
        self.inbound: asyncio.Queue[Message | None] = asyncio.Queue()
        self.heard: list[BotEvent] = []
        self.closed: tuple[int, str] | None = None
        self.rate = wire.rate
        self.leg = wire.call()
        self._resampler = Resampler(TELEPHONE_RATE, wire.rate)
        self._news = asyncio.Event()
        self._rng = np.random.default_rng(1)
        self._played = 0

    # The line, as the bot has it

    async def receive(self) -> Message | None:
        return await self.inbound.get()

    async def send(self, message: Message) -> None:
        await asyncio.sleep(0)
        if (event := self.leg.read(message)) is not None:
            self.heard.append(event)
        self._news.set()

    async def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)
        self._news.set()

    # The gateway

    def begin(self, caller: str = "", *, greeting: bool = True) -> None:
        for message in self.leg.begin(caller=caller, greeting=greeting):
            self.inbound.put_nowait(message)

    def hang_up(self) -> None:
        self.inbound.put_nowait(self.leg.hang_up())

    def audio(self) -> Pcm:
        """All audio the bot has sent."""
        return np.concatenate([np.zeros(0, np.int16), *(e.pcm for e in self.heard if isinstance(e, BotAudio))])

    def told(self, kind: str) -> list[dict[str, Any]]:
        return [dict(event.data) for event in self.heard if isinstance(event, BotTells) and event.kind == kind]

    async def say(self, hertz: int, seconds: float = 0.8) -> None:
        await self.frames(tone(hertz, seconds))

    async def silence(self, seconds: float) -> None:
        await self.frames((self._rng.standard_normal(round(seconds * TELEPHONE_RATE)) * 8).astype(np.int16))

    async def frames(self, pcm: Pcm) -> None:
        """Samples at the telephone's rate, in 20 ms of the wire's."""
        at_rate = pcm if self.rate == TELEPHONE_RATE else self._resampler.push(pcm)
        size = self.rate // 50
        for at in range(0, len(at_rate) // size * size, size):
            self.clock.advance(0.02)
            self.inbound.put_nowait(self.leg.audio(at_rate[at : at + size])[0])
            await self.others()

    async def others(self) -> None:
        while not self.inbound.empty() and self.closed is None:
            await asyncio.sleep(0)
        for _ in range(8):
            await asyncio.sleep(0)

    async def changed(self) -> None:
        self._news.clear()
        async with asyncio.timeout(5):
            await self._news.wait()

    async def hear_turn(self, turns: int) -> dict[str, Any]:
        """Wait until the bot has said so many turns, play them to the end, and give the last reply."""
        while len(self.told("turn")) < turns and self.closed is None:
            await self.changed()
        await self.silence((len(self.audio()) - self._played) / self.rate + 0.1)
        self._played = len(self.audio())
        for event in self.heard:
            if isinstance(event, BotMark):
                self.inbound.put_nowait(self.leg.played(event.name))
        await self.silence(0.1)
        return self.told("reply")[-1]


async def call_on(
    wire: Wire, far_end: Callable[[], FarEnd], services: Services, caller: Callable[[FarEnd], Awaitable[None]]
) -> tuple[FarEnd, str]:
    """A call over a wire with ``caller`` on its other end; the gateway as it was left, and why the call ended."""
    gateway = far_end()
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        session = group.create_task(answer_call(wire.open(gateway, services.clock), services))
        await caller(gateway)
    return gateway, session.result()
