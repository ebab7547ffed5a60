"""A test caller over the plain wire: L16 at 16 kHz (`orchestrator.wires.plain`)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence

import numpy as np

from calling.wires.contract import BotAudio, BotClears, BotDoes, BotEvent, BotMark, BotTells, CallerLeg, Message
from orchestrator.wires.contract import WireError
from orchestrator.wires.plain import RATE
from parley.audio import Pcm

_L16 = np.dtype("<i2")


class PlainCallerWire:
    """See `calling.wires.contract.CallerWire`."""

    name, path, rate = "plain", "/plain", RATE

    def call(self) -> CallerLeg:
        """See `CallerWire`."""
        return PlainLeg()


class PlainLeg:
    """See `calling.wires.contract.CallerLeg`."""

    def begin(self, *, caller: str, greeting: bool) -> Sequence[Message]:
        """See `CallerLeg`."""
        call = f"P{uuid.uuid4().hex}"
        return [json.dumps({"event": "start", "call": call, "caller": caller, "trace": True, "greeting": greeting})]

    def audio(self, pcm: Pcm) -> tuple[Message, Pcm]:
        """See `CallerLeg`."""
        return pcm.astype(_L16, copy=False).tobytes(), pcm

    def played(self, mark: str) -> Message:
        """See `CallerLeg`."""
        return json.dumps({"event": "played", "mark": mark})

    def hang_up(self) -> Message:
        """See `CallerLeg`."""
        return json.dumps({"event": "hang_up"})

    def read(self, message: Message) -> BotEvent | None:
        """See `CallerLeg`."""
        if isinstance(message, bytes):
            return BotAudio(np.frombuffer(message, dtype=_L16).astype(np.int16, copy=False))
        try:
            fields = json.loads(message)
            event = fields["event"]
            if event == "mark":
                return BotMark(fields["mark"])
            if event == "clear":
                return BotClears()
            if event == "trace":
                return BotTells(fields["kind"], fields["data"])
            if event in ("key", "transfer"):
                return BotDoes(event, {name: value for name, value in fields.items() if name != "event"})
        except (ValueError, KeyError, TypeError) as error:
            raise WireError(f"message cannot be read ({type(error).__name__})") from None
        return None
