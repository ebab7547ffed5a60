"""Twilio Media Streams: every event of the wire as one type, both ways.

    event = parse(text)            # WireError when it breaks the rules, Unknown when we do not know its name
    text = render(Clear(sid))

All messages are JSON text; audio is base64 mu-law, 8 kHz, mono; numbers inside are strings. Source: Twilio's "Media
Streams: WebSocket messages" (voice/media-streams/websocket-messages). The one addition is :class:`Trace`, which Parley
sends only to a caller whose ``start`` asks for it.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.wires.contract import WireError
from orchestrator.wires.json_messages import count_in, json_object, object_in, text_in, writable

ENCODING, SAMPLE_RATE, CHANNELS = "audio/x-mulaw", 8000, 1
TRACE_PARAMETER = "parley_trace"
"""Custom parameter of ``start`` that asks for trace events when it is ``"1"``."""
SKIP_GREETING_PARAMETER = "parley_skip_greeting"
"""Custom parameter that, beside :data:`TRACE_PARAMETER`, lets a test caller speak first."""
CALLER_PARAMETER = "caller"
"""Custom parameter with the caller's number; only its pseudonym is ever kept."""

_MAX_NAME = 256
"""Longest name of a stream, a call, an account; Twilio's have 34 characters."""
_MAX_PARAMETERS = 100
_BASE64 = str.maketrans("-_", "+/", "\r\n\t ")
"""Line breaks and the alphabet for URLs are base64 too; padding is added anew."""


@dataclass(frozen=True)
class Connected:
    """The gateway's first message."""

    protocol: str = "Call"
    version: str = "1.0.0"


@dataclass(frozen=True)
class Start:
    """A call begins. Its media format has been checked: mu-law, 8 kHz, mono."""

    stream_sid: str
    call_sid: str
    account_sid: str = ""
    sequence: int = 1
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Media:
    """Audio. ``payload`` is mu-law; from the gateway it has a chunk number and a time, towards it none."""

    stream_sid: str
    payload: bytes
    chunk: int | None = None
    timestamp_ms: int | None = None
    sequence: int | None = None
    track: str = "inbound"


@dataclass(frozen=True)
class Dtmf:
    """The caller pressed a key."""

    stream_sid: str
    digit: str
    sequence: int | None = None


@dataclass(frozen=True)
class Mark:
    """Ours: a point in the audio sent. Theirs: the echo, when that audio has been played (or was cleared)."""

    stream_sid: str
    name: str
    sequence: int | None = None


@dataclass(frozen=True)
class Clear:
    """Ours: drop what is not yet played. The gateway then echoes every pending mark."""

    stream_sid: str


@dataclass(frozen=True)
class Stop:
    """The call is over."""

    stream_sid: str
    call_sid: str = ""
    sequence: int | None = None


@dataclass(frozen=True)
class Trace:
    """What the bot heard, understood and measured; sent only to a caller who asked for it."""

    stream_sid: str
    kind: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Unknown:
    """An event this wire does not know; it is counted and otherwise ignored."""

    event: str


Event = Connected | Start | Media | Dtmf | Mark | Clear | Stop | Trace | Unknown


def parse(message: str | bytes) -> Event:
    """Read one message, of either direction.

    Raises:
        WireError: too long, not JSON, a field is missing or of the wrong type, bad base64, or audio that is not mu-law
            8 kHz mono. Nothing else is ever raised.
    """
    fields = json_object(message)
    event = fields.get("event")
    if not isinstance(event, str) or not event:
        raise WireError("message has no event name", where="event", mend='send {"event": "...", ...}')
    reader = _READERS.get(event)
    return reader(fields) if reader else Unknown(event[:64])


def render(event: Event) -> str:
    """The message of an event, as Twilio writes it.

    Raises:
        WireError: :class:`Unknown` cannot be written.
    """
    return json.dumps(_fields_of(event), separators=(",", ":"))


def _read_connected(fields: dict[str, Any]) -> Connected:
    return Connected(text_in(fields, "protocol", "", "Call"), text_in(fields, "version", "", "1.0.0"))


def _read_start(fields: dict[str, Any]) -> Start:
    start = object_in(fields, "start")
    media = object_in(start, "mediaFormat")
    found = (
        media.get("encoding"),
        count_in(media, "sampleRate", "start.mediaFormat"),
        count_in(media, "channels", "start.mediaFormat"),
    )
    if found != (ENCODING, SAMPLE_RATE, CHANNELS):
        shown = ", ".join(str(part)[:32] for part in found)
        raise WireError(
            f"audio is {shown}",
            where="start.mediaFormat",
            mend=f"send {ENCODING}, {SAMPLE_RATE} Hz, {CHANNELS} channel",
        )
    stream = fields.get("streamSid") or start.get("streamSid")
    return Start(
        stream_sid=text_in({"streamSid": stream}, "streamSid", "", longest=_MAX_NAME),
        call_sid=text_in(start, "callSid", "start", longest=_MAX_NAME),
        account_sid=text_in(start, "accountSid", "start", "", longest=_MAX_NAME),
        sequence=count_in(fields, "sequenceNumber", "") or 0,
        parameters=_parameters(start.get("customParameters")),
    )


def _parameters(given: Any) -> dict[str, str]:
    """Custom parameters as texts: numbers and truth values as JSON writes them; null is none."""
    if given is None:
        return {}
    if not isinstance(given, dict) or any(isinstance(value, dict | list) for value in given.values()):
        raise WireError("expected texts by name", where="start.customParameters")
    if len(given) > _MAX_PARAMETERS:
        mend = f"send at most {_MAX_PARAMETERS}"
        raise WireError(f"{len(given)} parameters", where="start.customParameters", mend=mend)
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in given.items()}
    return {writable(name): writable(text) for name, text in texts.items() if given[name] is not None}


def _read_media(fields: dict[str, Any]) -> Media:
    media = object_in(fields, "media")
    payload = media.get("payload")
    if not isinstance(payload, str):
        raise WireError("expected base64 text", where="media.payload")
    return Media(
        stream_sid=text_in(fields, "streamSid", "", ""),
        payload=_decoded(payload),
        chunk=count_in(media, "chunk", "media"),
        timestamp_ms=count_in(media, "timestamp", "media", fraction=True),
        sequence=count_in(fields, "sequenceNumber", ""),
        track=text_in(media, "track", "media", "inbound") or "inbound",
    )


def _decoded(payload: str) -> bytes:
    try:
        return base64.b64decode(payload, validate=True)
    except (binascii.Error, ValueError):
        plain = payload.translate(_BASE64).rstrip("=")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise WireError("not base64", where="media.payload", mend="encode the mu-law bytes as base64") from None


def _read_dtmf(fields: dict[str, Any]) -> Dtmf:
    dtmf = object_in(fields, "dtmf")
    digit = str(dtmf["digit"]) if type(dtmf.get("digit")) is int else text_in(dtmf, "digit", "dtmf").upper()
    if len(digit) != 1 or digit not in "0123456789*#ABCD":
        raise WireError("expected one key", where="dtmf.digit", mend="0 to 9, *, #, A to D")
    return Dtmf(text_in(fields, "streamSid", "", ""), digit, count_in(fields, "sequenceNumber", ""))


def _read_mark(fields: dict[str, Any]) -> Mark:
    name = text_in(object_in(fields, "mark"), "name", "mark")
    return Mark(text_in(fields, "streamSid", "", ""), name, count_in(fields, "sequenceNumber", ""))


def _read_clear(fields: dict[str, Any]) -> Clear:
    return Clear(text_in(fields, "streamSid", "", ""))


def _read_stop(fields: dict[str, Any]) -> Stop:
    stop = fields.get("stop")
    stop = {} if stop is None else stop
    if not isinstance(stop, dict):
        raise WireError("expected an object", where="stop")
    return Stop(
        text_in(fields, "streamSid", "", ""),
        text_in(stop, "callSid", "stop", ""),
        count_in(fields, "sequenceNumber", ""),
    )


def _read_trace(fields: dict[str, Any]) -> Trace:
    trace = object_in(fields, "parley")
    data = {name: value for name, value in trace.items() if name != "kind"}
    return Trace(text_in(fields, "streamSid", "", ""), text_in(trace, "kind", "parley"), data)


_READERS: dict[str, Callable[[dict[str, Any]], Event]] = {
    "connected": _read_connected,
    "start": _read_start,
    "media": _read_media,
    "dtmf": _read_dtmf,
    "mark": _read_mark,
    "clear": _read_clear,
    "stop": _read_stop,
    "parley": _read_trace,
}


def _fields_of(event: Event) -> dict[str, Any]:
    if isinstance(event, Connected):
        return {"event": "connected", "protocol": event.protocol, "version": event.version}
    if isinstance(event, Start):
        start = {
            "accountSid": event.account_sid,
            "streamSid": event.stream_sid,
            "callSid": event.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": ENCODING, "sampleRate": SAMPLE_RATE, "channels": CHANNELS},
            "customParameters": event.parameters,
        }
        return _numbered("start", event.sequence, event.stream_sid) | {"start": start}
    if isinstance(event, Media):
        return _media_fields(event)
    if isinstance(event, Dtmf):
        dtmf = {"track": "inbound_track", "digit": event.digit}
        return _numbered("dtmf", event.sequence, event.stream_sid) | {"dtmf": dtmf}
    if isinstance(event, Mark):
        return _numbered("mark", event.sequence, event.stream_sid) | {"mark": {"name": event.name}}
    if isinstance(event, Stop):
        return _numbered("stop", event.sequence, event.stream_sid) | {"stop": {"callSid": event.call_sid}}
    if isinstance(event, Trace):
        return {"event": "parley", "streamSid": event.stream_sid, "parley": event.data | {"kind": event.kind}}
    if isinstance(event, Clear):
        return {"event": "clear", "streamSid": event.stream_sid}
    raise WireError("an unknown event cannot be sent", where=event.event)


def _numbered(event: str, sequence: int | None, stream_sid: str) -> dict[str, Any]:
    numbered: dict[str, Any] = {"event": event}
    if sequence is not None:
        numbered["sequenceNumber"] = str(sequence)
    return numbered | {"streamSid": stream_sid}


def _media_fields(event: Media) -> dict[str, Any]:
    media: dict[str, Any] = {}
    if event.chunk is not None:
        media["track"] = event.track
        media["chunk"] = str(event.chunk)
    if event.timestamp_ms is not None:
        media["timestamp"] = str(event.timestamp_ms)
    media["payload"] = base64.b64encode(event.payload).decode("ascii")
    return _numbered("media", event.sequence, event.stream_sid) | {"media": media}
