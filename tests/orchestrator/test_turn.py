"""A turn is a record: its figures are taken when it is over, and each stage is charged with what it did itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from call_fakes import FakeGateway, FakeLine, run
from fake_models import FakeNlu, FakeStream
from written_calls import sent_ms, served, turns, written_services

from calls.records import TurnRow
from models.contracts import Understanding
from orchestrator.hearing import Ear
from orchestrator.wires.twilio.messages import Clear, Dtmf, parse
from parley.audio import TELEPHONE_RATE, Pcm
from parley.serving.engine import EngineRejected


async def greeting_sent(gateway: FakeGateway) -> None:
    while not gateway.traces("turn"):
        await gateway.line.changed()


# What served a turn


def test_an_stt_that_cannot_hear_both_halves_again_has_answered_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def accept(self: FakeStream, pcm: Pcm) -> None:
        if len(pcm) > TELEPHONE_RATE:  # only both halves come at once
            raise EngineRejected("too long", where="stt")
        self._audio.append(pcm)

    monkeypatch.setattr(FakeStream, "accept", accept)
    services, _, rows = written_services()
    caplog.set_level(logging.INFO, logger="orchestrator")

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(900, 0.4)
        await gateway.silence(0.6)
        await gateway.say(300, 1.2)
        await gateway.silence(0.6)
        await gateway.hear_reply(2)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "ask.size"
    assert served(rows, 1) == dict.fromkeys(("stt", "nlu", "nlg", "tts"), "release")
    assert turns(rows)[1].served["stt"].fallback is None and turns(rows)[1].served["stt"].served == 1
    assert not services.fallbacks
    told = [vars(record)["not_again"] for record in caplog.records if record.getMessage() == "turn"]
    assert told == ["", "EngineRejected"], "though no exposure says so, the log does"


def test_a_fallback_while_the_answer_before_is_made_is_charged_to_its_own_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = asyncio.Event()

    async def parse(self: FakeNlu, text: str) -> Understanding:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError("it never answers")

    monkeypatch.setattr(FakeNlu, "parse", parse)
    services, models, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(300)
        await gateway.silence(0.6)
        await asked.wait()
        models.down.add("stt")
        await gateway.say(400)
        await gateway.silence(0.6)
        await gateway.hear_reply(2)

    _, reason = run(services, caller)

    assert reason == "handover"
    assert served(rows, 1) == {"stt": "release", "nlu": "release"}
    assert served(rows, 2)["stt"] == "fallback"
    assert [(turn.kind, turn.ended) for turn in turns(rows)] == [
        ("greeting", "heard"),
        ("speech", "replaced"),
        ("deaf", "heard"),
    ]
    assert services.fallbacks == {("stt", "EngineUnavailable"): 1}


@pytest.mark.parametrize(
    ("act", "kind", "stages"),
    [
        (lambda gateway: gateway.silence(4.5), "nothing", {"nlg", "tts"}),
        (lambda gateway: gateway.say(900), "speech", {"stt", "nlg", "tts"}),
        (lambda gateway: gateway.say(300), "speech", {"stt", "nlu", "nlg", "tts"}),
    ],
    ids=["silence", "not-understood", "understood"],
)
def test_a_turn_is_charged_to_the_stages_it_reached(
    act: Callable[[FakeGateway], Any], kind: str, stages: set[str]
) -> None:
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await act(gateway)
        await gateway.silence(1.2)
        await gateway.hear_reply(2)
        gateway.hang_up()

    run(services, caller)

    turn = turns(rows)[1]
    assert (turn.kind, set(turn.served), turn.ended) == (kind, stages, "heard")
    spoken = kind == "speech"
    assert (turn.caller_began_ms is not None, turn.caller_ended_ms is not None) == (spoken, spoken)
    assert (turn.voice_to_voice_ms is not None) == spoken and (turn.stt_ms is not None) == spoken
    if turn.caller_began_ms is not None and turn.caller_ended_ms is not None:
        assert turn.caller_ended_ms - turn.caller_began_ms == pytest.approx(800, abs=100)


# How a turn ended, and how much of it was heard


def test_a_turn_that_is_talked_over_says_so_and_how_much_of_it_was_heard(caplog: pytest.LogCaptureFixture) -> None:
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await greeting_sent(gateway)
        await gateway.silence(1.0)
        await gateway.say(300)
        await gateway.silence(0.6)
        await gateway.hear_reply(2)
        gateway.hang_up()

    with caplog.at_level(logging.INFO, logger="orchestrator"):
        gateway, _ = run(services, caller)

    greeting = turns(rows)[0]
    sent = gateway.traces("turn")[0]["played_ms"]
    assert greeting.ended == "interrupted"
    assert 1200 <= greeting.played_ms <= 1600, "a second of silence, and what it takes to notice him"
    dropped = gateway.traces("interrupted")[0]["dropped_ms"]
    assert greeting.played_ms + dropped == pytest.approx(sent, abs=1)
    told = gateway.traces("turn_over")[0]
    assert (told["turn"], told["interrupted"], told["played_ms"]) == (
        0,
        True,
        pytest.approx(greeting.played_ms, abs=0.1),
    )
    lines = [vars(record) for record in caplog.records if record.getMessage() == "turn"]
    assert [(line["turn"], line["interrupted"]) for line in lines] == [(0, True), (1, False)]


def test_a_turn_that_is_talked_over_is_written_though_the_line_takes_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    hangs = asyncio.Event()
    good = FakeLine.send

    async def send(self: FakeLine, message: str | bytes) -> None:
        if isinstance(parse(message), Clear) and not hangs.is_set():
            hangs.set()
            await asyncio.Event().wait()
        await good(self, message)

    monkeypatch.setattr(FakeLine, "send", send)
    services, _, rows = written_services(max_call_s=1.0)

    async def caller(gateway: FakeGateway) -> None:
        await greeting_sent(gateway)
        await gateway.silence(1.0)
        await gateway.say(300)
        assert hangs.is_set()
        while gateway.line.closed is None:
            await asyncio.sleep(0.05)
            await gateway.nothing(1.0)

    _, reason = run(services, caller)

    assert reason == "too_long"
    assert [(turn.turn, turn.ended) for turn in turns(rows)] == [(0, "interrupted")]
    assert served(rows, 0) == {"nlg": "release", "tts": "release"}


def test_a_turn_that_is_heard_out_was_played_whole_and_is_written_at_once() -> None:
    services, _, rows = written_services()
    at_once: list[TurnRow] = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        at_once.extend(turns(rows))
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert [(turn.ended, turn.played_ms) for turn in at_once] == [("heard", sent_ms(gateway))]


def test_who_hangs_up_has_heard_what_was_played_till_then() -> None:
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await greeting_sent(gateway)
        await gateway.silence(1.0)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    (greeting,) = turns(rows)
    assert greeting.ended == "call_over" and greeting.played_ms == pytest.approx(1000, abs=60)
    assert sent_ms(gateway) > 2000


def test_what_the_caller_goes_on_over_is_replaced_and_its_rest_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """He goes on before he is answered, and the answer to the half comes while he does: it is out of date."""
    asked, may_answer = asyncio.Event(), asyncio.Event()
    good = FakeNlu.parse

    async def parse(self: FakeNlu, text: str) -> Understanding:
        asked.set()
        await may_answer.wait()
        return await good(self, text)

    monkeypatch.setattr(FakeNlu, "parse", parse)
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(300)
        await gateway.silence(0.6)
        await asked.wait()
        await gateway.say(400, 0.6)
        may_answer.set()
        await gateway.say(400, 0.6)
        await gateway.silence(0.6)
        await gateway.hear_reply(3)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    first, second = turns(rows)[1:]
    assert (first.ended, first.resumed, second.ended, second.resumed) == ("replaced", False, "heard", True)
    sent = gateway.traces("turn")[1]["played_ms"]
    assert 600 <= first.played_ms < sent
    assert sum(turn.played_ms for turn in turns(rows)) < sent_ms(gateway)
    assert not gateway.traces("interrupted")


def test_the_last_words_of_a_call_belong_to_no_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    async def take(self: Ear, event: object) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Ear, "take", take)
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        heard = len(gateway.media())
        await gateway.say(300)
        while len(gateway.media()) == heard:
            await gateway.line.changed()
        gateway.hang_up()

    gateway, reason = run(services, caller)

    assert reason == "internal_error"
    (greeting,) = turns(rows)
    assert greeting.ended == "heard" and greeting.played_ms == gateway.traces("turn")[0]["played_ms"]


def test_a_key_for_a_person_takes_back_what_is_being_said() -> None:
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await greeting_sent(gateway)
        await gateway.silence(1.0)
        gateway.put(Dtmf("MZ1", "0"))
        await gateway.hear_reply(2)

    gateway, reason = run(services, caller)

    assert reason == "handover"
    greeting, handover = turns(rows)
    assert (greeting.ended, handover.ended, handover.kind) == ("replaced", "heard", "operator_key")
    assert greeting.played_ms == pytest.approx(1000, abs=60)
    assert served(rows, 1) == {"nlg": "release", "tts": "release"}
    assert handover.voice_to_voice_ms is None and handover.stt_ms is None
    assert handover.played_ms == gateway.traces("turn")[1]["played_ms"]


def test_a_gateway_that_sends_nothing_plays_all_the_same() -> None:
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await greeting_sent(gateway)
        while gateway.line.closed is None:
            await gateway.nothing(1.0)

    gateway, reason = run(services, caller, echoes=False)

    assert reason == "handover"
    assert [turn.kind for turn in turns(rows)] == ["greeting", "nothing", "nothing", "nothing"]
    assert {turn.ended for turn in turns(rows)} == {"heard"}
    assert sum(turn.played_ms for turn in turns(rows)) == pytest.approx(sent_ms(gateway))


def test_who_hears_the_apology_has_waited_for_it() -> None:
    services, models, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        models.down |= {"tts"}
        await gateway.turn(300, 2)

    run(services, caller)

    turn = turns(rows)[1]
    assert turn.voice_to_voice_ms is not None and turn.voice_to_voice_ms >= 0
    assert (turn.served["tts"].fallback, turn.served["tts"].served, turn.ended) == ("EngineUnavailable", 0, "heard")


@pytest.mark.parametrize(("greets", "numbers"), [(True, [0, 1]), (False, [1])])
def test_the_first_turn_of_a_caller_is_the_first_whether_or_not_he_is_greeted(greets: bool, numbers: list[int]) -> None:
    services, _, rows = written_services()

    async def caller(gateway: FakeGateway) -> None:
        if greets:
            await gateway.hear_reply(1)
        await gateway.silence(0.3)
        await gateway.turn(300, len(numbers))
        gateway.hang_up()

    parameters = {"parley_trace": "1"} | ({} if greets else {"parley_skip_greeting": "1"})
    run(services, caller, parameters=parameters)

    assert [turn.turn for turn in turns(rows)] == numbers
