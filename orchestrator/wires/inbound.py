"""From media messages to one unbroken line of samples: order restored, losses filled, the sample clock right.

Gateways promise neither order nor arrival. A message that comes early waits for a few others; what never comes is
replaced by silence of its length, as the timestamps tell it, up to a cap.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.wires.twilio import Media
from parley.g711 import ULAW_SILENCE

SAMPLES_PER_MS = 8
REORDER_DEPTH = 4
"""Messages that may wait for an earlier one: 80 ms at 20 ms each."""
MAX_CONCEAL_SAMPLES = 40_000
"""Longest silence put in for one gap, 5 s. After a longer jump of the timestamps their origin is set anew."""
JITTER_SAMPLES = 160
"""Timestamps this far off are rounding, not loss."""


@dataclass
class InboundCounts:
    """What was wrong with the audio of a call."""

    messages: int = 0
    reordered: int = 0
    duplicate: int = 0
    late: int = 0
    concealed_samples: int = 0
    clock_jumps: int = 0


class InboundAudio:
    """Restores order by chunk number (by sequence number where there is none) and time by timestamp.

    Messages with neither number are taken in the order they come.
    """

    def __init__(self) -> None:
        self.counts = InboundCounts()
        self._waiting: dict[int, Media] = {}
        self._next: int | None = None
        self._origin_samples: int | None = None
        self._delivered = 0

    def push(self, media: Media) -> bytes:
        """Take one message; the mu-law bytes that are now in order, silence put in for what is lost."""
        self.counts.messages += 1
        if media.track not in ("inbound", "inbound_track"):
            return b""
        number = media.chunk if media.chunk is not None else media.sequence
        if number is None:
            return self._deliver(media)
        if self._next is None:
            # Chunks are counted from 1; a first message a little above it overtook others.
            self._next = 1 if media.chunk is not None and 1 <= number <= REORDER_DEPTH else number
        if number < self._next:
            self.counts.late += 1
            return b""
        if number in self._waiting:
            self.counts.duplicate += 1
            return b""
        if number > self._next:
            self.counts.reordered += 1
        self._waiting[number] = media
        return self._release()

    def flush(self) -> bytes:
        """Everything that still waits, at the end of the call."""
        audio = b""
        while self._waiting:
            audio += self._pop()
        return audio

    def _release(self) -> bytes:
        audio = b""
        while self._waiting and (self._next in self._waiting or len(self._waiting) > REORDER_DEPTH):
            audio += self._pop()
        return audio

    def _pop(self) -> bytes:
        number = min(self._waiting)
        media = self._waiting.pop(number)
        self._next = number + 1
        return self._deliver(media)

    def _deliver(self, media: Media) -> bytes:
        silence = b""
        if media.timestamp_ms is not None:
            silence = bytes([ULAW_SILENCE]) * self._missing(media.timestamp_ms * SAMPLES_PER_MS)
        self._delivered += len(silence) + len(media.payload)
        self.counts.concealed_samples += len(silence)
        return silence + media.payload

    def _missing(self, timestamp_samples: int) -> int:
        """Samples lost before audio of this time."""
        if self._origin_samples is None:
            self._origin_samples = timestamp_samples - self._delivered
            return 0
        gap = timestamp_samples - self._origin_samples - self._delivered
        if abs(gap) > MAX_CONCEAL_SAMPLES:
            self.counts.clock_jumps += 1
            filled = MAX_CONCEAL_SAMPLES if gap > 0 else 0
            self._origin_samples = timestamp_samples - self._delivered - filled
            return filled
        return gap if gap > JITTER_SAMPLES // 2 else 0
