"""Which versions calls in progress use, so that a version is unloaded only after its last call.

    leases = CallLeases(catalogue, "replica 3f2a")
    leases.take([("barista_stt", 2)])     # when a call starts; returns at once
    leases.drop([("barista_stt", 2)])     # when it ends

A replica whose heartbeat stands still for `STALE_AFTER_S` is dead, or lost the catalogue: the others sweep its rows.
Each counts that by its own steady clock, from heartbeats it saw itself: the clocks of two hosts may differ, and a clock
that is set does not age anybody. What stands still for a day counts for nobody, also where no replica is left to sweep.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from parley.background import BackgroundLoop, Pace
from parley.database import UtcTime
from registry import tables as t
from registry.catalogue import Catalogue

HEARTBEAT = Pace(interval_s=5.0, retry_s=1.0, retry_at_most_s=5.0)
STALE_AFTER_S = 60.0
FORGOTTEN_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Lease:
    """A version in use by one replica's calls."""

    replica: str
    model: str
    version: int
    calls: int


def lease(c: sa.Connection, replica: str, calls: dict[tuple[str, int], int]) -> None:
    """Say what a replica uses now; what it used before counts no more."""
    now = datetime.now(UTC)
    c.execute(t.leases.delete().where(t.leases.c.replica == replica))
    rows = [
        {"replica": replica, "model": model, "version": version, "calls": count, "seen_at": now}
        for (model, version), count in sorted(calls.items())
        if count > 0
    ]
    if rows:
        c.execute(t.leases.insert(), rows)


def live(c: sa.Connection) -> list[Lease]:
    """Everything in use by replicas that nobody found dead."""
    alive = t.leases.c.seen_at >= datetime.now(UTC) - FORGOTTEN_AFTER
    query = sa.select(t.leases.c.replica, t.leases.c.model, t.leases.c.version, t.leases.c.calls).where(alive)
    return [Lease(*tuple(row)) for row in c.execute(query.order_by(t.leases.c.replica, t.leases.c.model))]


class Heartbeats:
    """Whose heartbeat stands still, as seen from here.

    Args:
        clock: seconds of a clock that nobody sets.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[str, tuple[datetime, float]] = {}

    def stopped(self, c: sa.Connection) -> list[str]:
        """Replicas whose rows have not changed for `STALE_AFTER_S` while this was looked at."""
        query = sa.select(t.leases.c.replica, sa.func.max(t.leases.c.seen_at, type_=UtcTime())).group_by(
            t.leases.c.replica
        )
        beats, now = {str(replica): beat for replica, beat in c.execute(query)}, self._clock()
        before = self._seen
        self._seen = {
            replica: before[replica] if replica in before and before[replica][0] == beat else (beat, now)
            for replica, beat in beats.items()
        }
        return [replica for replica, (_, since) in self._seen.items() if now - since >= STALE_AFTER_S]


def sweep(c: sa.Connection, replicas: Iterable[str]) -> None:
    """Remove what the dead used."""
    c.execute(t.leases.delete().where(t.leases.c.replica.in_(list(replicas))))


class CallLeases:
    """What this replica's calls use, reported by a thread of its own: a call never waits for the database.

    A version that comes into use or goes out of it is reported at once, the counts with the heartbeat. While the
    catalogue does not answer the calls go on, and the report is repeated until it does.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        replica: str,
        *,
        pace: Pace = HEARTBEAT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue, self._replica = catalogue, replica
        self._others = Heartbeats(clock)
        self._calls: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._reported = False
        """Whether the catalogue holds rows of this replica."""
        self.loop = BackgroundLoop(
            self._report,
            name="call-leases",
            pace=pace,
            failing="calls in progress cannot be reported",
            healed="calls in progress are reported again",
        ).start()

    def take(self, refs: Iterable[tuple[str, int]]) -> None:
        """A call that uses these versions starts."""
        self._count(refs, 1)

    def drop(self, refs: Iterable[tuple[str, int]]) -> None:
        """Such a call is over."""
        self._count(refs, -1)

    def in_use(self) -> dict[tuple[str, int], int]:
        """(model, version) to the calls that use it."""
        with self._lock:
            return dict(self._calls)

    def close(self) -> None:
        """Report that nothing is in use, if the catalogue answers, and end. Calls must be over."""
        self.loop.stop()
        with self._lock:
            self._calls.clear()
        if self._reported:
            self.loop.attempt()

    def _count(self, refs: Iterable[tuple[str, int]], change: int) -> None:
        with self._lock:
            before = set(self._calls)
            for ref in set(refs):
                self._calls[ref] += change
                if self._calls[ref] <= 0:
                    del self._calls[ref]
            changed = before != set(self._calls)
        if changed:
            self.loop.wake()

    def _report(self) -> None:
        """Bring the catalogue up to date.

        Raises:
            CatalogueUnavailable: it does not answer.
        """
        calls = self.in_use()
        with self._catalogue.read() as c:
            dead = [replica for replica in self._others.stopped(c) if replica != self._replica]
        if not calls and not self._reported and not dead:
            return
        with self._catalogue.write() as c:
            sweep(c, dead)
            lease(c, self._replica, calls)
        self._reported = bool(calls)
