"""A whole call over fake models: turns, interruptions, broken messages, and stages that are down."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from call_fakes import FakeGateway, FakeLine, FakeModels, fake_services, script_of, tone

from experiments.exposures import Exposure
from orchestrator import farewell as farewell_module
from orchestrator import session as session_module
from orchestrator import stages as stages_module
from orchestrator.logs import log_to
from orchestrator.services import Services
from orchestrator.session import answer_call
from orchestrator.turn_taking import TurnParams
from orchestrator.wires.budget import MAX_WIRE_ERRORS
from orchestrator.wires.twilio import Clear, Dtmf, Mark, Media, Start
from parley.audio import SAMPLE_RATE
from parley.g711 import ulaw_encode

Caller = Callable[[FakeGateway], Awaitable[None]]


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages_module, "RETRY_AFTER_S", 0.001)
    monkeypatch.setattr(stages_module, "HEARING_RETRIES_S", (0.001, 0.001))


async def call(services: Services, caller: Caller, **gateway: Any) -> tuple[FakeGateway, str]:
    """Run a call with ``caller`` on its other end; the gateway as it was left, and why the call ended."""
    line = FakeLine()
    far_end = FakeGateway(line, **gateway)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        session = group.create_task(answer_call(line, services))
        await caller(far_end)
    return far_end, session.result()


def run(services: Services, caller: Caller, **gateway: Any) -> tuple[FakeGateway, str]:
    return asyncio.run(call(services, caller, **gateway))


@pytest.mark.parametrize("echoes", [True, False], ids=["marks-echoed", "marks-never-echoed"])
def test_an_order_over_several_turns_is_taken_and_the_bot_hangs_up(echoes: bool) -> None:
    exposures: list[Exposure] = []
    services, _ = fake_services(exposures)
    replies: list[dict[str, Any]] = []

    async def caller(gateway: FakeGateway) -> None:
        replies.append(await gateway.hear_reply(1))
        for turn, hertz in enumerate((300, 400, 500, 600), start=2):
            replies.append(await gateway.turn(hertz, turn))
        if not echoes:
            await gateway.silence(6)

    gateway, reason = run(services, caller, echoes=echoes)

    acts = [reply["act"] for reply in replies]
    assert acts == ["greet", "ask.size", "confirm.orderDrink", "done.orderDrink", "goodbye"]
    assert "AI" in replies[0]["text"]
    assert replies[2]["slots"] == {"coffeeDrink": "latte", "size": "large"}
    assert reason == "goodbye"
    assert gateway.line.closed == (1000, "goodbye")
    assert {row.stage for row in exposures if row.turn == 1} == {"stt", "nlu", "nlg", "tts"}
    assert {row.stage for row in exposures if row.turn == 0} == {"nlg", "tts"}
    assert {row.reason for row in exposures} == {"release"}


def test_every_piece_of_audio_is_followed_by_a_mark_and_figures_are_taken() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.turn(300, 2)
        gateway.hang_up()

    gateway, reason = run(services, caller)

    wire = [event for event in gateway.line.sent if isinstance(event, Media | Mark)]
    assert all(isinstance(event, Media) for event in wire[::2]) and all(isinstance(event, Mark) for event in wire[1::2])
    figures = gateway.traces("turn")[1]
    assert all(figures[name] >= 0 for name in ("stt_ms", "nlu_ms", "nlg_ms", "tts_first_ms", "voice_to_voice_ms"))
    assert gateway.traces("partial")
    assert reason == "caller_hung_up"


def test_two_calls_at_once_do_not_hear_each_other() -> None:
    services, _ = fake_services()
    seen: dict[str, list[str]] = {}

    def caller(name: str, words: tuple[int, ...]) -> Caller:
        async def speak(gateway: FakeGateway) -> None:
            seen[name] = [(await gateway.hear_reply(1))["act"]]
            for turn, hertz in enumerate(words, start=2):
                seen[name].append((await gateway.turn(hertz, turn))["act"])
            gateway.hang_up()

        return speak

    async def both() -> None:
        await asyncio.gather(call(services, caller("latte", (300, 400))), call(services, caller("mocha", (800, 500))))

    asyncio.run(both())

    assert seen["latte"] == ["greet", "ask.size", "confirm.orderDrink"]
    assert seen["mocha"] == ["greet", "confirm.orderDrink", "done.orderDrink"]


def test_talking_over_the_bot_clears_what_is_not_heard_and_is_answered() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        while len(gateway.traces("turn")) < 1:
            await gateway.line.changed()
        await gateway.silence(1.0)
        await gateway.say(300)
        await gateway.silence(0.6)
        await gateway.hear_reply(2)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    kinds = [type(event) for event in gateway.line.sent]
    assert kinds.count(Clear) == 1
    heard = gateway.traces("interrupted")[0]["heard"]
    assert heard.startswith("Hello, this is the") and len(heard.split()) in range(5, 9)
    assert gateway.traces("reply")[-1]["act"] == "ask.size"


def test_a_cough_does_not_stop_the_bot() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        while len(gateway.traces("turn")) < 1:
            await gateway.line.changed()
        await gateway.silence(0.5)
        await gateway.say(300, 0.14)
        await gateway.silence(0.8)
        await gateway.play_out()
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert not any(isinstance(event, Clear) for event in gateway.line.sent)
    assert len(gateway.traces("ignored")) == 1
    assert len(gateway.traces("turn")) == 1


def test_a_caller_who_goes_on_after_a_pause_is_heard_as_one() -> None:
    """900 Hz is no sentence; 300 Hz after it is. Both together are mostly 300 Hz, and are answered once."""
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(900, 0.4)
        await gateway.silence(0.6)
        await gateway.say(300, 1.2)
        await gateway.silence(0.6)
        await gateway.hear_reply(2)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet", "ask.size"]


def test_what_is_not_understood_gets_rising_help_and_then_a_person() -> None:
    services, _ = fake_services()
    acts = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        for turn in (2, 3, 4):
            await gateway.say(900)
            await gateway.silence(1.2)
            acts.append((await gateway.hear_reply(turn))["act"])

    _, reason = run(services, caller)

    assert acts == ["no_match.1", "no_match.2", "no_match.3"]
    assert reason == "handover"


def test_silence_is_asked_about_and_then_handed_over() -> None:
    services, _ = fake_services()
    acts = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        for turn in (2, 3, 4):
            await gateway.silence(4.5)
            acts.append((await gateway.hear_reply(turn))["act"])

    _, reason = run(services, caller)

    assert acts == ["no_input.1", "no_input.2", "no_input.3"]
    assert reason == "handover"


def test_key_zero_reaches_a_person() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        gateway.put(Dtmf("MZ1", "0"))
        await gateway.hear_reply(2)

    assert run(services, caller)[1] == "handover"


def keyed(keys: str, *, pause_s: float = 0.0, after_reply: bool = True) -> tuple[list[dict[str, Any]], str]:
    """The replies of a call of the bot that asks for a number, in which keys are pressed; and why it ended."""
    services, _ = fake_services(bot_name="digits")
    replies: list[dict[str, Any]] = []

    async def caller(gateway: FakeGateway) -> None:
        replies.append(await gateway.hear_reply(1) if after_reply else {})
        for key in keys:
            gateway.put(Dtmf("MZ1", key))
            await gateway.silence(0.2)
        await gateway.silence(pause_s)
        replies.append(await gateway.hear_reply(2))
        gateway.hang_up()

    return replies, run(services, caller)[1]


@pytest.mark.parametrize(("keys", "pause_s"), [("4011#", 0.0), ("4011", 3.2), ("0400#", 0.0)])
def test_keys_fill_the_number_that_is_asked_for(keys: str, pause_s: float) -> None:
    replies, _ = keyed(keys, pause_s=pause_s)

    assert replies[-1]["act"] == "confirm.giveNumber"
    assert replies[-1]["slots"] == {"number": keys.rstrip("#")}


def test_a_zero_alone_reaches_a_person_also_where_a_number_is_asked_for() -> None:
    assert keyed("0", pause_s=3.2)[1] == "handover"


def test_a_key_stops_the_bot_as_a_voice_does() -> None:
    services, _ = fake_services(bot_name="digits")

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.media():
            await gateway.line.changed()
        gateway.put(Dtmf("MZ1", "4"))
        await gateway.silence(0.1)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert any(isinstance(event, Clear) for event in gateway.line.sent)


@pytest.mark.parametrize(
    ("down", "acts", "reason"),
    [
        ({"stt"}, ["greet", "apology"], "handover"),
        ({"nlu"}, ["greet", "no_match.1"], "caller_hung_up"),
        ({"nlg"}, ["greet", "ask.size"], "caller_hung_up"),
        ({"stt", "nlu", "nlg"}, ["greet", "apology"], "handover"),
    ],
    ids=lambda value: "+".join(sorted(value)) if isinstance(value, set) else None,
)
def test_a_stage_that_is_down_is_spoken_around_and_counted(down: set[str], acts: list[str], reason: str) -> None:
    exposures: list[Exposure] = []
    services, models = fake_services(exposures)

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        models.down |= down
        await gateway.turn(300, 2)
        gateway.hang_up()

    gateway, ended = run(services, caller)

    assert [reply["act"] for reply in gateway.traces("reply")] == acts
    assert ended == reason
    assert {stage for stage, _ in services.fallbacks} == down - ({"nlu"} if "stt" in down else set())
    assert {row.stage for row in exposures if row.reason == "fallback"} == {stage for stage, _ in services.fallbacks}


@pytest.mark.parametrize("how", ["down", "broken"])
def test_with_everything_down_from_the_start_the_caller_hears_an_apology(how: str) -> None:
    services, models = fake_services()
    getattr(models, how).update({"stt", "nlu", "nlg", "tts"})
    apology = ulaw_encode(script_of(services).prompts.last_resort().pcm).tobytes()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)

    gateway, reason = run(services, caller)

    assert gateway.media() == apology
    assert len(apology) > SAMPLE_RATE
    assert reason == "handover"
    assert services.fallbacks["tts", "EngineUnavailable" if how == "down" else "ZeroDivisionError"] == 1


def test_a_voice_that_dies_in_the_middle_of_a_call_is_replaced_by_the_apology() -> None:
    services, models = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        models.down.add("tts")
        await gateway.turn(300, 2)

    gateway, reason = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "apology"
    assert reason == "handover"


def test_a_server_that_hangs_is_given_up_and_the_caller_put_through() -> None:
    services, models = fake_services(stage_timeout_s=0.02)

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        models.hanging.add("stt")
        await gateway.turn(300, 2)

    gateway, reason = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "apology"
    assert reason == "handover"
    assert services.fallbacks == {("stt", "TimeoutError"): 1}


def test_a_server_that_is_back_in_time_costs_a_retry_not_the_utterance() -> None:
    services, models = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(300, 0.4)
        models.down.add("stt")
        await gateway.say(300, 0.4)
        models.down.clear()
        await gateway.silence(0.6)
        await gateway.hear_reply(2)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "ask.size"
    assert not services.fallbacks


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
        return await answer_call(line, services), line.closed

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
        return await answer_call(line, services or fake_services()[0]), line

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
    try:
        reason, line = begin(start_message(**fields), '{"event":"stop"}', services=services)
    finally:
        log_to(None)

    assert reason == "caller_hung_up" and len(asked) == 1
    assert line.closed == (1000, "caller_hung_up")
    written = [json.loads(row) for row in (tmp_path / "orchestrator.jsonl").read_text("utf-8").splitlines()]
    assert {row["message"] for row in written} >= {"call started", "call ended"}


def test_a_connection_that_breaks_before_the_start_is_a_gateway_that_is_gone() -> None:
    class BrokenLine(FakeLine):
        async def receive(self) -> str | bytes | None:
            raise RuntimeError("disconnected")

    async def serve() -> str:
        return await answer_call(BrokenLine(), fake_services()[0])

    assert asyncio.run(serve()) == "never_started"


def test_long_audio_goes_in_messages_that_gateways_take() -> None:
    services, models = fake_services()
    models.words_s = 13.0

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.traces("turn"):
            await gateway.line.changed()
        gateway.hang_up()

    gateway, _ = run(services, caller)

    words = len(gateway.traces("reply")[0]["text"].split())
    assert len(gateway.media()) == words * 13 * SAMPLE_RATE
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


def test_a_gateway_that_reads_nothing_any_more_keeps_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "CLOSE_WITHIN_S", 0.01)
    monkeypatch.setattr(farewell_module, "CLOSE_WITHIN_S", 0.01)

    class DeafLine(FakeLine):
        async def send(self, message: str) -> None:
            await asyncio.Event().wait()

        async def close(self, code: int, reason: str) -> None:
            self.closed = (code, reason)
            await asyncio.Event().wait()

    async def serve() -> tuple[str, tuple[int, str] | None]:
        line = DeafLine()
        gateway = FakeGateway(line)
        gateway.hang_up()
        async with asyncio.timeout(5):
            return await answer_call(line, fake_services()[0]), line.closed

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


def test_words_heard_before_an_interruption_are_right_late_in_a_call_too() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.silence(3.0)
        await gateway.say(300)
        await gateway.silence(0.6)
        while len(gateway.traces("turn")) < 2:
            await gateway.line.changed()
        await gateway.silence(0.5)
        await gateway.say(400)
        await gateway.silence(0.6)
        await gateway.hear_reply(3)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    heard = gateway.traces("interrupted")[0]["heard"]
    assert heard and gateway.traces("reply")[1]["text"].startswith(heard)


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


def test_a_bug_in_one_call_ends_that_call_only() -> None:
    services, models = fake_services()
    good_assign = services.assign

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        object.__setattr__(script_of(services), "dialogue", None)
        await gateway.turn(300, 2)

    async def other(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.turn(800, 2)
        gateway.hang_up()

    healthy, _ = fake_services()

    async def both() -> list[tuple[FakeGateway, str]]:
        return await asyncio.gather(call(services, caller), call(healthy, other))

    (broken, reason), (fine, _) = asyncio.run(both())

    assert services.assign is good_assign
    assert broken.traces("reply")[-1]["act"] == "apology" and reason == "handover"
    assert fine.traces("reply")[-1]["act"] == "confirm.orderDrink"


def test_a_call_that_goes_on_too_long_ends_with_a_goodbye() -> None:
    services, _ = fake_services(max_call_s=0.3)

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        while not any(isinstance(event, Clear) for event in gateway.line.sent):
            await gateway.line.changed()
        gateway.hang_up()

    assert run(services, caller)[1] == "too_long"


def test_logs_name_the_call_and_never_what_was_said(caplog: pytest.LogCaptureFixture) -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.turn(300, 2)
        gateway.hang_up()

    with caplog.at_level(logging.INFO, logger="orchestrator"):
        run(services, caller, parameters={"parley_trace": "1", "caller": "+15551234567"})

    written = " ".join(str(vars(record)) for record in caplog.records)
    assert {"call started", "turn", "call ended"} <= {record.getMessage() for record in caplog.records}
    assert "latte" not in written and "5551234567" not in written


def test_without_asking_for_it_a_caller_gets_no_trace() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.media():
            await gateway.line.changed()
        gateway.hang_up()

    gateway, _ = run(services, caller, parameters={})

    assert {type(event) for event in gateway.line.sent} == {Media, Mark}


def test_a_reply_longer_than_the_no_input_time_is_not_followed_by_no_input() -> None:
    services, models = fake_services(turn=TurnParams(no_input_s=1.0))
    assert isinstance(models, FakeModels) and len(tone(300, 1.0)) == SAMPLE_RATE

    async def caller(gateway: FakeGateway) -> None:
        while len(gateway.traces("turn")) < 1:
            await gateway.line.changed()
        spoken_s = len(gateway.media()) / SAMPLE_RATE
        await gateway.silence(spoken_s + 0.5)
        assert len(gateway.traces("turn")) == 1
        await gateway.silence(0.8)
        while len(gateway.traces("turn")) < 2:
            await gateway.line.changed()
        gateway.hang_up()

    gateway, _ = run(services, caller, echoes=False)

    assert gateway.traces("reply")[-1]["act"] == "no_input.1"
