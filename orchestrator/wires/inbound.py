"""From media messages to one unbroken line of samples: order restored, losses filled, the sample clock right.

Gateways promise neither order nor arrival. A message that comes early waits for a few others (:mod:`.order`); what
never comes is replaced by silence of its length, as the timestamps tell it, where the wall clock bears them out
(:mod:`.budget`). Timestamps that jump are followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from orchestrator.wires.budget import NoBudget
from orchestrator.wires.order import Order
from orchestrator.wires.twilio import Media
from parley.g711 import ULAW_SILENCE

SAMPLES_PER_MS = 8
MAX_CONCEAL_SAMPLES = 40_000
"""Longest silence put in for one gap, 5 s. After a longer jump of the timestamps their origin is set anew."""
JITTER_SAMPLES = 160
"""Timestamps this far off are rounding, not loss."""
BACKWARDS_SAMPLES, BACKWARDS_AFTER = 1600, 10
"""Timestamps this far behind the audio, so many times in a row, have a new origin."""


class AudioBudget(Protocol):
    """How much may be taken: `orchestrator.wires.budget.Budget`."""

    def audio(self, samples: int) -> int: ...
    def silence(self, samples: int) -> int: ...


@dataclass
class InboundCounts:
    """What was wrong with the audio of a call."""

    messages: int = 0
    other_tracks: int = 0
    concealed_samples: int = 0
    clock_jumps: int = 0
    reordered: int = 0
    duplicate: int = 0
    late: int = 0
    new_origins: int = 0


class InboundAudio:
    """Restores order by chunk number (by sequence number where there is none) and time by timestamp.

    Messages with neither number are taken in the order they come.
    """

    def __init__(self, budget: AudioBudget | None = None) -> None:
        self._budget = budget or NoBudget()
        self._order = Order()
        self._counts = InboundCounts()
        self._origin_samples: int | None = None
        self._delivered = 0
        self._backwards = 0

    @property
    def counts(self) -> InboundCounts:
        """What was wrong so far."""
        order = self._order.counts
        self._counts.reordered, self._counts.duplicate = order.reordered, order.duplicate
        self._counts.late, self._counts.new_origins = order.late, order.new_origins
        return self._counts

    def figures(self) -> dict[str, float]:
        """What was wrong, for the log."""
        counts = self.counts
        return {
            "lost_ms": counts.concealed_samples / SAMPLES_PER_MS,
            "reordered": counts.reordered,
            "new_origins": counts.new_origins + counts.clock_jumps,
        }

    def push(self, media: Media) -> bytes:
        """Take one message; the mu-law bytes that are now in order, silence put in for what is lost."""
        self._counts.messages += 1
        if media.track.lower() not in ("inbound", "inbound_track"):
            self._counts.other_tracks += 1
            return b""
        if media.chunk is not None:
            return self._deliver(self._order.push(media.chunk, media, 1))
        if media.sequence is not None:
            return self._deliver(self._order.push(media.sequence, media, media.sequence))
        return self._deliver([media])

    def flush(self) -> bytes:
        """Everything that still waits: nothing more comes for now."""
        return self._deliver(self._order.flush())

    def _deliver(self, ready: list[Media]) -> bytes:
        return b"".join(part for media in ready for part in self._in_time(media))

    def _in_time(self, media: Media) -> tuple[bytes, bytes]:
        """The silence before a message, and what is taken of its audio."""
        missing = 0
        if media.timestamp_ms is not None:
            missing = self._missing(media.timestamp_ms * SAMPLES_PER_MS)
        taken = self._budget.audio(len(media.payload))
        self._delivered += missing + taken
        self._counts.concealed_samples += missing
        if self._origin_samples is not None:
            self._origin_samples += len(media.payload) - taken  # what is dropped is not lost: nothing fills it
        return bytes([ULAW_SILENCE]) * missing, media.payload[:taken]

    def _missing(self, timestamp_samples: int) -> int:
        """Samples lost before audio of this time, as far as silence is to be put in."""
        if self._origin_samples is None:
            self._origin_samples = timestamp_samples - self._delivered
            return 0
        gap = timestamp_samples - self._origin_samples - self._delivered
        self._backwards = self._backwards + 1 if gap < -BACKWARDS_SAMPLES else 0
        jumped = abs(gap) > MAX_CONCEAL_SAMPLES
        wanted = min(gap, MAX_CONCEAL_SAMPLES) if gap > JITTER_SAMPLES // 2 else 0
        filled = self._budget.silence(wanted) if wanted else 0
        if jumped or filled < wanted or self._backwards >= BACKWARDS_AFTER:
            self._counts.clock_jumps += 1
            self._backwards = 0
            self._origin_samples = timestamp_samples - self._delivered - filled
        return filled
