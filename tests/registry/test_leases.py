"""Calls in progress keep their versions loaded, and never wait for the catalogue."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from parley.background import Pace
from registry import tables as t
from registry.catalogue import Catalogue, CatalogueUnavailable
from registry.releasing.leases import FORGOTTEN_AFTER, STALE_AFTER_S, CallLeases, Heartbeats, Lease, lease, live

STT, NLU = ("b_stt", 1), ("b_nlu", 2)
RARE = Pace(interval_s=3600.0, retry_s=3600.0, retry_at_most_s=3600.0)
OFTEN = Pace(interval_s=0.02, retry_s=0.02, retry_at_most_s=0.02)


@pytest.fixture
def catalogue(database_url: str) -> Iterator[Catalogue]:
    with Catalogue(database_url) as opened:
        yield opened


def eventually(what: Callable[[], bool], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


def rows(catalogue: Catalogue) -> list[Lease]:
    with catalogue.read() as c:
        return live(c)


def test_versions_are_reported_when_they_come_into_use_and_go_out_of_it(catalogue: Catalogue) -> None:
    leases = CallLeases(catalogue, "r1", pace=RARE)  # nothing here waits for a heartbeat

    leases.take([STT, NLU])
    eventually(lambda: rows(catalogue) == [Lease("r1", *NLU, 1), Lease("r1", *STT, 1)])
    leases.take([STT])
    leases.drop([STT, NLU])
    eventually(lambda: rows(catalogue) == [Lease("r1", *STT, 1)])
    leases.drop([STT])
    eventually(lambda: rows(catalogue) == [])
    leases.close()


def test_counts_follow_with_the_heartbeat(catalogue: Catalogue) -> None:
    leases = CallLeases(catalogue, "r1", pace=OFTEN)

    for _ in range(3):
        leases.take([STT])

    eventually(lambda: rows(catalogue) == [Lease("r1", *STT, 3)])
    leases.close()
    assert rows(catalogue) == []


class Steady:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def beat(catalogue: Catalogue, replica: str, wrong_by: timedelta, at_s: float) -> None:
    """A heartbeat of a replica whose host's clock is wrong."""
    with catalogue.write() as c:
        lease(c, replica, {STT: 1})
        at = datetime.now(UTC) + wrong_by + timedelta(seconds=at_s)
        c.execute(t.leases.update().where(t.leases.c.replica == replica).values(seen_at=at))


WRONG = {"slow": timedelta(minutes=-5), "fast": timedelta(minutes=5)}


def test_hosts_whose_clocks_differ_by_minutes_keep_their_versions(catalogue: Catalogue) -> None:
    clock = Steady()
    heartbeats = Heartbeats(clock)

    for clock.now in range(0, 200, 5):
        for replica, wrong_by in WRONG.items():
            beat(catalogue, replica, wrong_by, clock.now)
        with catalogue.read() as c:
            assert heartbeats.stopped(c) == []
        assert {row.replica for row in rows(catalogue)} == set(WRONG)


@pytest.mark.parametrize("dead", WRONG)
def test_a_heartbeat_that_stands_still_is_counted_by_whoever_looks(catalogue: Catalogue, dead: str) -> None:
    clock = Steady()
    heartbeats = Heartbeats(clock)
    (alive,) = set(WRONG) - {dead}

    def look() -> list[str]:
        beat(catalogue, alive, WRONG[alive], clock.now)
        with catalogue.read() as c:
            return heartbeats.stopped(c)

    beat(catalogue, dead, WRONG[dead], 0)
    look()
    clock.now = STALE_AFTER_S - 1
    assert look() == []
    clock.now = STALE_AFTER_S
    assert look() == [dead]


def test_a_replica_that_died_is_swept_by_the_others_also_by_one_without_calls(catalogue: Catalogue) -> None:
    clock = Steady()
    with catalogue.write() as c:
        lease(c, "dead", {STT: 2})
    idle = CallLeases(catalogue, "idle", pace=OFTEN, clock=clock)
    eventually(lambda: bool(idle._others._seen))
    assert rows(catalogue) == [Lease("dead", *STT, 2)]

    clock.now = STALE_AFTER_S

    eventually(lambda: rows(catalogue) == [])
    idle.close()


def test_what_stood_still_for_a_day_counts_no_more(catalogue: Catalogue) -> None:
    with catalogue.write() as c:
        lease(c, "dead", {STT: 2})
        c.execute(t.leases.update().values(seen_at=datetime.now(UTC) - FORGOTTEN_AFTER))

    assert rows(catalogue) == []


class Unreachable:
    """A catalogue whose database hangs, then fails, then comes back."""

    def __init__(self, behind: Catalogue) -> None:
        self.behind, self.down, self.asked = behind, True, threading.Event()

    def read(self) -> Any:
        return self.write()

    def write(self) -> Any:
        self.asked.set()
        if self.down:
            raise CatalogueUnavailable("gone")
        return self.behind.write()


def test_a_call_never_waits_for_a_catalogue_that_is_gone_and_is_reported_when_it_is_back(catalogue: Catalogue) -> None:
    gone = Unreachable(catalogue)
    leases = CallLeases(gone, "r1", pace=OFTEN)  # type: ignore[arg-type]

    leases.take([STT])
    assert gone.asked.wait(20)
    assert leases.in_use() == {STT: 1}
    gone.down = False

    eventually(lambda: rows(catalogue) == [Lease("r1", *STT, 1)])
    leases.close()


def test_a_bug_while_reporting_does_not_end_the_reports(catalogue: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = Unreachable(catalogue)
    gone.down = False
    monkeypatch.setattr(gone, "write", lambda: 1 / 0)
    leases = CallLeases(gone, "r1", pace=OFTEN)  # type: ignore[arg-type]
    leases.take([STT])
    monkeypatch.undo()

    eventually(lambda: rows(catalogue) == [Lease("r1", *STT, 1)])
    leases.close()
