"""A call whose stages are down, hang or have bugs: somebody always answers."""

from __future__ import annotations

import asyncio

import pytest
from call_fakes import FakeGateway, call, fake_services, run, script_of

from experiments.exposures import Exposure
from parley.audio import TELEPHONE_RATE
from parley.g711 import ulaw_encode


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
    assert len(apology) > TELEPHONE_RATE
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
