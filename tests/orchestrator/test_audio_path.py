"""The way of the caller's audio to the STT, and of the bot's back: gathered once, at the rates of who hears it."""

from __future__ import annotations

import numpy as np
import pytest
from call_fakes import FakeGateway, fake_services, run
from fake_models import FakeModels

from orchestrator.services import Services
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE
from parley.g711 import ulaw_decode


async def order(gateway: FakeGateway) -> None:
    await gateway.hear_reply(1)
    await gateway.turn(300, 2)
    await gateway.turn(400, 3)
    gateway.hang_up()


def call(rate: int = TELEPHONE_RATE) -> tuple[Services, FakeModels, FakeGateway]:
    services, models = fake_services()
    models.rate = rate
    gateway, reason = run(services, order)
    assert reason == "caller_hung_up"
    return services, models, gateway


@pytest.mark.parametrize("rate", [8000, 16_000, 24_000])
def test_models_of_any_rate_answer_a_telephone(rate: int) -> None:
    _, models, gateway = call(rate)

    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet", "ask.size", "confirm.orderDrink"]
    words = sum(len(reply["text"].split()) for reply in gateway.traces("reply"))
    audio = ulaw_decode(np.frombuffer(gateway.media(), dtype=np.uint8)).astype(float)
    assert len(audio) == pytest.approx(words * 0.2 * TELEPHONE_RATE, abs=words)
    assert np.abs(np.fft.rfft(audio)).argmax() * TELEPHONE_RATE / len(audio) == pytest.approx(1200, abs=5)
    heard_s = sum(models.fed) / rate
    assert heard_s == pytest.approx(
        sum(t["end_ms"] - t["start_ms"] for t in gateway.traces("transcript")) / 1000, abs=1
    )


def test_a_frame_goes_to_the_stt_when_it_comes_only_the_client_gathers() -> None:
    _, models, _ = call()

    preroll, frames = max(models.fed), [samples for samples in models.fed if samples <= FRAME_SAMPLES]
    assert preroll <= 0.5 * TELEPHONE_RATE
    assert len(frames) == len(models.fed) - 2 and set(frames) == {FRAME_SAMPLES}


def test_nobody_guesses_where_nobody_is_told() -> None:
    services, models = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.media():
            await gateway.line.changed()
        await gateway.silence(4.0)
        await gateway.say(300)
        await gateway.silence(1.0)
        gateway.hang_up()

    run(services, caller, parameters={})

    assert models.fed and models.guesses == 0


def test_a_traced_caller_is_told_each_guess_once() -> None:
    _, models, gateway = call()

    guesses = [trace["text"] for trace in gateway.traces("partial")]
    assert models.guesses and guesses
    assert all(one != other for one, other in zip(guesses, guesses[1:], strict=False))
