"""The wires that a test caller speaks. One more is a module of its own, and a line here."""

from __future__ import annotations

from calling.wires.contract import CallerWire
from calling.wires.plain import PlainCallerWire
from calling.wires.twilio import TwilioCallerWire

CALLER_WIRES: dict[str, CallerWire] = {
    wire.name: wire
    for wire in (
        TwilioCallerWire(),
        PlainCallerWire(),
    )
}
