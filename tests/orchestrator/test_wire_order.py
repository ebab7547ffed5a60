"""Counters that restart, wrap, jump or never count: the caller is heard after a few messages, and once."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_audio import flush, push

from orchestrator.wires.inbound import MAX_CONCEAL_S, InboundAudio
from orchestrator.wires.order import MAX_ORIGINS, NEW_ORIGIN_AFTER, REORDER_DEPTH, REPEATS, Order, Packet
from orchestrator.wires.twilio.messages import Media
from parley.audio import TELEPHONE_RATE

DEAF_AT_MOST = REPEATS + NEW_ORIGIN_AFTER * (REORDER_DEPTH + 1)
"""Messages in a row of which nothing may be heard, were each kind of disorder to happen at once: 0.8 s."""


def sound(index: int) -> bytes:
    """20 ms that stand for a number, of codes that no other code sounds like (0x7F and 0xFF are both silence)."""
    return bytes([index // 10_000, index // 100 % 100, index % 100, 1]) * 40


def number(audio: bytes) -> int:
    """The number that 20 ms stand for."""
    return audio[0] * 10_000 + audio[1] * 100 + audio[2]


def frames(chunks: list[int], *, timed: bool = False) -> list[Media]:
    """Messages with these numbers, each with a sound of its own."""
    return [Media("MZ1", sound(index), chunk, index * 20 if timed else None) for index, chunk in enumerate(chunks)]


def heard(messages: list[Media]) -> list[int]:
    """Which of them came out, in order."""
    inbound = InboundAudio(TELEPHONE_RATE)
    audio = b"".join(push(inbound, media) for media in messages) + flush(inbound)
    return [number(audio[at : at + 160]) for at in range(0, len(audio), 160)]


@pytest.mark.parametrize(
    "chunks",
    [
        [*range(1, 200), *range(1, 200)],
        [*range(1, 9), *range(1, 200)],
        [*range(1, 200), *range(0, 200)],
        [*range(65_500, 65_536), *range(100)],
        [*range(2**31 - 50, 2**31), *range(100)],
        [*range(2**32 - 50, 2**32), *range(1, 100)],
        [4_000_000_000, *range(1, 200)],
        [*range(1, 100), *range(5000, 5100)],
        [1] * 200,
        [0] * 200,
        [*range(200, 0, -1)],
        [n for start in range(40) for n in range(start * 1000, start * 1000 + 20)],
        random.Random(1).sample(range(10**9), 300),
    ],
    ids=[
        "restart", "early-restart", "restart-at-0", "wrap-16", "wrap-31", "wrap-32", "wild-first", "jump", "constant",
        "always-0", "downwards", "new-count-every-400-ms", "random",
    ],
)  # fmt: skip
def test_whatever_the_counter_does_every_message_is_heard_once_and_in_order(chunks: list[int]) -> None:
    got = heard(frames(chunks))

    assert got == sorted(set(got))
    assert len(got) == len(chunks)


def test_one_wild_number_in_a_call_costs_its_own_message_only() -> None:
    chunks = [*range(1, 50), 10**9, *range(51, 100), 3, *range(101, 150)]

    assert heard(frames(chunks)) == [n for n in range(149) if n not in (49, 99)]


def test_late_and_double_messages_are_no_new_count() -> None:
    chunks = [*range(1, 50), 45, 46, 47, 48, *range(50, 60), 20, 60, 61, 61, 21, 62]
    messages = frames(chunks)
    messages[49:53] = messages[44:48]

    got = heard(messages)

    assert got == [n for n in range(len(chunks)) if chunks[n] not in chunks[:n]]


def test_a_gateway_that_sends_everything_twice_is_heard_once() -> None:
    once = frames([*range(1, 200)])
    assert heard([media for media in once for _ in range(2)]) == [*range(199)]
    assert heard([media for at in range(0, 199, 10) for media in once[at : at + 10] * 2]) == [*range(199)]


def test_a_count_that_begins_anew_all_the_time_is_not_believed_any_more() -> None:
    order = Order()
    taken = [order.push(Packet(np.zeros(1, dtype=np.int16), random.Random(n).randrange(10**9))) for n in range(500)]

    assert order.counts.new_origins == MAX_ORIGINS
    assert all(len(ready) == 1 for ready in taken[NEW_ORIGIN_AFTER * (MAX_ORIGINS + 2) :])


def test_a_time_that_begins_again_is_followed_and_later_losses_are_still_filled() -> None:
    inbound = InboundAudio(TELEPHONE_RATE)
    first = [Media("MZ1", b"\x01" * 160, None, n * 20) for n in range(100)]
    again = [Media("MZ1", b"\x01" * 160, None, n * 20) for n in range(50)]

    audio = b"".join(push(inbound, media) for media in first + again)
    lost = push(inbound, Media("MZ1", b"\x01" * 160, None, 50 * 20 + 500))

    assert audio == b"\x01" * 150 * 160
    assert len(lost) == 500 * 8 + 160


@pytest.mark.parametrize("step", [0, 1, -20], ids=["stands", "in-other-units", "backwards"])
def test_a_time_that_does_not_advance_as_it_should_costs_no_audio(step: int) -> None:
    inbound = InboundAudio(TELEPHONE_RATE)

    audio = b"".join(push(inbound, Media("MZ1", b"\x01" * 160, n + 1, 10**6 + n * step)) for n in range(1000))

    assert audio == b"\x01" * 1000 * 160


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("count"), st.integers(1, 60)),
            st.tuples(st.just("restart"), st.sampled_from([0, 1, 7, 65_535, 2**31 - 3, 2**32 - 1, 10**12])),
            st.tuples(st.just("lose"), st.integers(1, 300)),
            st.tuples(st.just("repeat"), st.integers(1, 20)),
            st.tuples(st.just("swap"), st.integers(2, 8)),
            st.tuples(st.just("wild"), st.integers(0, 10**9)),
        ),
        min_size=1,
        max_size=25,
    ),
    st.randoms(use_true_random=False),
)
def test_no_disorder_makes_a_call_deaf_or_longer_than_it_was(steps: list[tuple[str, int]], rng: random.Random) -> None:
    sent: list[Media] = []
    count = time_ms = 0

    def send(chunk: int) -> None:
        nonlocal time_ms
        sent.append(Media("MZ1", sound(len(sent)), chunk, time_ms))
        time_ms += 20

    for kind, amount in steps:
        if kind == "count":
            for _ in range(amount):
                count += 1
                send(count)
        elif kind == "restart":
            count = amount
            time_ms = 0 if rng.random() < 0.5 else time_ms
        elif kind == "lose":
            count += amount
            time_ms += 20 * amount
        elif kind == "repeat":
            sent += sent[-amount:]
        elif kind == "swap":
            near = sent[-amount:]
            rng.shuffle(near)
            sent[-amount:] = near
        else:
            send(amount)
    inbound = InboundAudio(TELEPHONE_RATE)

    lengths = [len(push(inbound, media)) for media in sent]
    lengths[-1:] = [lengths[-1] + len(flush(inbound))] if lengths else []

    deaf = longest = 0
    for length in lengths:
        deaf = 0 if length else deaf + 1
        longest = max(longest, deaf)
    assert longest <= DEAF_AT_MOST
    assert sum(lengths) <= len(sent) * 160 + inbound.counts.concealed_samples
    assert inbound.counts.concealed_samples <= MAX_CONCEAL_S * 8000 * sum(kind != "count" for kind, _ in steps)
