"""A whole call over fake models: turns, interruptions, keys, silence."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from call_fakes import Caller, FakeGateway, call, fake_services, run
from fake_models import FakeModels, tone

from experiments.exposures import Exposure
from orchestrator.turn_taking import TurnParams
from orchestrator.wires.twilio.messages import Clear, Dtmf, Mark, Media
from parley.audio import TELEPHONE_RATE


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


def test_a_reply_longer_than_the_no_input_time_is_not_followed_by_no_input() -> None:
    services, models = fake_services(turn=TurnParams(no_input_s=1.0))
    assert isinstance(models, FakeModels) and len(tone(300, 1.0)) == TELEPHONE_RATE

    async def caller(gateway: FakeGateway) -> None:
        while len(gateway.traces("turn")) < 1:
            await gateway.line.changed()
        spoken_s = len(gateway.media()) / TELEPHONE_RATE
        await gateway.silence(spoken_s + 0.5)
        assert len(gateway.traces("turn")) == 1
        await gateway.silence(0.8)
        while len(gateway.traces("turn")) < 2:
            await gateway.line.changed()
        gateway.hang_up()

    gateway, _ = run(services, caller, echoes=False)

    assert gateway.traces("reply")[-1]["act"] == "no_input.1"
