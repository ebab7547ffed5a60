"""What comes out of the order and the time of a wire's audio, in the bytes that went in: for tests of what is lost."""

from __future__ import annotations

from orchestrator.wires.inbound import InboundAudio
from orchestrator.wires.message_call import Ignored
from orchestrator.wires.twilio.messages import Media
from orchestrator.wires.twilio.wire import packet_of
from parley.g711 import ulaw_encode


def push(inbound: InboundAudio, media: Media) -> bytes:
    """Take a message of Twilio's; the mu-law bytes that are now in order."""
    packet = packet_of(media)
    return b"" if isinstance(packet, Ignored) else ulaw_encode(inbound.push(packet)).tobytes()


def flush(inbound: InboundAudio) -> bytes:
    """Everything that still waits."""
    return ulaw_encode(inbound.flush()).tobytes()
