"""Calls over Twilio Media Streams, and over what speaks it.

Its audio is G.711 mu-law at 8 kHz both ways. The gateway keeps a queue of any length, echoes marks and takes back what
it has not played. It presses no keys; a caller is put through by ending the stream, after which the gateway goes on
with its next instruction.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from orchestrator.wall_clock import Clock
from orchestrator.wires.contract import (
    CallStarted,
    Capabilities,
    GatewayCall,
    HungUp,
    Key,
    NotOnThisWire,
    Played,
    Proof,
    WireError,
)
from orchestrator.wires.line import Line
from orchestrator.wires.message_call import Ignored, Meaning, MessageCall
from orchestrator.wires.order import Packet
from orchestrator.wires.twilio.messages import (
    CALLER_PARAMETER,
    SAMPLE_RATE,
    SKIP_GREETING_PARAMETER,
    TRACE_PARAMETER,
    Clear,
    Connected,
    Dtmf,
    Mark,
    Media,
    Start,
    Stop,
    Trace,
    Unknown,
    parse,
    render,
)
from orchestrator.wires.twilio.signature import TwilioSignature
from parley.audio import Pcm
from parley.g711 import ulaw_decode, ulaw_encode
from parley.settings import Settings

_SAMPLES_PER_MS = SAMPLE_RATE // 1000
_INBOUND = ("inbound", "inbound_track")
_IGNORED, _UNKNOWN = Ignored(), Ignored(known=False)


class TwilioWire:
    """See `orchestrator.wires.contract.Wire`."""

    name = "twilio"
    paths = ("/twilio", "/ws")

    def proof(self, site: Settings) -> Proof | None:
        """See `Wire`."""
        return TwilioSignature.of(site)

    def open(self, line: Line, clock: Clock) -> GatewayCall:
        """See `Wire`."""
        return MessageCall(line, clock, TwilioDialect())


class TwilioDialect:
    """See `orchestrator.wires.message_call.Dialect`."""

    capabilities = Capabilities(
        marks=True,
        clear=True,
        paced_by_us=False,
        rate_in=SAMPLE_RATE,
        rate_out=SAMPLE_RATE,
        keys_out=False,
        transfer=False,
    )
    begins_with = "connected, then start"

    def __init__(self) -> None:
        self._sid: str | None = None
        """The gateway's name of the stream, once it has started."""

    def read(self, message: str | bytes) -> Meaning:
        """See `Dialect`."""
        event = parse(message)
        if isinstance(event, Media):
            self._in_call(event)
            return packet_of(event)
        if isinstance(event, Start):
            return self._start(event)
        if isinstance(event, Connected):
            return _IGNORED
        if isinstance(event, Unknown):
            return _UNKNOWN
        self._in_call(event)
        if isinstance(event, Mark):
            return Played(event.name)
        if isinstance(event, Dtmf):
            return Key(event.digit)
        if isinstance(event, Stop):
            return HungUp("caller_hung_up")
        return _IGNORED  # what only we send

    def _start(self, event: Start) -> CallStarted:
        if self._sid is not None:
            raise WireError("a second start on one connection", mend="open a connection per call")
        self._sid = event.stream_sid
        traced = event.parameters.get(TRACE_PARAMETER) == "1"
        return CallStarted(
            wire=TwilioWire.name,
            gateway_id=event.call_sid,
            caller=event.parameters.get(CALLER_PARAMETER, ""),
            traced=traced,
            greeted=not (traced and event.parameters.get(SKIP_GREETING_PARAMETER) == "1"),
        )

    def _in_call(self, event: Media | Mark | Dtmf | Stop | Clear | Trace) -> None:
        if self._sid is None:
            raise WireError(f"{type(event).__name__.lower()} before start", mend=f"send {self.begins_with}")

    @property
    def _stream(self) -> str:
        return self._sid or ""

    def audio(self, pcm: Pcm) -> tuple[str, Pcm]:
        """See `Dialect`."""
        code = ulaw_encode(pcm)
        return render(Media(self._stream, code.tobytes())), ulaw_decode(code)

    def mark(self, name: str) -> str:
        """See `Dialect`."""
        return render(Mark(self._stream, name))

    def clear(self) -> str:
        """See `Dialect`."""
        return render(Clear(self._stream))

    def key(self, key: str) -> str:
        """See `Dialect`."""
        raise NotOnThisWire("Twilio Media Streams press no keys")

    def transfer(self, to: str) -> str:
        """See `Dialect`."""
        raise NotOnThisWire("Twilio Media Streams put nobody through", mend="end the call: the next TwiML follows")

    def trace(self, kind: str, data: Mapping[str, object]) -> str:
        """See `Dialect`."""
        return render(Trace(self._stream, kind, dict(data)))


def packet_of(media: Media) -> Packet | Ignored:
    """The caller's audio in order of its chunk number (of its sequence number where there is none)."""
    if media.track.lower() not in _INBOUND:
        return _IGNORED
    number, first = media.chunk, 1
    if number is None and media.sequence is not None:
        number = first = media.sequence
    return Packet(
        ulaw_decode(np.frombuffer(media.payload, dtype=np.uint8)),
        number,
        first,
        None if media.timestamp_ms is None else media.timestamp_ms * _SAMPLES_PER_MS,
        hash(media.payload),
    )
