"""The wires that a replica answers. One more is a module of its own, and a line here."""

from __future__ import annotations

from orchestrator.wires.contract import Wire
from orchestrator.wires.plain import PlainWire
from orchestrator.wires.twilio.wire import TwilioWire

WIRES: tuple[Wire, ...] = (
    TwilioWire(),
    PlainWire(),
)
