"""A plain websocket: the smallest wire there can be. For gateways of one's own, and for wideband audio.

Audio is a binary message either way: linear PCM (L16), int16 little-endian, mono, 16 kHz, of any whole number of
samples. Everything else is a flat JSON object as text::

    gateway   {"event":"start","call":"C1","caller":"+15550001111"}     first; then audio
              {"event":"key","key":"5"}   {"event":"played","mark":"p1"}   {"event":"hang_up"}
    Parley    {"event":"mark","mark":"p1"}   {"event":"clear"}   {"event":"key","key":"5"}
              {"event":"transfer","to":"+15550002222"}   {"event":"trace","kind":"reply","data":{..}}

The gateway keeps what it gets and plays it in order; it answers a mark when it has played everything before it, and
drops everything at ``clear``. Either side ends the call by closing; ``hang_up`` says that the caller did. The page for
who builds one: docs/wire-plain.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from orchestrator.wall_clock import Clock
from orchestrator.wires.contract import (
    CallStarted,
    Capabilities,
    GatewayCall,
    HungUp,
    Key,
    Played,
    Proof,
    WireError,
)
from orchestrator.wires.json_messages import json_object, text_in
from orchestrator.wires.line import MAX_MESSAGE_BYTES, Line
from orchestrator.wires.message_call import Ignored, Meaning, MessageCall
from orchestrator.wires.order import Packet
from parley.audio import Pcm
from parley.settings import Settings

RATE = 16_000
"""Samples a second, in Hz, both ways."""
KEYS = "0123456789*#ABCD"
_L16 = np.dtype("<i2")
_LONGEST_NAME = 256


class PlainWire:
    """See `orchestrator.wires.contract.Wire`."""

    name = "plain"
    paths = ("/plain",)

    def proof(self, site: Settings) -> Proof | None:
        """See `Wire`."""
        return None

    def open(self, line: Line, clock: Clock) -> GatewayCall:
        """See `Wire`."""
        return MessageCall(line, clock, PlainDialect())


class PlainDialect:
    """See `orchestrator.wires.message_call.Dialect`."""

    capabilities = Capabilities(
        marks=True, clear=True, paced_by_us=False, rate_in=RATE, rate_out=RATE, keys_out=True, transfer=True
    )
    begins_with = "start"

    def __init__(self) -> None:
        self._started = False

    def read(self, message: str | bytes) -> Meaning:
        """See `Dialect`."""
        if isinstance(message, bytes):
            self._in_call("audio")
            return _packet(message)
        fields = json_object(message)
        event = text_in(fields, "event", "", longest=_LONGEST_NAME)
        if event == "start":
            return self._start(fields)
        if event not in ("key", "played", "hang_up"):
            return Ignored(known=False)
        self._in_call(event)
        if event == "key":
            return Key(_key(fields))
        return Played(text_in(fields, "mark", "")) if event == "played" else HungUp("caller_hung_up")

    def _start(self, fields: dict[str, Any]) -> CallStarted:
        if self._started:
            raise WireError("a second start on one connection", mend="open a connection per call")
        traced = fields.get("trace") is True
        started = CallStarted(
            wire=PlainWire.name,
            gateway_id=text_in(fields, "call", "", longest=_LONGEST_NAME),
            caller=text_in(fields, "caller", "", "", longest=_LONGEST_NAME),
            traced=traced,
            greeted=not (traced and fields.get("greeting") is False),
        )
        self._started = True
        return started

    def _in_call(self, event: str) -> None:
        if not self._started:
            raise WireError(f"{event} before start", mend="send start")

    def audio(self, pcm: Pcm) -> tuple[bytes, Pcm]:
        """See `Dialect`."""
        return pcm.astype(_L16, copy=False).tobytes(), pcm

    def mark(self, name: str) -> str:
        """See `Dialect`."""
        return _render("mark", mark=name)

    def clear(self) -> str:
        """See `Dialect`."""
        return _render("clear")

    def key(self, key: str) -> str:
        """See `Dialect`."""
        return _render("key", key=key)

    def transfer(self, to: str) -> str:
        """See `Dialect`."""
        return _render("transfer", to=to)

    def trace(self, kind: str, data: Mapping[str, object]) -> str:
        """See `Dialect`."""
        return _render("trace", kind=kind, data=dict(data))


def _packet(message: bytes) -> Packet:
    if len(message) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(message)} bytes", mend=f"send at most {MAX_MESSAGE_BYTES}")
    if len(message) % _L16.itemsize:
        raise WireError(f"audio of {len(message)} bytes", mend="send whole samples of two bytes")
    return Packet(np.frombuffer(message, dtype=_L16).astype(np.int16, copy=False))


def _key(fields: dict[str, Any]) -> str:
    key = text_in(fields, "key", "").upper()
    if len(key) != 1 or key not in KEYS:
        raise WireError("expected one key", where="key", mend="0 to 9, *, #, A to D")
    return key


def _render(event: str, **fields: object) -> str:
    return json.dumps({"event": event} | fields, separators=(",", ":"))
