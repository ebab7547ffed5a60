"""A test caller over Twilio Media Streams: numbered messages of mu-law, as Twilio sends them."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import numpy as np

from calling.wires.contract import BotAudio, BotClears, BotEvent, BotMark, BotTells, CallerLeg, Message
from orchestrator.wires.twilio.messages import (
    CALLER_PARAMETER,
    SAMPLE_RATE,
    SKIP_GREETING_PARAMETER,
    TRACE_PARAMETER,
    Clear,
    Connected,
    Mark,
    Media,
    Start,
    Stop,
    Trace,
    parse,
    render,
)
from parley.audio import Pcm
from parley.g711 import ulaw_decode, ulaw_encode

_FRAME_MS = 20


class TwilioCallerWire:
    """See `calling.wires.contract.CallerWire`."""

    name, path, rate = "twilio", "/twilio", SAMPLE_RATE

    def call(self) -> CallerLeg:
        """See `CallerWire`."""
        return TwilioLeg()


class TwilioLeg:
    """See `calling.wires.contract.CallerLeg`."""

    def __init__(self) -> None:
        self._sid = f"MZ{uuid.uuid4().hex}"
        self._call_sid = f"CA{uuid.uuid4().hex}"
        self._chunk = 0
        self._sequence = 1

    def begin(self, *, caller: str, greeting: bool) -> Sequence[Message]:
        """See `CallerLeg`."""
        parameters = {TRACE_PARAMETER: "1"}
        if not greeting:
            parameters[SKIP_GREETING_PARAMETER] = "1"
        if caller:
            parameters[CALLER_PARAMETER] = caller
        return [render(Connected()), render(Start(self._sid, self._call_sid, "", 1, parameters))]

    def audio(self, pcm: Pcm) -> tuple[Message, Pcm]:
        """See `CallerLeg`."""
        code = ulaw_encode(pcm)
        self._chunk += 1
        self._sequence += 1
        time_ms = (self._chunk - 1) * _FRAME_MS
        media = Media(self._sid, code.tobytes(), self._chunk, time_ms, self._sequence, "inbound")
        return render(media), ulaw_decode(code)

    def played(self, mark: str) -> Message:
        """See `CallerLeg`."""
        self._sequence += 1
        return render(Mark(self._sid, mark, self._sequence))

    def hang_up(self) -> Message:
        """See `CallerLeg`."""
        return render(Stop(self._sid, self._call_sid, self._sequence + 1))

    def read(self, message: Message) -> BotEvent | None:
        """See `CallerLeg`."""
        event = parse(message)
        if isinstance(event, Media):
            return BotAudio(ulaw_decode(np.frombuffer(event.payload, dtype=np.uint8)))
        if isinstance(event, Mark):
            return BotMark(event.name)
        if isinstance(event, Clear):
            return BotClears()
        return BotTells(event.kind, event.data) if isinstance(event, Trace) else None
