"""Which versions calls in progress use, so that a version is unloaded only after its last call.

    leases = CallLeases(catalogue, "replica 3f2a")
    leases.take([("barista_stt", 2)])     # when a call starts; returns at once
    leases.drop([("barista_stt", 2)])     # when it ends

A replica whose heartbeat stands still for `STALE_AFTER_S` is dead, or lost the catalogue: the others sweep its rows.
Each counts that by its own steady clock, from heartbeats it saw itself: the clocks of two hosts may differ, and a clock
that is set does not age anybody. What stands still for a day counts for nobody, also where no replica is left to sweep.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import sqlalchemy as sa

from parley.database import UtcTime
from parley.errors import ParleyError
from registry import tables as t

if TYPE_CHECKING:
    from registry.catalogue import Catalogue

HEARTBEAT_S = 5.0
STALE_AFTER_S = 60.0
FORGOTTEN_AFTER = timedelta(days=1)
RETRY_S = 1.0
_log = logging.getLogger(__name__)


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
        heartbeat_s: float = HEARTBEAT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._catalogue, self._replica, self._heartbeat_s = catalogue, replica, heartbeat_s
        self._others = Heartbeats(clock)
        self._calls: Counter[tuple[str, int]] = Counter()
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._closing = threading.Event()
        self._reported = False
        """Whether the catalogue holds rows of this replica."""
        self._failing = False
        self._thread = threading.Thread(target=self._report, name="call-leases", daemon=True)
        self._thread.start()

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
        self._closing.set()
        self._news.set()
        self._thread.join(timeout=10)
        with self._lock:
            self._calls.clear()
        if self._reported:
            self._write()

    def _count(self, refs: Iterable[tuple[str, int]], change: int) -> None:
        with self._lock:
            before = set(self._calls)
            for ref in set(refs):
                self._calls[ref] += change
                if self._calls[ref] <= 0:
                    del self._calls[ref]
            moved = before != set(self._calls)
        if moved:
            self._news.set()

    def _report(self) -> None:
        wait_s = self._heartbeat_s
        while True:
            self._news.wait(wait_s)
            if self._closing.is_set():
                return
            self._news.clear()
            wait_s = self._heartbeat_s if self._write() else RETRY_S

    def _write(self) -> bool:
        """Bring the catalogue up to date; False when it does not answer."""
        calls = self.in_use()
        try:
            with self._catalogue.read() as c:
                dead = [replica for replica in self._others.stopped(c) if replica != self._replica]
            if not calls and not self._reported and not dead:
                return True
            with self._catalogue.write() as c:
                sweep(c, dead)
                lease(c, self._replica, calls)
        except ParleyError as error:
            if not self._failing:
                self._failing = True
                _log.warning("calls in progress cannot be reported: %s", error)
            return False
        except Exception:
            # A thread that dies would let versions be unloaded under calls: say it, and report again.
            _log.exception("reporting calls in progress failed")
            return False
        if self._failing:
            self._failing = False
            _log.info("calls in progress are reported again")
        self._reported = bool(calls)
        return True
