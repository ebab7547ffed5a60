"""How a call begins and ends, and what a gateway may do wrong in between."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from call_fakes import FakeGateway, FakeLine, answer_line, fake_services, run, script_of

from orchestrator.logs import log_to
from orchestrator.services import Services
from orchestrator.wires.budget import MAX_WIRE_ERRORS
from orchestrator.wires.twilio.messages import Clear, Mark, Media, Start
from parley.audio import TELEPHONE_RATE
from parley.g711 import ulaw_encode


@pytest.mark.parametrize(
    "first",
    [
        '{"event":"media","streamSid":"MZ1","media":{"payload":"//8="}}',
        "not json",
        b"\x00\xff",
        '{"event":"start","start":{"callSid":"CA1","mediaFormat":{"encoding":"audio/x-l16","sampleRate":8000,"channels":1}}}',
    ],
    ids=["media-before-start", "not-json", "binary", "wrong-encoding"],
)
def test_a_call_that_begins_wrong_is_closed_with_the_reason(first: str | bytes) -> None:
    async def begin_wrong() -> tuple[str, tuple[int, str] | None]:
        services, _ = fake_services()
        line = FakeLine()
        line.inbound.put_nowait(first)
        return await answer_line(line, services), line.closed

    reason, closed = asyncio.run(begin_wrong())

    assert reason == "wire_error"
    assert closed is not None and closed[0] == 1002 and closed[1]


def begin(*messages: str, services: Services | None = None) -> tuple[str, FakeLine]:
    """A call that consists of these messages and the gateway's going away."""

    async def serve() -> tuple[str, FakeLine]:
        line = FakeLine()
        for message in messages:
            line.inbound.put_nowait(message)
        line.inbound.put_nowait(None)
        return await answer_line(line, services or fake_services()[0]), line

    return asyncio.run(serve())


def start_message(stream: str = "MZ1", call: str = "CA1", caller: str = "+1") -> str:
    media_format = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1}
    start = {"callSid": call, "mediaFormat": media_format, "customParameters": {"caller": caller}}
    return json.dumps({"event": "start", "streamSid": stream, "start": start})


@pytest.mark.parametrize(
    "messages",
    [
        [start_message("M" * 100_000)],
        [json.dumps({"event": "start", "start": {"mediaFormat": {"encoding": "\U0001f600\ud800" * 60}}})],
        ['{"event":"stop"}', start_message()],
        ['{"event":"news"}'] * 50,
    ],
    ids=["long-stream-sid", "strange-encoding", "stop-before-start", "never-starts"],
)
def test_a_call_that_cannot_begin_is_closed_with_a_reason_that_fits_a_close_frame(messages: list[str]) -> None:
    reason, line = begin(*messages)

    assert reason == "wire_error"
    assert line.closed is not None and line.closed[0] == 1002
    assert 10 < len(line.closed[1].encode()) <= 123


@pytest.mark.parametrize(
    "fields", [{"caller": "\ud800"}, {"call": "\udfff"}, {"stream": "a\ud83d"}, {"caller": "\x00"}]
)
def test_half_a_character_anywhere_is_answered_and_logged(fields: dict[str, str], tmp_path: Path) -> None:
    services, _ = fake_services()
    good, asked = services.assign, []

    def assign(caller: str, call_id: str) -> Any:
        asked.append(caller.encode())
        return good(caller, call_id)

    services.assign = assign
    log_to(tmp_path)

    reason, line = begin(start_message(**fields), '{"event":"stop"}', services=services)

    assert reason == "caller_hung_up" and len(asked) == 1
    assert line.closed == (1000, "caller_hung_up")
    written = [json.loads(row) for row in (tmp_path / "orchestrator.jsonl").read_text("utf-8").splitlines()]
    assert {row["message"] for row in written} >= {"call started", "call ended"}


def test_a_connection_that_breaks_before_the_start_is_a_gateway_that_is_gone() -> None:
    class BrokenLine(FakeLine):
        async def receive(self) -> str | bytes | None:
            raise RuntimeError("disconnected")

    async def serve() -> str:
        return await answer_line(BrokenLine(), fake_services()[0])

    assert asyncio.run(serve()) == "never_started"


@pytest.mark.parametrize("broken", [RuntimeError("disconnected"), ConnectionResetError("reset by peer")])
def test_a_connection_that_breaks_in_a_call_is_a_gateway_that_is_gone(broken: Exception) -> None:
    class BreakingLine(FakeLine):
        async def receive(self) -> str | bytes | None:
            message = await super().receive()
            if message is None:
                raise broken
            return message

    async def serve() -> str:
        line = BreakingLine()
        line.inbound.put_nowait(start_message())
        line.inbound.put_nowait(None)
        return await answer_line(line, fake_services()[0])

    assert asyncio.run(serve()) == "disconnected"


def test_long_audio_goes_in_messages_that_gateways_take() -> None:
    services, models = fake_services()
    models.words_s = 13.0

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.traces("turn"):
            await gateway.line.changed()
        gateway.hang_up()

    gateway, _ = run(services, caller)

    words = len(gateway.traces("reply")[0]["text"].split())
    assert len(gateway.media()) == words * 13 * TELEPHONE_RATE
    assert max(len(event.payload) for event in gateway.line.sent if isinstance(event, Media)) <= 48_000
    wire = [type(event) for event in gateway.line.sent if isinstance(event, Media | Mark)]
    assert wire == [Media, Mark] * (len(wire) // 2)


def test_a_caller_who_cannot_be_assigned_is_served_as_one_whose_number_is_withheld() -> None:
    services, _ = fake_services()
    good, asked = services.assign, []

    def assign(caller: str, call_id: str) -> Any:
        asked.append(caller)
        if caller:
            raise ValueError(caller)
        return good(caller, call_id)

    services.assign = assign
    reason, _ = begin(start_message(caller="+15550001111"), '{"event":"stop"}', services=services)

    assert asked == ["+15550001111", ""] and reason == "caller_hung_up"


def test_a_call_that_nothing_can_be_assigned_to_hears_tones_and_is_closed() -> None:
    services, _ = fake_services()

    def assign(caller: str, call_id: str) -> Any:
        raise LookupError("no release")

    services.assign = assign
    reason, line = begin(start_message(), services=services)

    assert reason == "internal_error" and line.closed == (1011, "internal_error")
    assert any(isinstance(event, Media) for event in line.sent)


def test_a_gateway_that_reads_nothing_any_more_keeps_no_call() -> None:
    services, _ = fake_services(close_within_s=0.01)

    class DeafLine(FakeLine):
        async def send(self, message: str | bytes) -> None:
            await asyncio.Event().wait()

        async def close(self, code: int, reason: str) -> None:
            self.closed = (code, reason)
            await asyncio.Event().wait()

    async def serve() -> tuple[str, tuple[int, str] | None]:
        line = DeafLine()
        gateway = FakeGateway(line)
        gateway.hang_up()
        async with asyncio.timeout(5):
            return await answer_line(line, services), line.closed

    assert asyncio.run(serve()) == ("caller_hung_up", (1000, "caller_hung_up"))


def test_a_second_start_changes_nothing() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        gateway.put(Start("MZ2", "CA2"))
        await gateway.turn(300, 2)
        gateway.hang_up()

    gateway, reason = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "ask.size" and reason == "caller_hung_up"
    assert {event.stream_sid for event in gateway.line.sent if isinstance(event, Media)} == {"MZ1"}


def test_broken_messages_are_borne_and_unknown_ones_ignored() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        for message in ("{", '{"event":"media","media":{}}', '{"event":"news"}', b"\xff"):
            gateway.line.inbound.put_nowait(message)
        await gateway.turn(300, 2)
        gateway.hang_up()

    gateway, reason = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "ask.size"
    assert reason == "caller_hung_up"


def test_a_gateway_that_sends_nothing_but_rubbish_gets_an_apology_and_the_end() -> None:
    services, _ = fake_services()
    apology = ulaw_encode(script_of(services).prompts.last_resort().pcm).tobytes()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        for _ in range(MAX_WIRE_ERRORS):
            gateway.line.inbound.put_nowait("{")
        while not gateway.media().endswith(apology):
            await gateway.line.changed()
        gateway.hang_up()

    gateway, reason = run(services, caller)

    assert reason == "wire_error"
    assert gateway.line.closed is not None and gateway.line.closed[0] == 1011


def test_a_call_that_goes_on_too_long_ends_with_a_goodbye() -> None:
    services, _ = fake_services(max_call_s=0.3)

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        while not any(isinstance(event, Clear) for event in gateway.line.sent):
            await gateway.line.changed()
        gateway.hang_up()

    assert run(services, caller)[1] == "too_long"


def test_without_asking_for_it_a_caller_gets_no_trace() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.media():
            await gateway.line.changed()
        gateway.hang_up()

    gateway, _ = run(services, caller, parameters={})

    assert {type(event) for event in gateway.line.sent} == {Media, Mark}
