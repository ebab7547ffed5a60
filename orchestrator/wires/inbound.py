"""From packets of audio to one unbroken line of samples: order restored, losses filled, the sample clock right.

Gateways promise neither order nor arrival. A packet that comes early waits for a few others (:mod:`.order`); what
never comes is replaced by silence of its length, as the timestamps tell it, where the wall clock bears them out
(:mod:`.budget`). Timestamps that jump are followed. Any wire's packets do: a websocket's messages, or RTP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from orchestrator.wires.budget import NoBudget
from orchestrator.wires.order import Order, Packet
from parley.audio import Pcm

MAX_CONCEAL_S = 5.0
"""Longest silence put in for one gap. After a longer jump of the timestamps their origin is set anew."""
JITTER_S = 0.01
"""Timestamps no further off are rounding, not loss."""
BACKWARDS_S, BACKWARDS_AFTER = 0.2, 10
"""Timestamps this far behind the audio, so many times in a row, have a new origin."""
_NOTHING = np.zeros(0, dtype=np.int16)


class AudioBudget(Protocol):
    """How much may be taken: `orchestrator.wires.budget.Budget`."""

    def audio(self, samples: int) -> int: ...
    def silence(self, samples: int) -> int: ...


@dataclass
class InboundCounts:
    """What was wrong with the audio of a call."""

    concealed_samples: int = 0
    clock_jumps: int = 0
    reordered: int = 0
    duplicate: int = 0
    late: int = 0
    new_origins: int = 0


class InboundAudio:
    """Restores order by the packets' numbers and time by their timestamps.

    Packets without a number are taken in the order they come.

    Args:
        rate: samples a second of the packets, in Hz.
        budget: what may be taken; None for all of it.
    """

    def __init__(self, rate: int, budget: AudioBudget | None = None) -> None:
        self._budget = budget or NoBudget()
        self._rate = rate
        self._jitter, self._most = round(JITTER_S * rate), round(MAX_CONCEAL_S * rate)
        self._far_behind = round(BACKWARDS_S * rate)
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
            "lost_ms": counts.concealed_samples * 1000 / self._rate,
            "reordered": counts.reordered,
            "new_origins": counts.new_origins + counts.clock_jumps,
        }

    def push(self, packet: Packet) -> Pcm:
        """Take one packet; the samples that are now in order, int16 ``[n]``, silence put in for what is lost."""
        if packet.number is None:
            return self._joined(self._in_time(packet))
        return self._deliver(self._order.push(packet))

    def flush(self) -> Pcm:
        """Everything that still waits: nothing more comes for now."""
        return self._deliver(self._order.flush())

    def _deliver(self, ready: list[Packet]) -> Pcm:
        return self._joined([part for packet in ready for part in self._in_time(packet)])

    @staticmethod
    def _joined(parts: list[Pcm]) -> Pcm:
        if not parts:
            return _NOTHING
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _in_time(self, packet: Packet) -> list[Pcm]:
        """The silence before a packet, if any, and what is taken of its audio."""
        missing = 0
        if packet.timestamp is not None:
            missing = self._missing(packet.timestamp)
        samples = len(packet.pcm)
        taken = self._budget.audio(samples)
        self._delivered += missing + taken
        self._counts.concealed_samples += missing
        if self._origin_samples is not None:
            self._origin_samples += samples - taken  # what is dropped is not lost: nothing fills it
        audio = packet.pcm if taken == samples else packet.pcm[:taken]
        return [np.zeros(missing, dtype=np.int16), audio] if missing else [audio]

    def _missing(self, timestamp_samples: int) -> int:
        """Samples lost before audio of this time, as far as silence is to be put in."""
        if self._origin_samples is None:
            self._origin_samples = timestamp_samples - self._delivered
            return 0
        gap = timestamp_samples - self._origin_samples - self._delivered
        self._backwards = self._backwards + 1 if gap < -self._far_behind else 0
        jumped = abs(gap) > self._most
        wanted = min(gap, self._most) if gap > self._jitter else 0
        filled = self._budget.silence(wanted) if wanted else 0
        if jumped or filled < wanted or self._backwards >= BACKWARDS_AFTER:
            self._counts.clock_jumps += 1
            self._backwards = 0
            self._origin_samples = timestamp_samples - self._delivered - filled
        return filled
