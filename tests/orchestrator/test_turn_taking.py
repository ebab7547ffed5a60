"""Turn taking on the sample clock: start, end, interruption, no input; the same whatever the packets' sizes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from fake_models import tone
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.playout import Playout, SpokenWord
from orchestrator.turn_taking import BargeIn, EndOfTurn, SpeechAudio, SpeechStarted, TurnEvent, TurnParams, TurnTaker
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm, ms_to_samples


def quiet(seconds: float) -> Pcm:
    return (np.random.default_rng(1).standard_normal(round(seconds * TELEPHONE_RATE)) * 8).astype(np.int16)


def line(*parts: Pcm) -> Pcm:
    return np.concatenate(parts)


def run(pcm: Pcm, params: TurnParams | None = None, bot: Callable[[int], bool] = lambda _: False) -> list[TurnEvent]:
    taker = TurnTaker(params)
    return [
        event
        for at in range(0, len(pcm), FRAME_SAMPLES)
        for event in taker.push(pcm[at : at + FRAME_SAMPLES], bot_speaking=bot(at))
    ]


def of(kind: type, events: list[TurnEvent]) -> list[TurnEvent]:
    return [event for event in events if isinstance(event, kind)]


def test_a_turn_ends_400_ms_after_its_speech_and_holds_its_preroll() -> None:
    events = run(line(quiet(1), tone(300, 1.0), quiet(1)))

    (started,), (ended,) = of(SpeechStarted, events), of(EndOfTurn, events)
    assert isinstance(started, SpeechStarted) and isinstance(ended, EndOfTurn)
    assert ms_to_samples(440) <= started.at <= ms_to_samples(640)
    assert abs(ended.speech_end - 2 * TELEPHONE_RATE) <= 2 * FRAME_SAMPLES
    assert ended.at - ended.speech_end == ms_to_samples(400)
    audio = sum(len(event.pcm) for event in of(SpeechAudio, events) if isinstance(event, SpeechAudio))
    assert audio == ended.at - ended.start


def test_a_pause_shorter_than_the_end_of_turn_does_not_end_it() -> None:
    events = run(line(quiet(1), tone(300, 0.5), quiet(0.36), tone(300, 0.5), quiet(1)))

    assert len(of(EndOfTurn, events)) == 1


def test_an_endless_talker_is_cut_at_the_longest_utterance() -> None:
    events = run(line(quiet(1), tone(300, 4.0)), TurnParams(max_utterance_s=2.0))

    first = of(EndOfTurn, events)[0]
    assert isinstance(first, EndOfTurn)
    assert first.forced and first.at - first.start == 2 * TELEPHONE_RATE


def test_300_ms_over_the_bot_interrupt_it_once() -> None:
    events = run(line(quiet(1), tone(300, 1.5), quiet(1)), bot=lambda at: at < 2 * TELEPHONE_RATE)

    (barge,) = of(BargeIn, events)
    assert isinstance(barge, BargeIn)
    assert ms_to_samples(1280) <= barge.at <= ms_to_samples(1400)
    ended = of(EndOfTurn, events)[0]
    assert isinstance(ended, EndOfTurn) and ended.interrupted


def test_a_word_of_assent_under_the_bot_interrupts_nothing() -> None:
    events = run(line(quiet(1), tone(300, 0.2), quiet(1)), bot=lambda _: True)

    assert of(BargeIn, events) == []
    (ended,) = of(EndOfTurn, events)
    assert isinstance(ended, EndOfTurn) and not ended.interrupted


@settings(max_examples=30)
@given(st.lists(st.integers(1, 900), min_size=1, max_size=60))
def test_the_packets_sizes_change_no_event(sizes: list[int]) -> None:
    pcm = line(quiet(0.5), tone(400, 0.6), quiet(0.7))
    taker, events, at = TurnTaker(), [], 0
    for size in [*sizes, len(pcm)]:
        events += taker.push(pcm[at : at + size], bot_speaking=False)
        at += size

    def moments(found: list[TurnEvent]) -> list[TurnEvent]:
        return [event for event in found if not isinstance(event, SpeechAudio)]

    assert moments(events) == moments(run(pcm))


def test_playout_runs_by_itself_and_marks_correct_it() -> None:
    playout = Playout()
    playout.send(8000, [SpokenWord("one", 4000), SpokenWord("two", 8000)], "a", now=0)

    assert playout.speaking(7999) and not playout.speaking(8000)
    assert playout.heard_words(0, 4000) == ["one"]
    playout.send(8000, [SpokenWord("three", 16000)], "b", now=1000)
    playout.echoed("a", now=10_000)  # the gateway was 2000 samples late
    assert playout.played(10_000) == 8000
    assert playout.speaking(17_999) and not playout.speaking(18_000)


def test_after_a_clear_only_what_was_heard_counts_and_late_echoes_say_nothing() -> None:
    playout = Playout()
    playout.send(8000, [SpokenWord("one", 4000), SpokenWord("two", 8000)], "a", now=0)

    dropped = playout.clear(now=5000)
    playout.echoed("a", now=5100)

    assert (dropped, playout.sent) == (3000, 5000)
    assert playout.heard_words(0, 5100) == ["one"]
    assert not playout.speaking(5000) and playout.settled()
