"""The bot's own voice on the line: in whole calls over fake models, and sample by sample."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from call_fakes import EchoingGateway, FakeLine, answer_line, fake_services
from fake_models import babble, tone
from numpy.typing import NDArray

from benchmarks.echo import Bot, Echo, _beside
from orchestrator.echo import EchoGuard, SentAudio, find_delay
from orchestrator.turn_taking import SpeechStarted, TurnTaker
from orchestrator.wires.twilio.messages import Clear
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm
from parley.g711 import ulaw_decode, ulaw_encode

Caller = Callable[[EchoingGateway], Awaitable[None]]
BOT = babble(7.0, seed=1, pitch=190)
SILENT, NOISE_60_DBFS = 0.0, 33.0


def room(seconds: float, seed: int = 3) -> NDArray[np.float64]:
    """A direct path and a decaying rest, as strong as one another."""
    count = round(seconds * TELEPHONE_RATE)
    path = np.random.default_rng(seed).standard_normal(count) * np.exp(-np.arange(count) / (count / 5))
    path[0] = np.sqrt(np.sum(path[1:] ** 2))
    return np.asarray(path / np.sqrt(np.sum(path**2)))


def noise(seconds: float, level: float) -> Pcm:
    rng = np.random.default_rng(5)
    return (rng.standard_normal(round(seconds * TELEPHONE_RATE)) * level).astype(np.int16)


def call(caller: Caller, *, echo_db: float, delay_ms: int, **gateway: Any) -> tuple[EchoingGateway, str]:
    """A call with a bot that has a voice, on a line that returns it."""

    async def both() -> tuple[EchoingGateway, str]:
        services, models = fake_services()
        models.voice = BOT
        line = FakeLine()
        far_end = EchoingGateway(line, echo_db=echo_db, delay_ms=delay_ms, **gateway)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            session = group.create_task(answer_line(line, services))
            await caller(far_end)
        return far_end, session.result()

    return asyncio.run(both())


async def greeted(gateway: EchoingGateway, level: float) -> None:
    """Listen to the whole greeting, and a second more."""
    await gateway.frames(noise(0.1, level))
    while not gateway.traces("turn"):
        await gateway.line.changed()
    await gateway.frames(noise(len(gateway.media()) / TELEPHONE_RATE + 1.0, level))


@pytest.mark.parametrize("level", [SILENT, NOISE_60_DBFS], ids=["silent-line", "noise-60dBFS"])
@pytest.mark.parametrize(
    ("echo_db", "delay_ms", "path"),
    [(-20, 0, [1.0]), (-30, 160, [1.0]), (-36, 160, [1.0]), (-20, 400, room(0.02)), (-20, 160, room(0.1))],
    ids=["-20dB-0ms", "-30dB-160ms", "-36dB-160ms", "-20dB-400ms-hybrid", "-20dB-160ms-room"],
)
def test_the_bots_own_voice_neither_interrupts_it_nor_is_taken_for_words(
    echo_db: float, delay_ms: int, path: Any, level: float
) -> None:
    async def caller(gateway: EchoingGateway) -> None:
        await greeted(gateway, level)
        gateway.hang_up()

    gateway, _ = call(caller, echo_db=echo_db, delay_ms=delay_ms, path=path)

    assert not any(isinstance(event, Clear) for event in gateway.line.sent)
    assert gateway.traces("transcript") == []
    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet"]


def barge_in(echo_db: float, caller_db: float, path: Any = (1.0,)) -> tuple[int, list[dict[str, Any]]]:
    """Frames until the bot is interrupted by a caller, and what was heard of him."""
    frames = -1

    async def caller(gateway: EchoingGateway) -> None:
        nonlocal frames
        await gateway.frames(noise(0.1, NOISE_60_DBFS))
        while not gateway.traces("turn"):
            await gateway.line.changed()
        await gateway.frames(noise(1.6, NOISE_60_DBFS))
        said = tone(300, 1.0, 8000 * 10 ** (caller_db / 20)) + noise(1.0, NOISE_60_DBFS)
        for at in range(0, len(said), FRAME_SAMPLES):
            await gateway.frames(said[at : at + FRAME_SAMPLES])
            if frames < 0 and any(isinstance(event, Clear) for event in gateway.line.sent):
                frames = at // FRAME_SAMPLES + 1
        await gateway.frames(noise(1.2, NOISE_60_DBFS))
        gateway.hang_up()

    gateway, _ = call(caller, echo_db=echo_db, delay_ms=160, path=path)
    return frames, gateway.traces("transcript")


@pytest.mark.parametrize("caller_db", [0, -10, -20])
@pytest.mark.parametrize("echo_db", [-20, -36])
def test_a_caller_interrupts_over_an_echo_as_he_does_without_one(echo_db: float, caller_db: float) -> None:
    without, _ = barge_in(-200, caller_db)

    frames, heard = barge_in(echo_db, caller_db, room(0.1))

    assert 0 < frames <= without + 5
    assert [turn["text"] for turn in heard] == ["i'd like a latte"]


def line(echo: Pcm) -> Pcm:
    return ulaw_decode(ulaw_encode(echo))[: len(echo) // FRAME_SAMPLES * FRAME_SAMPLES]


def cleaned(guard: EchoGuard, pcm: Pcm) -> Pcm:
    return np.concatenate([guard.clean(frame) for frame in pcm.reshape(-1, FRAME_SAMPLES)])


def test_without_an_echo_every_sample_passes_unchanged() -> None:
    guard = EchoGuard()
    guard.sent.play(BOT)
    heard = line(babble(6.0, seed=9, pitch=120) + noise(6.0, NOISE_60_DBFS))

    assert np.array_equal(cleaned(guard, heard), heard)
    assert not guard.proven


def test_a_caller_who_repeats_the_bots_words_is_heard() -> None:
    """The same syllables in another voice: the same sounds, a little slower, deeper and later."""
    guard = EchoGuard()
    guard.sent.play(BOT)
    slower = np.interp(np.arange(0, len(BOT) - 1, 0.93), np.arange(len(BOT)), BOT).astype(np.int16)
    heard = line(np.concatenate([np.zeros(1600, np.int16), slower])[: 6 * TELEPHONE_RATE])

    assert np.array_equal(cleaned(guard, heard), heard)


def returned(pcm: Pcm, delay: int, db: float) -> Pcm:
    late = np.concatenate([np.zeros(delay), pcm])[: len(pcm)] * 10 ** (db / 20)
    return np.asarray(np.round(late), dtype=np.int16)


def test_an_echo_whose_delay_jumps_is_followed() -> None:
    guard, taker = EchoGuard(), TurnTaker()
    guard.sent.play(BOT)
    half = len(BOT) // 2 // FRAME_SAMPLES * FRAME_SAMPLES
    heard = np.concatenate([returned(BOT, 1280, -20)[:half], returned(BOT, 1440, -20)[half:]]) + noise(7.0, 33)

    events = []
    for frame in line(heard).reshape(-1, FRAME_SAMPLES):
        events += taker.push(guard.clean(frame), bot_speaking=True, own_voice=guard.revealed)

    after = [event for event in events if isinstance(event, SpeechStarted) and event.at > half + TELEPHONE_RATE // 2]
    assert not after
    assert not any(type(event).__name__ == "BargeIn" for event in events)


@pytest.mark.parametrize("delay", [1200, 1320, 1440])
def test_an_answer_that_the_gateway_plays_some_packets_earlier_or_later_does_not_interrupt_itself(delay: int) -> None:
    guard, taker, events = EchoGuard(), TurnTaker(), []
    half = len(BOT) // 2 // FRAME_SAMPLES * FRAME_SAMPLES
    first, second = BOT[:half], BOT[half : 2 * half]
    pause = np.zeros(TELEPHONE_RATE, np.int16)
    heard = [returned(np.concatenate([part, pause]), late, -20) for part, late in ((first, 1280), (second, delay))]
    frames = line(np.concatenate(heard) + noise(len(np.concatenate(heard)) / TELEPHONE_RATE, 33))

    guard.sent.play(first)
    for frame in frames.reshape(-1, FRAME_SAMPLES):
        if guard.sent.now == half + TELEPHONE_RATE:
            guard.sent.play(second)
        events += taker.push(guard.clean(frame), bot_speaking=True, own_voice=guard.revealed)

    assert not any(type(event).__name__ == "BargeIn" for event in events)


def test_the_delay_of_an_echo_is_found_among_all_that_are_looked_at() -> None:
    sent = SentAudio()
    sent.play(BOT)

    for delay in (-400, 0, 1280, 4000):
        heard = sent.between(16000 - delay, 19200 - delay) * 0.03 + noise(0.4, NOISE_60_DBFS)
        found, alike = find_delay(heard, sent, 19200)
        assert abs(found - delay) <= 8 and alike > 60


def test_what_is_taken_back_or_long_over_is_not_expected_on_the_line() -> None:
    sent = SentAudio()
    sent.play(np.ones(1600, np.int16))
    sent.now = 800
    sent.clear()
    sent.play(np.full(100, 2, np.int16))

    assert sent.between(0, 1000).tolist() == [1.0] * 800 + [2.0] * 100 + [0.0] * 100

    sent.now = 80_000
    sent.play(np.full(10, 3, np.int16))

    assert sent.between(0, 1000).tolist() == [0.0] * 1000
    assert sent.between(79_999, 80_011).tolist() == [0.0] + [3.0] * 10 + [0.0]
    assert sent.until == 80_010


def test_what_is_sent_while_nothing_comes_in_is_played_at_its_time() -> None:
    passed = 8000
    sent = SentAudio(lambda: passed)
    sent.now = 4000

    sent.play(np.full(800, 7, dtype=np.int16))
    passed = 8400
    sent.clear()

    assert sent.until == 12_400
    assert not sent.between(0, 12_000).any() and (sent.between(12_000, 12_400) == 7).all()


def test_the_echo_of_an_answer_that_began_in_a_stall_is_known() -> None:
    """The gateway goes on playing, and its line returning, while none of it is sent."""

    async def caller(gateway: EchoingGateway) -> None:
        await greeted(gateway, NOISE_60_DBFS)
        await gateway.say(300)
        while len(gateway.traces("turn")) < 2:
            gateway.line.clock.advance(0.02)
            gateway.line_of(np.zeros(FRAME_SAMPLES, dtype=np.int16))
            gateway.skip(1)
            await gateway.others()
        await gateway.frames(noise(3.5, NOISE_60_DBFS))
        gateway.hang_up()

    gateway, _ = call(caller, echo_db=-20, delay_ms=160)

    assert [reply["act"] for reply in gateway.traces("reply")] == ["greet", "ask.size"]
    assert not gateway.traces("interrupted")


def test_the_benchmark_sends_back_what_the_bot_said_until_it_is_interrupted() -> None:
    silent = np.zeros(FRAME_SAMPLES, np.int16)
    bot = Bot(BOT, Echo("line", -20, 40, noise_dbfs=-120), guarded=False)
    heard = np.concatenate([bot.line(silent) for _ in range(100)])
    bot.interrupt()
    after = np.concatenate([bot.line(silent) for _ in range(10)])

    assert np.corrcoef(heard[320:], line(BOT)[: len(heard) - 320])[0, 1] > 0.95
    assert bot.interrupted_at == len(heard) and not bot.speaking
    assert np.abs(after[:320]).max() > 100 and np.abs(after[480:]).max() < 10


def test_the_benchmark_counts_false_missed_and_late_interruptions() -> None:
    def call(at: int | None) -> tuple[Bot, bool]:
        bot = Bot(BOT, Echo("line", None, 0), guarded=False)
        bot.interrupted_at = at
        return bot, True

    plain = [call(20_000)] * 4
    found = _beside([call(20_000), call(20_800), call(8_000), call(None)], plain)

    assert (found["false"], found["missed"], found["later_p50_ms"], found["commands"]) == (1, 1, 50, 4)
