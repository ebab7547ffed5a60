"""Numbered packets put in order, whatever the numbers do: late, double, lost, wrapped, begun again, never counting.

A number a little above the next one waits for those before it. One that does not fit at all (far above, or below) is a
straggler, unless several come with nothing between that fits: then the count has a new origin, and they are where it
begins. So a gateway that restarts its counter is not heard for a few messages at most, and loses none of them.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from parley.audio import Pcm

REORDER_DEPTH = 4
"""Messages that may wait for an earlier one: 80 ms at 20 ms each."""
WINDOW = 64
"""Numbers this far above the next one may still belong to the same count."""
NEW_ORIGIN_AFTER = 5
"""Messages in a row that do not fit, after which the count is taken to have begun anew."""
MAX_ORIGINS = 20
"""A count that has begun anew so often in a call is none: messages are taken as they come from then on."""
REPEATS = 16
"""Messages that are remembered to know their repetition by, and repetitions in a row that are believed."""


@dataclass(frozen=True, slots=True)
class Packet:
    """A stretch of the caller's audio, as it came."""

    pcm: Pcm
    """int16 ``[n]``, at the wire's rate."""
    number: int | None = None
    """Its place in the gateway's count; None where it has none."""
    first: int = 1
    """The number that this count begins at."""
    timestamp: int | None = None
    """When it was said, in samples at the wire's rate from a moment of the gateway's choice; None if it is not told."""
    fingerprint: int = 0
    """The same for the same content: what a repetition is known by."""


@dataclass
class OrderCounts:
    """What was wrong with the order."""

    reordered: int = 0
    duplicate: int = 0
    late: int = 0
    new_origins: int = 0


class Order:
    """Restores the order of one call's numbered messages."""

    def __init__(self) -> None:
        self.counts = OrderCounts()
        self._next: int | None = None
        self._waiting: dict[int, Packet] = {}
        self._strangers: list[tuple[int, Packet]] = []
        self._recent: deque[tuple[int, int]] = deque(maxlen=REPEATS)
        self._repeats = 0

    def push(self, packet: Packet) -> list[Packet]:
        """Take a packet that has a number; those that are now in order."""
        assert packet.number is not None
        number, first = packet.number, packet.first
        if self.counts.new_origins >= MAX_ORIGINS:
            return [packet]
        if self._next is None:
            # A first message a little above the first number overtook others.
            self._next = first if first <= number <= first + REORDER_DEPTH - 1 else number
        if self._repeated(number, packet):
            return []
        if not self._next <= number < self._next + WINDOW:
            return self._stranger(number, packet)
        self.counts.late += len(self._strangers)
        self._strangers.clear()
        if number > self._next:
            self.counts.reordered += 1
        self._waiting[number] = packet
        return self._release()

    def flush(self) -> list[Packet]:
        """Everything that still waits: nothing more comes."""
        ready = [self._pop() for _ in range(len(self._waiting))]
        if len(self._strangers) > 1:
            ready += self._begin_anew()
            ready += [self._pop() for _ in range(len(self._waiting))]
        return ready

    def _repeated(self, number: int, packet: Packet) -> bool:
        """Whether this message was here before. Silence looks alike, so only so many repetitions are believed."""
        waits = number in self._waiting
        if not waits and (number, packet.fingerprint) not in self._recent or self._repeats >= REPEATS:
            return False
        self._repeats += 1
        if waits:
            self.counts.duplicate += 1
        else:
            self.counts.late += 1
        return True

    def _stranger(self, number: int, packet: Packet) -> list[Packet]:
        self._strangers.append((number, packet))
        return self._begin_anew() if len(self._strangers) >= NEW_ORIGIN_AFTER else []

    def _begin_anew(self) -> list[Packet]:
        """The count goes on from the strangers."""
        self.counts.new_origins += 1
        ready = [self._pop() for _ in range(len(self._waiting))]
        strangers, self._strangers = self._strangers, []
        numbers = [number for number, _ in strangers]
        lowest = min(numbers)
        counts_down = numbers == sorted(numbers, reverse=True)
        if len(set(numbers)) == len(numbers) and max(numbers) - lowest < WINDOW and not counts_down:
            self._waiting, self._next = dict(strangers), lowest
            return ready + self._release()
        self._next, self._repeats = numbers[-1] + 1, 0
        return ready + [packet for _, packet in strangers]

    def _release(self) -> list[Packet]:
        ready: list[Packet] = []
        while self._waiting and (self._next in self._waiting or len(self._waiting) > REORDER_DEPTH):
            ready.append(self._pop())
        return ready

    def _pop(self) -> Packet:
        number = min(self._waiting)
        packet = self._waiting.pop(number)
        self._next, self._repeats = number + 1, 0
        self._recent.append((number, packet.fingerprint))
        return packet
