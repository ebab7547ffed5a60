"""Gateways that lack marks, take nothing back, or play at once what they get: the bot makes do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from call_fakes import fake_services
from leg_gateway import LegGateway, call_on

from calling.wires.contract import BotAudio, BotClears, BotMark, Message
from calling.wires.plain import PlainCallerWire
from orchestrator.speaker import AHEAD_S, STEP_S
from orchestrator.wall_clock import CALL_RATE, Clock
from orchestrator.wires.contract import GatewayCall, Proof
from orchestrator.wires.line import Line
from orchestrator.wires.message_call import MessageCall
from orchestrator.wires.plain import RATE, PlainDialect
from parley.settings import Settings


class LesserDialect(PlainDialect):
    """The plain wire's, of a gateway that can do less."""

    def __init__(self, **lacks: bool) -> None:
        super().__init__()
        self.capabilities = replace(PlainDialect.capabilities, **lacks)

    def clear(self) -> str | None:  # type: ignore[override]
        return super().clear() if self.capabilities.clear else None


class LesserWire:
    """See `orchestrator.wires.contract.Wire`."""

    name, paths = "plain", ("/plain",)

    def __init__(self, **lacks: bool) -> None:
        self._lacks = lacks

    def proof(self, site: Settings) -> Proof | None:
        return None

    def open(self, line: Line, clock: Clock) -> GatewayCall:
        return MessageCall(line, clock, LesserDialect(**self._lacks))


class PlayingGateway(LegGateway):
    """Notes how much audio waits to be played when more of it comes."""

    most_waiting_s = 0.0
    until = 0.0
    """When everything has been played."""

    async def send(self, message: Message) -> None:
        await super().send(message)
        if isinstance(message, bytes):
            now = self.clock.now()
            self.until = max(self.until, now) + len(message) / 2 / RATE
            self.most_waiting_s = max(self.most_waiting_s, self.until - now)


def run(caller: Any, **lacks: bool) -> tuple[PlayingGateway, str]:
    def gateway() -> PlayingGateway:
        return PlayingGateway(PlainCallerWire())

    return asyncio.run(call_on(LesserWire(**lacks), gateway, fake_services()[0], caller))


async def listens(gateway: PlayingGateway, turns: int) -> None:
    """Silence on the line until the bot has said so many turns, and they have been played."""
    for _ in range(500):
        if len(gateway.told("turn")) >= turns and gateway.clock.now() >= gateway.until:
            break
        await gateway.silence(0.1)
    await gateway.silence(0.3)


async def an_order(gateway: PlayingGateway) -> None:
    gateway.begin()
    await listens(gateway, 1)
    for turn, hertz in enumerate((300, 400, 500, 600), start=2):
        await gateway.say(hertz)
        await listens(gateway, turn)
    while gateway.closed is None:
        await gateway.silence(0.1)


LESSER = [{"marks": False}, {"clear": False}, {"marks": False, "clear": False}, {"paced_by_us": True}]


@pytest.mark.parametrize("lacks", LESSER, ids=lambda lacks: "+".join(lacks))
def test_an_order_is_taken_by_a_gateway_that_can_do_less(lacks: dict[str, bool]) -> None:
    gateway, reason = run(an_order, **lacks)

    assert [reply["act"] for reply in gateway.told("reply")] == [
        "greet", "ask.size", "confirm.orderDrink", "done.orderDrink", "goodbye",
    ]  # fmt: skip
    assert reason == "goodbye"
    assert any(isinstance(event, BotMark) for event in gateway.heard) is lacks.get("marks", True)
    in_step = "clear" in lacks or "paced_by_us" in lacks
    assert (gateway.most_waiting_s <= AHEAD_S + STEP_S + 0.02) is in_step


def test_where_nothing_can_be_taken_back_an_interrupted_bot_is_soon_silent_and_knows_what_was_heard() -> None:
    silent_after: list[float] = []

    async def caller(gateway: PlayingGateway) -> None:
        gateway.begin()
        await gateway.silence(1.0)
        while not gateway.told("interrupted"):
            await gateway.say(300, 0.02)
        at = len(gateway.audio())
        await gateway.say(300, 0.5)
        await gateway.silence(0.2)
        silent_after.append((len(gateway.audio()) - at) / RATE)
        await listens(gateway, 1)
        gateway.hang_up()

    gateway, _ = run(caller, clear=False)

    said, heard = gateway.told("interrupted")[0], gateway.told("interrupted")[0]["heard"]
    assert not any(isinstance(event, BotClears) for event in gateway.heard)
    assert said["dropped_ms"] == 0
    assert silent_after[0] <= STEP_S
    assert heard.startswith("Hello, this is the") and len(heard.split()) < 8
    assert gateway.told("reply")[-1]["act"] == "ask.size"
    first = next(index for index, event in enumerate(gateway.heard) if isinstance(event, BotAudio))
    assert len(gateway.heard[first].pcm) == pytest.approx(STEP_S * RATE, abs=RATE * 0.031)  # type: ignore[union-attr]


def test_without_marks_the_last_words_are_heard_by_the_clock_and_no_longer_waited_for() -> None:
    lasted: list[float] = []

    async def caller(gateway: PlayingGateway) -> None:
        gateway.begin()
        await listens(gateway, 1)
        before, began = len(gateway.audio()), gateway.clock.now()
        await gateway.say(700)  # a person, please
        while gateway.closed is None:
            await gateway.silence(0.02)
        spoken_s = (len(gateway.audio()) - before) / RATE
        lasted.append(gateway.clock.now() - began - 0.8 - spoken_s)

    _, reason = run(caller, marks=False)

    assert reason == "handover"
    assert 0.3 <= lasted[0] <= 0.8  # the silence that ends a turn, and no slack for a mark that never comes


def test_samples_are_counted_at_the_calls_rate_whatever_the_gateways() -> None:
    async def caller(gateway: PlayingGateway) -> None:
        gateway.begin()
        await listens(gateway, 1)
        gateway.hang_up()

    gateway, _ = run(caller, marks=False)

    spoken = np.concatenate([event.pcm for event in gateway.heard if isinstance(event, BotAudio)])
    played_ms = gateway.told("turn")[0]["played_ms"]
    assert len(spoken) / RATE * 1000 == pytest.approx(played_ms, abs=1)
    assert RATE == 2 * CALL_RATE
