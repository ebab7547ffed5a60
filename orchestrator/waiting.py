"""Connections whose call has not started: a gateway says ``start`` at once, so whoever is slow about it waits apart.

A newcomer counts as a call for a moment, for he is about to be one. Then he merely waits, in a room of its own size: he
takes no line, and where the room is full the one who waited longest makes place, as a half-open TCP connection does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST = 24
MOST_A_PEER = 12
"""Of these from one address. A machine's own address stands for everybody on it, and has no such limit."""
GRACE_S = 1.0
"""So long a newcomer counts as a call, and is not sent away."""


@dataclass(eq=False)
class Place:
    """One connection's place."""

    peer: str
    since: float
    send_away: Callable[[], None]
    started: bool = False
    sent_away: bool = False


class WaitingRoom:
    """The connections of a replica whose call has not started. Times are monotonic, in seconds."""

    def __init__(self, most: int = MOST, most_a_peer: int = MOST_A_PEER, grace_s: float = GRACE_S) -> None:
        self._most = most
        self._most_a_peer = most_a_peer
        self._grace_s = grace_s
        self._places: deque[Place] = deque()

    def __len__(self) -> int:
        return len(self._places)

    def newcomers(self, now: float) -> int:
        """Those who are about to be calls."""
        return sum(self._is_new(place, now) for place in self._places)

    def enter(self, peer: str, now: float, send_away: Callable[[], None], *, local: bool = False) -> Place | None:
        """A place, for which the longest waiting may be sent away; None where all of them have just come.

        Args:
            send_away: told, at most once, that the place is another's.
            local: whether ``peer`` stands for everybody on this machine.
        """
        theirs = [place for place in self._places if place.peer == peer]
        if not local and len(theirs) >= self._most_a_peer and not self._free(theirs[0], now):
            return None
        if len(self._places) >= self._most and not self._free(self._places[0], now):
            return None
        place = Place(peer, now, send_away)
        self._places.append(place)
        return place

    def leave(self, place: Place) -> None:
        """Its call started, or it is gone. Safe to call twice."""
        if place in self._places:
            self._places.remove(place)

    def is_new(self, place: Place, now: float) -> bool:
        """Whether it still counts as a call."""
        return place in self._places and self._is_new(place, now)

    def _is_new(self, place: Place, now: float) -> bool:
        return now - place.since < self._grace_s

    def _free(self, oldest: Place, now: float) -> bool:
        if self._is_new(oldest, now):
            return False
        self._places.remove(oldest)
        oldest.sent_away = True
        oldest.send_away()
        return True
