"""What one gateway may ask of the process: bursts and catching up are taken, floods are dropped and end their call."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from call_fakes import FakeClock, FakeGateway, FakeLine, answer_line, fake_services, run
from fake_models import tone
from wire_audio import push

from orchestrator.listening import Listener
from orchestrator.session import CallSession
from orchestrator.wires.budget import AUDIO_AHEAD_S, CATCH_UP_S, MESSAGES_AT_ONCE, Bucket, Budget
from orchestrator.wires.contract import Audio
from orchestrator.wires.inbound import InboundAudio
from orchestrator.wires.line import MAX_MESSAGE_BYTES
from orchestrator.wires.slices import SLICE_SAMPLES
from orchestrator.wires.twilio import wire as wire_module
from orchestrator.wires.twilio.messages import Dtmf, Event, Mark, Media, parse, render
from parley.audio import TELEPHONE_RATE
from parley.g711 import ulaw_encode

SILENT = b"\xff" * 160


def media(number: int, payload: bytes = SILENT, timestamp_ms: int | None = None) -> Media:
    return Media("MZ1", payload, number, (number - 1) * 20 if timestamp_ms is None else timestamp_ms)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sample clock of each call that a test serves, once it is over."""
    samples: list[int] = []
    log_end = CallSession._log_end

    def keep(self: CallSession, reason: str, duration_s: float) -> None:
        samples.append(self._listener.taker.samples)
        log_end(self, reason, duration_s)

    monkeypatch.setattr(CallSession, "_log_end", keep)
    return samples


def flood(messages: list[str]) -> tuple[FakeGateway, str]:
    """Everything at once, without any time passing; the gateway then goes away."""
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        while not gateway.media():
            await gateway.line.changed()
        for message in messages:
            gateway.line.inbound.put_nowait(message)
        while not gateway.line.inbound.empty() and gateway.line.closed is None:
            await asyncio.sleep(0)
            gateway.line.clock.advance(0.001 if gateway.line.inbound.qsize() < 5 else 0)
        gateway.line.inbound.put_nowait(None)

    return run(services, caller, parameters={})


def test_tiny_media_whose_timestamps_jump_by_five_seconds_cost_no_more_than_time_that_passed(taken: list[int]) -> None:
    jumping = [render(media(n, b"\xff" * 8, n * 5000)) for n in range(1, 2050)]

    _, reason = flood(jumping)

    assert reason == "flooded"
    assert taken[0] <= (AUDIO_AHEAD_S + 1) * TELEPHONE_RATE


SPEECH = ulaw_encode(tone(300, 5.0)).tobytes()


@pytest.mark.parametrize(
    ("message", "count"),
    [
        (lambda n: render(media(n, SPEECH)), 40),
        (lambda n: render(media(n, b"\xff")), 2010),
        (lambda n: render(Mark("MZ1", f"m{n}")), 2010),
        (lambda n: render(Dtmf("MZ1", "5")), 2010),
        (lambda n: json.dumps({"event": "news", "n": n}), 2010),
        (lambda n: json.dumps({"event": "news", "pad": [[]] * 20_000}), 40),
    ],
    ids=["speech", "one-sample-media", "marks", "keys", "unknown", "huge-unknown"],
)
def test_a_flood_is_dropped_and_then_ends_its_call(message: Callable[[int], str], count: int, taken: list[int]) -> None:
    gateway, reason = flood([message(n) for n in range(1, count)])

    assert reason == "flooded"
    assert gateway.line.closed == (1008, "flooded")
    assert taken[0] <= (AUDIO_AHEAD_S + 1) * TELEPHONE_RATE


def test_no_message_keeps_other_calls_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest message there is: between any two slices of its audio everybody else gets a turn."""
    heard: list[int] = []
    turns = 0
    hear = Listener._hear

    async def noted(self: Listener, audio: Audio) -> None:
        heard.append(turns)
        assert len(audio.samples) <= SLICE_SAMPLES
        await hear(self, audio)

    monkeypatch.setattr(Listener, "_hear", noted)
    services, _ = fake_services()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def caller(gateway: FakeGateway) -> None:
        other = asyncio.create_task(others())
        message = render(media(1, b"\xff" * 95_000))
        assert len(message) < MAX_MESSAGE_BYTES
        gateway.line.inbound.put_nowait(message)
        gateway.hang_up()
        while gateway.line.closed is None:
            await asyncio.sleep(0)
        other.cancel()

    run(services, caller)

    assert len(heard) == AUDIO_AHEAD_S * TELEPHONE_RATE / SLICE_SAMPLES
    assert all(later > earlier for earlier, later in zip(heard, heard[1:], strict=False))


def test_messages_that_wait_already_let_others_run_in_between() -> None:
    services, _ = fake_services()
    served: list[int] = []

    async def both() -> None:
        line = FakeLine()
        gateway = FakeGateway(line, parameters={})
        for n in range(1, 400):
            line.inbound.put_nowait(f'{{"event":"news","n":{n}}}')
        gateway.hang_up()
        call = asyncio.create_task(answer_line(line, services))
        while not call.done():
            served.append(line.inbound.qsize())
            await asyncio.sleep(0)

    asyncio.run(both())

    assert max(earlier - later for earlier, later in zip(served, served[1:], strict=False)) <= 22


def test_a_megabyte_of_silence_in_one_message_is_a_broken_message_and_no_more() -> None:
    services, _ = fake_services()

    async def caller(gateway: FakeGateway) -> None:
        await gateway.hear_reply(1)
        gateway.put(media(9999, b"\xff" * 1_000_000))
        await gateway.turn(300, 2)
        gateway.hang_up()

    gateway, reason = run(services, caller)

    assert gateway.traces("reply")[-1]["act"] == "ask.size" and reason == "caller_hung_up"


def test_the_last_words_are_not_a_way_around_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = 0

    def count(message: str | bytes) -> Event:
        nonlocal parsed
        parsed += 1
        return parse(message)

    monkeypatch.setattr(wire_module, "parse", count)
    _, reason = flood([json.dumps({"event": "news", "n": n}) for n in range(4000)])

    assert reason == "flooded" and parsed < MESSAGES_AT_ONCE + 100


def test_a_burst_at_the_start_and_a_catch_up_after_a_stall_are_taken_whole() -> None:
    clock = FakeClock()
    inbound = InboundAudio(TELEPHONE_RATE, Budget(clock, TELEPHONE_RATE))
    burst = [media(n) for n in range(1, 201)]  # 4 s at once
    late = [media(n) for n in range(201, 601)]  # 8 s that were held back

    audio = b"".join(push(inbound, one) for one in burst)
    clock.advance(8.0)
    audio += b"".join(push(inbound, one) for one in late)

    assert len(audio) == 600 * 160
    assert inbound.counts.concealed_samples == 0


def test_audio_faster_than_time_is_cut_to_the_time_that_passed_and_a_few_seconds() -> None:
    clock = FakeClock()
    budget = Budget(clock, TELEPHONE_RATE)
    taken = 0

    for _ in range(1000):
        clock.advance(0.01)
        taken += budget.audio(160)

    assert (10 + AUDIO_AHEAD_S) * TELEPHONE_RATE - 160 <= taken <= (10 + AUDIO_AHEAD_S) * TELEPHONE_RATE
    assert budget.dropped_samples == 160_000 - taken


def test_a_gateway_that_floods_for_long_is_cut_off_and_one_that_stalls_now_and_then_is_not() -> None:
    clock = FakeClock()
    flooding, stalling = Budget(clock, TELEPHONE_RATE), Budget(clock, TELEPHONE_RATE)
    for minute in range(15):
        clock.advance(60.0)
        stalling.audio(round((AUDIO_AHEAD_S + CATCH_UP_S + 5.0) * TELEPHONE_RATE))
        for _ in range(3000):
            flooding.audio(320)
        assert stalling.spent == "", f"in minute {minute}"

    assert flooding.spent == "flooded"


def test_lost_audio_is_silence_only_where_its_time_has_passed() -> None:
    clock = FakeClock()
    inbound = InboundAudio(TELEPHONE_RATE, Budget(clock, TELEPHONE_RATE))
    push(inbound, media(1))

    clock.advance(1.0)
    lost = push(inbound, media(2, timestamp_ms=1000))
    jumps = [len(push(inbound, media(n, timestamp_ms=n * 4000))) for n in range(3, 100)]
    after = [len(push(inbound, media(n, timestamp_ms=99 * 4000 + (n - 99) * 20))) for n in range(100, 110)]

    assert len(lost) == 1.0 * TELEPHONE_RATE - 160 + 160
    assert sum(jumps) - 97 * 160 <= 2.5 * TELEPHONE_RATE
    assert after == [160] * 10


def test_timestamps_in_another_unit_cost_no_audio() -> None:
    """A gateway that counts samples where milliseconds are asked for: its time runs eight times too fast."""
    clock = FakeClock()
    inbound = InboundAudio(TELEPHONE_RATE, Budget(clock, TELEPHONE_RATE))
    audio = b""

    for n in range(1, 1001):
        clock.advance(0.02)
        audio += push(inbound, Media("MZ1", b"\x01" * 160, n, (n - 1) * 160))

    assert audio.count(b"\x01") == 1000 * 160
    assert len(audio) <= (20 + 2.5) * TELEPHONE_RATE


def test_a_clock_that_goes_backwards_gives_and_takes_nothing() -> None:
    clock = FakeClock()
    bucket = Bucket(clock, 10.0)
    bucket.add(5)

    clock.advance(-3600.0)

    assert bucket.level == 5
    clock.advance(0.1)
    assert bucket.level == pytest.approx(4)


def test_a_message_that_cannot_be_read_now_and_then_is_borne_for_ever() -> None:
    clock = FakeClock()
    seldom, often = Budget(clock, TELEPHONE_RATE), Budget(clock, TELEPHONE_RATE)

    for _ in range(100):
        clock.advance(10.0)
        seldom.broken()
    for _ in range(20):
        clock.advance(0.5)
        often.broken()

    assert seldom.spent == "" and seldom.broken_messages == 100
    assert often.spent == "wire_error"


def test_messages_at_once_are_bounded_and_long_ones_count_for_several() -> None:
    short, long = Budget(FakeClock(), TELEPHONE_RATE), Budget(FakeClock(), TELEPHONE_RATE)

    assert sum(short.message(100) for _ in range(5000)) == MESSAGES_AT_ONCE
    assert sum(long.message(100_000) for _ in range(5000)) == MESSAGES_AT_ONCE // 98
