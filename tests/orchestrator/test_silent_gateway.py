"""A gateway that stops sending, sends only noise, or echoes marks as it likes: the wall clock goes on."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from call_fakes import FakeClock, FakeGateway, fake_services, run, script_of
from fake_models import babble, tone
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.playout import LATE_S, Playout
from orchestrator.turn_taking import TurnParams
from orchestrator.wall_clock import Elapsed, Patience
from orchestrator.wires.twilio.messages import Dtmf, Mark, Media
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE
from parley.g711 import ulaw_encode


async def answered_within(gateway: FakeGateway, seconds: float, turns: int) -> float:
    """Seconds without any audio until the bot answers."""
    for step in range(round(seconds / 0.05)):
        if len(gateway.traces("turn")) >= turns:
            return step * 0.05
        await gateway.nothing(0.05)
    raise AssertionError("no answer")


def test_a_turn_ends_by_the_wall_clock_when_no_more_audio_comes() -> None:
    services, models = fake_services()
    models.voice = babble(2.0)
    waits: list[float] = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(300)
        waits.append(await answered_within(gateway, 3.0, 2))
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "ask.size"
    assert 0.9 <= waits[0] <= 2.0


def test_a_pause_that_ends_no_turn_does_not_do_so_by_the_wall_clock() -> None:
    services, _ = fake_services(turn=TurnParams(end_of_turn_ms=2500))
    waits: list[float] = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(300)
        waits.append(await answered_within(gateway, 4.0, 2))
        gateway.hang_up()

    run(services, caller)

    assert 2.4 <= waits[0] <= 3.5


def test_an_unfinished_sentence_is_answered_too_when_no_more_audio_comes() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(900)
        await answered_within(gateway, 3.0, 2)
        gateway.hang_up()

    assert run(services, caller)[0].traces("reply")[-1]["act"] == "no_match.1"


@pytest.mark.parametrize("how", ["late", "lost"])
def test_audio_that_comes_after_the_turn_was_ended_is_counted_once(how: str) -> None:
    """Late: all that was held back comes at once. Lost: the timestamps go on where they would be."""
    services, models = fake_services()
    models.voice = babble(2.0)

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(300)
        await answered_within(gateway, 3.0, 2)
        if how == "late":
            held_back = np.zeros(round(1.2 * TELEPHONE_RATE), dtype=np.int16)
            for at in range(0, len(held_back), FRAME_SAMPLES):
                gateway.send(held_back[at : at + FRAME_SAMPLES])
            await gateway.others()
        else:
            gateway.skip(60)
        await gateway.silence(1.0)
        await gateway.hear_reply(2)
        await gateway.turn(400, 3)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet", "ask.size", "confirm.orderDrink"]
    sent_ms = gateway.clock_ms
    end = gateway.traces("transcript")[-1]["end_ms"]
    assert sent_ms - 6000 < end <= sent_ms


def test_a_sentence_that_a_stall_cut_in_two_is_answered_as_one() -> None:
    services, models = fake_services()
    models.voice = babble(2.0)

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.say(900, 0.4)
        await gateway.nothing(1.3)
        for at in range(0, round(1.2 * TELEPHONE_RATE), FRAME_SAMPLES):
            gateway.send(tone(300, 1.2)[at : at + FRAME_SAMPLES])
        await gateway.silence(0.6)
        await gateway.hear_reply(2)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet", "ask.size"]


def test_silence_is_asked_about_without_any_audio_and_the_call_ends_stalled() -> None:
    services, _ = fake_services(turn=TurnParams(no_input_s=6.0), stall_timeout_s=20.0)
    asked: list[float] = []
    began: list[float] = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        began.append(gateway.line.clock.now())
        for step in range(700):
            if len(gateway.traces("turn")) > len(asked) + 1:
                asked.append(step * 0.05)
            if gateway.line.closed is not None:
                return
            await gateway.nothing(0.05)

    gateway, reason = run(services, caller)

    assert [reply["act"] for reply in gateway.traces("reply")][1:3] == ["no_input.1", "no_input.2"]
    assert 5.0 <= asked[0] <= 6.5
    assert gateway.line.clock.now() - began[0] <= 20.5
    assert reason == "stalled"


def test_a_gateway_that_sends_only_marks_is_not_stalled_and_asked_again() -> None:
    services, _ = fake_services(stall_timeout_s=3.0)

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        for _ in range(10):
            await gateway.nothing(1.0)
            gateway.put(Mark("MZ1", "anything"))
        assert gateway.line.closed is None
        await gateway.nothing(3.5)

    gateway, reason = run(services, caller)

    assert gateway.traces("reply")[1]["act"] == "no_input.1"
    assert reason == "stalled"


@pytest.mark.parametrize(("noise_s", "every_s"), [(0.12, 4.0), (0.1, 1.0)])
def test_a_hum_now_and_then_does_not_put_off_the_question(noise_s: float, every_s: float) -> None:
    services, _ = fake_services(turn=TurnParams(no_input_s=6.0))

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        passed = 0.0
        while len(gateway.traces("turn")) < 2:
            assert passed < 8.0
            await gateway.silence(every_s - noise_s)
            await gateway.say(900, noise_s)
            passed += every_s
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet", "no_input.1"]


def test_a_caller_who_speaks_or_presses_keys_is_not_asked_whether_he_is_there() -> None:
    services, _ = fake_services(turn=TurnParams(no_input_s=4.0))

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        await gateway.silence(3.0)
        gateway.put(Dtmf("MZ1", "5"))
        await gateway.silence(3.0)
        await gateway.say(300, 6.0)
        await gateway.silence(0.6)
        await gateway.hear_reply(2)
        gateway.hang_up()

    gateway, _ = run(services, caller)

    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet", "ask.size"]


def test_a_bot_that_speaks_while_no_audio_comes_has_finished_when_its_audio_has() -> None:
    """Its end is by the wall clock: what is said afterwards interrupts nobody, and waits for nothing."""
    services, models = fake_services()
    models.voice = babble(2.0)

    async def caller(gateway: FakeGateway) -> None:
        while len(gateway.traces("turn")) < 1:
            await gateway.line.changed()
        await gateway.silence(0.3)
        await gateway.nothing(len(gateway.media()) / TELEPHONE_RATE)
        gateway.skip(len(gateway.media()) // FRAME_SAMPLES)
        await gateway.say(300, 0.2)
        await gateway.silence(0.6)
        while len(gateway.traces("turn")) < 2:
            await gateway.line.changed()
        gateway.hang_up()

    gateway, _ = run(services, caller, echoes=False)

    assert not gateway.traces("interrupted") and not gateway.traces("ignored")
    assert gateway.traces("reply")[-1]["act"] == "ask.size"


@pytest.mark.parametrize("sends_audio", [True, False], ids=["audio-goes-on", "audio-stops"])
@pytest.mark.parametrize("echo", ["on-receipt", "never", "twice", "of-others"])
def test_the_last_words_are_heard_before_the_hang_up(echo: str, sends_audio: bool) -> None:
    services, _ = fake_services()
    lasted: list[float] = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        gateway.put(Dtmf("MZ1", "0"))
        gateway.echoes = False
        before, echoed = len(gateway.media()), len([e for e in gateway.line.sent if isinstance(e, Mark)])
        began = gateway.line.clock.now()
        while gateway.line.closed is None:
            marks = [event for event in gateway.line.sent if isinstance(event, Mark)]
            for mark in marks[echoed:] if echo != "never" else []:
                gateway.put(Mark("MZ1", "another") if echo == "of-others" else mark)
                if echo == "twice":
                    gateway.put(mark)
            echoed = len(marks)
            await (gateway.silence(0.1) if sends_audio else gateway.nothing(0.1))
        lasted.append(gateway.line.clock.now() - began)
        lasted.append((len(gateway.media()) - before) / TELEPHONE_RATE)

    _, reason = run(services, caller)

    assert reason == "handover"
    assert lasted[1] <= lasted[0] <= lasted[1] + 2.5


def test_the_apology_after_rubbish_is_heard_by_a_gateway_that_echoes_on_receipt() -> None:
    services, _ = fake_services()
    apology = script_of(services).prompts.last_resort()
    lasted: list[float] = []

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        for _ in range(20):
            gateway.line.inbound.put_nowait("{")
        while not gateway.media().endswith(ulaw_encode(apology.pcm).tobytes()):
            await gateway.line.changed()
        began = gateway.line.clock.now()
        gateway.put([event for event in gateway.line.sent if isinstance(event, Mark)][-1])
        while gateway.line.closed is None:
            await gateway.nothing(0.1)
            await asyncio.sleep(0.005)
        lasted.append(gateway.line.clock.now() - began)

    assert run(services, caller)[1] == "wire_error"
    assert lasted[0] >= len(apology.pcm) / TELEPHONE_RATE


def test_an_echo_says_nothing_before_its_audio_can_have_been_played() -> None:
    playout = Playout()
    playout.send(8000, [], "a", now=0)
    playout.send(8000, [], "b", now=10)

    playout.echoed("a", now=100)
    playout.echoed("b", now=100)

    assert playout.early_echoes == 2 and not playout.settled()
    assert playout.speaking(15_999) and not playout.speaking(16_000)
    playout.echoed("b", now=16_000)
    assert playout.settled()


def test_a_very_late_echo_of_early_audio_does_not_make_the_bot_speak_again() -> None:
    playout = Playout()
    playout.send(8000, [], "a", now=0)
    playout.send(80_000, [], "b", now=0)

    playout.echoed("a", now=200_000)

    assert not playout.speaking(88_000 + round(LATE_S * TELEPHONE_RATE))


def test_an_echo_of_what_came_later_settles_what_came_before() -> None:
    playout = Playout()
    playout.send(800, [], "a", now=0)
    playout.send(800, [], "b", now=0)

    playout.echoed("b", now=1600)
    playout.echoed("a", now=3000)

    assert playout.settled() and not playout.speaking(1600)


def test_marks_that_never_come_back_fill_no_memory() -> None:
    playout = Playout()
    for n in range(10_000):
        playout.send(160, [], f"p{n}", now=n * 160)

    assert len(playout._marks) <= 256


@given(
    st.lists(
        st.tuples(st.sampled_from(["send", "echo", "clear"]), st.integers(0, 4000), st.integers(0, 20)), max_size=60
    )
)
def test_whatever_is_echoed_audio_ends_neither_before_its_length_nor_long_after(
    steps: list[tuple[str, int, int]],
) -> None:
    playout, now, earliest, names = Playout(), 0, 0, 0
    for kind, amount, which in steps:
        now += amount
        if kind == "send":
            playout.send(amount, [], f"p{names}", now)
            earliest, names = max(earliest, now) + amount, names + 1
        elif kind == "echo":
            playout.echoed(f"p{which}", now)
        else:
            playout.clear(now)
            earliest = now
        assert earliest <= max(playout.until, earliest) and playout.until >= earliest
        assert playout.until <= earliest + LATE_S * TELEPHONE_RATE
        assert 0 <= playout.played(now) <= playout.sent


def test_what_an_interruption_took_back_does_not_put_the_question_off() -> None:
    clock = FakeClock()
    patience = Patience(Elapsed(clock), 6.0)

    assert not patience.over(bot_until=20 * TELEPHONE_RATE)
    clock.advance(2.0)
    assert not patience.over(bot_until=2 * TELEPHONE_RATE)
    clock.advance(6.0)
    assert patience.over(bot_until=2 * TELEPHONE_RATE)
    patience.restart()
    assert not patience.over(bot_until=2 * TELEPHONE_RATE)


def test_media_and_marks_only_are_sent_to_who_asks_for_no_trace() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.media():
            await gateway.line.changed()
        await gateway.nothing(1.0)
        gateway.hang_up()

    gateway, _ = run(services, caller, parameters={})

    assert {type(event) for event in gateway.line.sent} == {Media, Mark}
