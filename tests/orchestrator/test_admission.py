"""The door of a replica, on a simulated clock: before a server whose requests take longer the more calls it has."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from orchestrator.admission import LEAST, Admission, MeteredEngine, first_limit, request_budget_s
from orchestrator.logs import CALL_ID
from parley.serving.engine import EngineTimeout, EngineUnavailable

BUDGET_S = request_budget_s(800, 400)
STEP_S = 0.05


class Server:
    """Requests of 12 ms on an idle machine; at ``fits`` calls they take the whole budget, beyond it ever more."""

    def __init__(self, fits: int, *, most: int = 40, first: int = 8) -> None:
        self.door = Admission(most, BUDGET_S, first)
        self.fits = fits
        self.now = 1000.0
        self.ends: list[float] = []
        self.taken = self.refused = self.peak = 0
        self.late_s = 0.0

    def request_s(self) -> float:
        free = max(0.02, 1 - len(self.ends) / (self.fits / (1 - 0.012 / BUDGET_S)))
        return 0.012 / free

    def run(self, seconds: float, a_second: float = 0.0, lasts: float = 15.0) -> None:
        """Offer calls of a length at a rate; the calls in progress make requests all the time."""
        owed = 0.0
        for step in range(round(seconds / STEP_S)):
            self.now += STEP_S
            self.ends = [end for end in self.ends if end > self.now]
            owed += a_second * STEP_S
            while owed >= 1:
                owed -= 1
                if self.door.admits(len(self.ends), self.now):
                    self.taken += 1
                    self.ends.append(self.now + lasts)
                else:
                    self.refused += 1
            took = self.request_s()
            for _ in self.ends[step % 4 :: 4]:  # each five times a second
                self.door.note("request", took, self.now)
            self.door.note("loop", took / 10, self.now)
            self.door.look(len(self.ends), self.now)
            self.peak = max(self.peak, len(self.ends))
            self.late_s += STEP_S * (took > BUDGET_S)


@pytest.mark.parametrize("fits", [6, 12, 20])
def test_more_calls_than_fit_are_refused_and_those_taken_stay_within_the_budget(fits: int) -> None:
    server = Server(fits)

    server.run(20, a_second=5)
    assert server.peak <= max(fits, 8)  # a burst, before anything is known
    server.late_s = server.taken = server.peak = 0
    server.run(120, a_second=5)

    assert server.refused > 0
    assert fits * 0.6 <= server.taken * 15 / 120
    assert server.peak <= fits + 1
    assert server.late_s <= 0.05 * 120


def test_a_machine_that_has_room_refuses_nobody() -> None:
    server = Server(1000)

    server.run(60, a_second=0.5)  # eight at once
    server.run(120, a_second=0.04)

    assert server.refused == 0


def test_the_limit_follows_demand_to_the_bound_and_no_further() -> None:
    server = Server(1000, most=30)

    server.run(180, a_second=5)

    assert server.door.limit == 30
    assert server.peak == 30


def test_after_a_bad_time_the_door_opens_again() -> None:
    server = Server(20)
    server.run(60, a_second=5)
    server.fits = 1  # something else takes the machine
    server.run(30, a_second=5)
    assert server.door.limit <= LEAST + 2
    server.fits = 20

    server.run(60)
    server.taken = server.refused = 0
    server.run(1.4, a_second=5)

    assert (server.taken, server.refused) == (7, 0)


def test_one_slow_turn_alone_does_not_close_the_door() -> None:
    door = Admission(40, BUDGET_S, 8)

    door.note("request", 1.9, 10.0)
    door.note("loop", 0.4, 10.0)

    assert door.admits(5, 10.1)
    assert door.limit == 8


def test_lag_closes_the_door_at_once_but_never_to_the_first_calls() -> None:
    door = Admission(40, BUDGET_S, 8)
    for _ in range(8):
        door.note("loop", 0.2, 10.0)

    assert not door.admits(5, 10.1)
    assert door.admits(LEAST - 1, 10.1)
    assert door.figures(10.1)["refused"] == 1


def test_the_bound_counts_whatever_the_lag_says() -> None:
    door = Admission(1, BUDGET_S, 8)

    assert door.admits(0, 1.0)
    assert not door.admits(1, 1.0)


def test_the_first_limit_follows_cores_and_is_shared_by_replicas() -> None:
    assert [first_limit(1), first_limit(2), first_limit(64), first_limit(2, 2), first_limit(1, 9)] == [3, 6, 16, 3, 2]


def test_requests_are_measured_where_a_call_waits_for_them() -> None:
    class Slow:
        fails: Exception | None = None

        async def infer(self, *_: Any, **__: Any) -> dict[str, np.ndarray]:
            if self.fails:
                raise self.fails
            return {}

        async def ready(self, *_: Any) -> bool:
            return True

        async def close(self) -> None:
            return None

    took: list[float] = []
    slow = Slow()
    engine = MeteredEngine(slow, took.append)

    async def ask(call: str, fails: Exception | None = None) -> None:
        CALL_ID.set(call)
        slow.fails = fails
        with suppress(EngineTimeout, EngineUnavailable):
            await engine.infer("m", 1, {})

    asyncio.run(ask(""))  # warming up
    assert took == []
    asyncio.run(ask("a"))
    asyncio.run(ask("a", EngineTimeout("late")))
    assert len(took) == 2
    asyncio.run(ask("a", EngineUnavailable("gone")))
    assert len(took) == 2
