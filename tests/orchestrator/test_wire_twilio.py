"""The Twilio wire: events survive a round trip, rubbish raises WireError only, losses keep the clock right."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_audio import flush, push

from orchestrator.wires.contract import WireError
from orchestrator.wires.inbound import MAX_CONCEAL_S, InboundAudio
from orchestrator.wires.line import MAX_MESSAGE_BYTES
from orchestrator.wires.twilio.messages import (
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
from parley.audio import TELEPHONE_RATE

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
        ("[" * 1_999, "nested too deeply"),
        ('{"event":"x","a":[' + "[]," * 20_000 + "1]}", "too many parts"),
        (b'{"event":"x","a":{' + b'"a":1,' * 20_000 + b'"b":1}}', "too many parts"),
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
    inbound = InboundAudio(TELEPHONE_RATE)

    audio = b"".join(push(inbound, frame(n, fill=n)) for n in (1, 3, 2, 5, 4, 6))

    assert audio == b"".join(bytes([n]) * 160 for n in range(1, 7))
    assert inbound.counts.concealed_samples == 0


def test_lost_messages_become_silence_of_their_length() -> None:
    inbound = InboundAudio(TELEPHONE_RATE)

    audio = b"".join(push(inbound, frame(n, fill=n)) for n in (1, 2, 5, 6, 7, 8, 9))

    assert audio[: 2 * 160] == b"\x01" * 160 + b"\x02" * 160
    assert audio[2 * 160 : 4 * 160] == b"\xff" * 320
    assert len(audio) == 9 * 160


def test_a_jump_of_the_clock_is_filled_up_to_the_cap_and_then_followed() -> None:
    inbound = InboundAudio(TELEPHONE_RATE)
    push(inbound, frame(1))

    jumped = push(inbound, frame(2, timestamp=3_600_000))
    after = push(inbound, frame(3, timestamp=3_600_020))

    assert len(jumped) == MAX_CONCEAL_S * 8000 + 160
    assert len(after) == 160
    assert inbound.counts.clock_jumps == 1


def test_late_and_double_messages_are_dropped_and_counted() -> None:
    inbound = InboundAudio(TELEPHONE_RATE)

    audio = b"".join(push(inbound, frame(n)) for n in (1, 2, 3, 2, 5, 5, 4))

    assert len(audio) == 5 * 160
    assert (inbound.counts.late, inbound.counts.duplicate) == (1, 1)


def test_the_bots_own_track_is_not_heard() -> None:
    assert push(InboundAudio(TELEPHONE_RATE), Media("MZ1", b"\x01" * 160, chunk=1, track="outbound")) == b""


@given(st.permutations(range(20)), st.sets(st.integers(1, 18), max_size=8))
def test_the_sample_clock_is_right_whatever_is_lost_within_reach(order: list[int], lost: set[int]) -> None:
    """Shuffles within the buffer's reach, drops some: at the end as many samples came out as went in."""
    inbound = InboundAudio(TELEPHONE_RATE)
    near = sorted(range(20), key=lambda n: n + order.index(n) % 3)

    audio = b"".join(push(inbound, frame(n + 1)) for n in near if n not in lost) + flush(inbound)

    assert len(audio) == 20 * 160


def media_message(**fields: object) -> str:
    media = {"payload": base64.b64encode(b"\xff" * 160).decode(), "chunk": "2", "timestamp": "20"} | fields
    return json.dumps({"event": "media", "streamSid": "MZ1", "sequenceNumber": "3", "media": media})


@pytest.mark.parametrize(
    ("fields", "read"),
    [
        ({"timestamp": 20.0}, (2, 20)),
        ({"timestamp": "20.0", "chunk": 2.0}, (2, 20)),
        ({"timestamp": 20.75, "chunk": " 2 "}, (2, 20)),
        ({"timestamp": None, "chunk": None}, (None, None)),
        ({"timestamp": "", "chunk": ""}, (None, None)),
        ({"timestamp": str(2**64), "chunk": 2**63}, (2**63, 2**64)),
        ({"timestamp": 0, "chunk": "00002"}, (2, 0)),
    ],
)
def test_numbers_are_read_as_people_and_libraries_write_them(fields: dict[str, object], read: tuple[int, int]) -> None:
    media = parse(media_message(**fields))

    assert isinstance(media, Media)
    assert (media.chunk, media.timestamp_ms) == read


@pytest.mark.parametrize("number", [-1, "-1", -0.5, "1e3", "٣", "²", True, [1], "2" * 400, 10**300, "20.0.0"])
def test_what_is_no_number_from_nought_up_is_refused(number: object) -> None:
    for name in ("chunk", "timestamp"):
        with pytest.raises(WireError, match="whole number"):
            parse(media_message(**{name: number}))


def test_only_a_time_may_have_a_fraction() -> None:
    assert isinstance(parse(media_message(timestamp="20.75")), Media)
    for fields in ({"chunk": 1.5}, {"chunk": "1.5"}):
        with pytest.raises(WireError, match="whole number"):
            parse(media_message(**fields))
    for rate in (8000.4, "8000.4"):
        with pytest.raises(WireError, match="whole number"):
            parse(start_message(sampleRate=rate))


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "9" * 5000])
def test_numbers_that_json_should_not_hold_are_refused(number: str) -> None:
    with pytest.raises(WireError):
        parse('{"event":"media","media":{"payload":"","timestamp":' + number + "}}")


@pytest.mark.parametrize(
    "written",
    [
        lambda text: "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76)),
        lambda text: text + "\n",
        lambda text: text.rstrip("="),
        lambda text: text.replace("+", "-").replace("/", "_"),
        lambda text: f" {text} ",
    ],
    ids=["lines", "newline", "no-padding", "url-alphabet", "blanks"],
)
def test_base64_is_read_as_encoders_write_it(written: Callable[[str], str]) -> None:
    audio = bytes(range(256)) + b"\xfb\xff"

    media = parse(media_message(payload=written(base64.b64encode(audio).decode())))

    assert isinstance(media, Media) and media.payload == audio


@pytest.mark.parametrize("payload", ["A", "AAAAA", "@@@@", "AA=A", "AAAA\x00", "ÄÄÄÄ"])
def test_what_is_no_base64_is_refused(payload: str) -> None:
    with pytest.raises(WireError, match="base64"):
        parse(media_message(payload=payload))


def start_with(**fields: object) -> str:
    message = json.loads(start_message())
    message["start"].update(fields)
    return json.dumps(message)


def test_null_is_as_if_it_were_left_out() -> None:
    assert parse(start_with(customParameters=None, accountSid=None)) == Start("MZ1", "CA1")
    assert parse('{"event":"stop","streamSid":null,"sequenceNumber":null,"stop":null}') == Stop("")
    assert parse('{"event":"mark","streamSid":null,"mark":{"name":"a"}}') == Mark("", "a")
    assert parse('{"event":"connected","protocol":null,"version":null}') == Connected()
    assert parse('{"event":"media","media":{"payload":"","track":null}}') == Media("", b"")


def test_custom_parameters_that_are_no_texts_become_texts() -> None:
    found = parse(start_with(customParameters={"caller": 15551234567, "vip": True, "none": None, "x": 1.5}))

    assert isinstance(found, Start)
    assert found.parameters == {"caller": "15551234567", "vip": "true", "x": "1.5"}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"streamSid": None, "callSid": "C" * 400_000}, "bytes"),
        ({"callSid": "C" * 257}, "257 characters"),
        ({"accountSid": "A" * 257}, "257 characters"),
        ({"callSid": ""}, "expected a text"),
        ({"callSid": 5}, "expected a text"),
        ({"customParameters": {str(n): "" for n in range(101)}}, "101 parameters"),
        ({"customParameters": {"caller": ["+1"]}}, "texts by name"),
        ({"customParameters": "caller=+1"}, "texts by name"),
        ({"mediaFormat": None}, "mediaFormat: expected an object"),
    ],
)
def test_a_start_that_cannot_be_answered_says_why(fields: dict[str, object], said: str) -> None:
    with pytest.raises(WireError, match=said):
        parse(start_with(**fields))


def test_a_stream_sid_is_echoed_in_every_message_and_so_is_short() -> None:
    message = json.loads(start_message()) | {"streamSid": "M" * 300}

    with pytest.raises(WireError, match="300 characters"):
        parse(json.dumps(message))


@pytest.mark.parametrize(
    "fields", [{"sampleRate": "8000"}, {"sampleRate": 8000.0, "channels": "1"}, {"sampleRate": "8000.0"}]
)
def test_a_media_format_is_right_however_its_numbers_are_written(fields: dict[str, object]) -> None:
    assert parse(start_message(**fields)) == Start("MZ1", "CA1")


def test_halves_of_surrogate_pairs_are_replaced_at_the_door() -> None:
    started = parse(start_with(callSid="CA\ud800", customParameters={"caller": "+1\udfff", "\ud83d": "\U0001f600"}))
    marked = parse('{"event":"mark","mark":{"name":"\\ud800"}}')

    assert isinstance(started, Start) and isinstance(marked, Mark)
    assert started.call_sid == "CA\ufffd" and marked.name == "\ufffd"
    assert started.parameters == {"caller": "+1\ufffd", "\ufffd": "\U0001f600"}


@pytest.mark.parametrize(("digit", "key"), [(5, "5"), ("a", "A"), ("#", "#")])
def test_keys_are_read_as_gateways_write_them(digit: object, key: str) -> None:
    assert parse(json.dumps({"event": "dtmf", "dtmf": {"digit": digit}})) == Dtmf("", key)


@pytest.mark.parametrize("digit", ["٣", "²", "", "55", -1, 10, True, None, "ß", "E"])
def test_what_is_no_key_is_refused(digit: object) -> None:
    with pytest.raises(WireError):
        parse(json.dumps({"event": "dtmf", "dtmf": {"digit": digit}}))


@pytest.mark.parametrize("track", ["outbound", "outbound_track", "OUTBOUND", "other"])
def test_other_tracks_are_not_heard_and_do_not_count(track: str) -> None:
    inbound = InboundAudio(TELEPHONE_RATE)
    mine = [frame(n, fill=1) for n in range(1, 10)]
    other = [Media("MZ1", b"\x02" * 160, chunk=n + 1000, timestamp_ms=n, track=track) for n in range(1, 10)]

    audio = b"".join(push(inbound, media) for pair in zip(mine, other, strict=True) for media in pair)

    assert audio == b"\x01" * 9 * 160


@pytest.mark.parametrize("sizes", [[1] * 500, [7, 161, 0, 3, 1000], [160, 80, 240]])
def test_payloads_of_any_size_give_their_samples(sizes: list[int]) -> None:
    inbound = InboundAudio(TELEPHONE_RATE)
    audio = b"".join(push(inbound, Media("MZ1", b"\x01" * size, n + 1)) for n, size in enumerate(sizes))

    assert audio == b"\x01" * sum(sizes)
