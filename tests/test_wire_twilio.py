"""The Twilio wire: events survive a round trip, rubbish raises WireError only, losses keep the clock right."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.wires import MAX_MESSAGE_BYTES, WireError
from orchestrator.wires.inbound import MAX_CONCEAL_SAMPLES, InboundAudio
from orchestrator.wires.twilio import (
    Clear,
    Connected,
    Dtmf,
    Event,
    Mark,
    Media,
    Start,
    Stop,
    Trace,
    Unknown,
    parse,
    render,
)

names = st.text(min_size=1, max_size=40)
numbers = st.none() | st.integers(0, 10**12)
events: st.SearchStrategy[Event] = st.one_of(
    st.builds(Connected, names, names),
    st.builds(
        Start, names, names, names, st.integers(0, 9999), st.dictionaries(names, st.text(max_size=20), max_size=3)
    ),
    st.builds(Media, names, st.binary(max_size=400), st.integers(0, 10**9), numbers, numbers, names),
    st.builds(Media, names, st.binary(max_size=400)),
    st.builds(Dtmf, names, st.sampled_from("0123456789*#ABCD"), numbers),
    st.builds(Mark, names, names, numbers),
    st.builds(Clear, names),
    st.builds(Stop, names, names, numbers),
    st.builds(Trace, names, names, st.dictionaries(st.sampled_from(["a", "b"]), st.integers(), max_size=2)),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
keys = st.sampled_from(
    ["event", "start", "media", "mark", "dtmf", "stop", "streamSid", "sequenceNumber", "payload", "chunk", "timestamp",
     "mediaFormat", "customParameters", "name", "digit", "parley", "kind", "encoding", "sampleRate", "channels"]
)  # fmt: skip
near_messages = st.dictionaries(
    keys,
    json_values | st.dictionaries(keys, json_values | st.dictionaries(keys, json_values, max_size=4), max_size=6),
    max_size=6,
)


def frame(number: int, fill: int = 1, timestamp: int | None = -1) -> Media:
    stamp = (number - 1) * 20 if timestamp == -1 else timestamp
    return Media("MZ1", bytes([fill]) * 160, chunk=number, timestamp_ms=stamp, sequence=number + 1)


def start_message(**media_format: object) -> str:
    fields = {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1} | media_format
    start = {"streamSid": "MZ1", "callSid": "CA1", "mediaFormat": fields, "customParameters": {}}
    return json.dumps({"event": "start", "sequenceNumber": "1", "streamSid": "MZ1", "start": start})


@given(events)
def test_every_event_survives_a_round_trip(event: Event) -> None:
    assert parse(render(event)) == event


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_rubbish_raises_nothing_but_wire_error(message: str | bytes) -> None:
    try:
        parse(message)
    except WireError as error:
        assert str(error)


@given(near_messages, st.sampled_from(["start", "media", "mark", "dtmf", "stop", "connected", "clear", "parley", "x"]))
def test_almost_right_messages_raise_nothing_but_wire_error(fields: dict[str, object], event: str) -> None:
    try:
        parse(json.dumps({**fields, "event": event}))
    except WireError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("{", "not JSON"),
        ("[1]", "not a JSON object"),
        ("{}", "no event name"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe{", "not JSON"),
        ('{"event":"media","media":{"payload":"@@"}}', "not base64"),
        ('{"event":"media","media":{"payload":5}}', "expected base64 text"),
        ('{"event":"media","media":{"payload":"","chunk":"-1"}}', "whole number"),
        ('{"event":"media","media":[]}', "expected an object"),
        ('{"event":"mark","mark":{}}', "mark.name"),
        ('{"event":"dtmf","dtmf":{"digit":"55"}}', "expected one key"),
        (start_message(encoding="audio/x-l16"), "audio is audio/x-l16"),
        (start_message(sampleRate=16000), "16000"),
        (start_message(channels=2), "audio is audio/x-mulaw, 8000, 2"),
        ('{"event":"x","pad":"' + "a" * MAX_MESSAGE_BYTES + '"}', "bytes"),
    ],
)
def test_what_is_wrong_is_said(message: str | bytes, said: str) -> None:
    with pytest.raises(WireError, match=said):
        parse(message)


def test_unknown_events_are_let_through_by_name() -> None:
    assert parse('{"event":"brand_new","x":1}') == Unknown("brand_new")


def test_the_published_examples_are_read() -> None:
    media = (
        '{"event":"media","sequenceNumber":"3","media":{"track":"inbound","chunk":"1","timestamp":"5","payload":"'
        + base64.b64encode(b"\xff" * 160).decode()
        + '"},"streamSid":"MZ1"}'
    )

    assert parse(start_message()) == Start("MZ1", "CA1")
    assert parse(media) == Media("MZ1", b"\xff" * 160, 1, 5, 3)
    assert parse('{"event":"stop","sequenceNumber":"5","streamSid":"MZ1"}') == Stop("MZ1", "", 5)


def test_messages_out_of_order_are_put_in_order() -> None:
    inbound = InboundAudio()

    audio = b"".join(inbound.push(frame(n, fill=n)) for n in (1, 3, 2, 5, 4, 6))

    assert audio == b"".join(bytes([n]) * 160 for n in range(1, 7))
    assert inbound.counts.concealed_samples == 0


def test_lost_messages_become_silence_of_their_length() -> None:
    inbound = InboundAudio()

    audio = b"".join(inbound.push(frame(n, fill=n)) for n in (1, 2, 5, 6, 7, 8, 9))

    assert audio[: 2 * 160] == b"\x01" * 160 + b"\x02" * 160
    assert audio[2 * 160 : 4 * 160] == b"\xff" * 320
    assert len(audio) == 9 * 160


def test_a_jump_of_the_clock_is_filled_up_to_the_cap_and_then_followed() -> None:
    inbound = InboundAudio()
    inbound.push(frame(1))

    jumped = inbound.push(frame(2, timestamp=3_600_000))
    after = inbound.push(frame(3, timestamp=3_600_020))

    assert len(jumped) == MAX_CONCEAL_SAMPLES + 160
    assert len(after) == 160
    assert inbound.counts.clock_jumps == 1


def test_late_and_double_messages_are_dropped_and_counted() -> None:
    inbound = InboundAudio()

    audio = b"".join(inbound.push(frame(n)) for n in (1, 2, 3, 2, 5, 5, 4))

    assert len(audio) == 5 * 160
    assert (inbound.counts.late, inbound.counts.duplicate) == (1, 1)


def test_the_bots_own_track_is_not_heard() -> None:
    assert InboundAudio().push(Media("MZ1", b"\x01" * 160, chunk=1, track="outbound")) == b""


@given(st.permutations(range(20)), st.sets(st.integers(1, 18), max_size=8))
def test_the_sample_clock_is_right_whatever_is_lost_within_reach(order: list[int], lost: set[int]) -> None:
    """Shuffles within the buffer's reach, drops some: at the end as many samples came out as went in."""
    inbound = InboundAudio()
    near = sorted(range(20), key=lambda n: n + order.index(n) % 3)

    audio = b"".join(inbound.push(frame(n + 1)) for n in near if n not in lost) + inbound.flush()

    assert len(audio) == 20 * 160
