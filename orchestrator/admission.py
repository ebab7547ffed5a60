"""How many calls a replica takes: learned from how late it is, never from a count that somebody guessed.

    admission = Admission(most=40, budget_s=0.066)
    admission.note("request", 0.012, now)       # every request to a model, every wake-up of the event loop
    if admission.admits(calls, now): ...

A turn of a call is a chain of requests to models, so the answer is late when the requests are. Two lags are measured:
what a request takes, and how much later than asked the event loop wakes up (it has to serve every call's audio). The
*strain* is the worse of the two in the last second, as a share of its budget; a quarter of the measurements, and one at
least, may be worse: one slow turn closes no door.

The limit is learned by additive growth and multiplicative decrease, as TCP learns a path's capacity (Jacobson 1988) and
Netflix's concurrency-limits a server's; judging by the delay of the last moments and not by a queue's length is from
CoDel (RFC 8289). What is special about calls is that they are long, and that the load of one is seen seconds after it
was taken. So a fresh replica begins with a few calls a core, the limit grows slowly, and only after a stretch of time
in which the calls that use it spoke and were answered without strain; while there is strain the door is closed at once.

The door does not look at a clock: time comes in, so that a test is a simulation.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

from numpy.typing import NDArray

from orchestrator.logs import CALL_ID
from parley.serving.engine import DEFAULT_TIMEOUT_S, Engine, EngineTimeout

Lag = Literal["request", "loop"]

REQUESTS_A_TURN = 6
"""Requests to models that an answer waits for, one after the other: the end of the STT, NLU, NLG, the first of TTS."""
LEAST_BUDGET_S = 0.02
WINDOW_S = 1.0
"""The strain is that of this last stretch."""
WORSE_SHARE = 0.25
PROBATION_S = 8.0
"""The limit grows when there was no strain for as long. Callers who came together speak together and are answered
together: less than a whole turn would show the quiet half of it only."""
CALM = 0.4
"""Less strain than this shows that more would fit."""
GROWTH, RECOVERY = 0.02, 0.1
"""A second, as a share of the limit: beyond what was ever tried here, and up to what a fresh replica takes."""
DECREASE = 0.8
DECREASE_EVERY_S = 2.0
LEAST = 2
"""Calls that are always taken: with fewer, lateness is not theirs."""
CALLS_A_CORE, MOST_AT_FIRST = 3, 16
"""What a fresh replica takes before anything is measured."""


def request_budget_s(answer_within_ms: int, end_of_turn_ms: int) -> float:
    """What one request of a turn may take, so that the answer comes in time after the silence that ends a turn."""
    return max(LEAST_BUDGET_S, (answer_within_ms - end_of_turn_ms) / 1000 / REQUESTS_A_TURN)


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def first_limit(cores: int, replicas: int = 1) -> int:
    """Calls that a fresh replica takes on a machine of so many cores, which it may share with others."""
    return max(LEAST, min(MOST_AT_FIRST, CALLS_A_CORE * cores // max(1, replicas)))


class Admission:
    """The door of one replica.

    Args:
        most: calls that are never exceeded.
        budget_s: what one request to a model may take.
        first: the limit before anything is measured.
    """

    def __init__(self, most: int, budget_s: float, first: int = MOST_AT_FIRST) -> None:
        self._most = most
        self._least = min(LEAST, most)
        self._first = min(first, most)
        # The loop is behind every part of a request, and wakes for each packet of each call besides.
        self._budgets: dict[Lag, float] = {"request": budget_s, "loop": budget_s / 2}
        self._lags: dict[Lag, deque[tuple[float, float]]] = {kind: deque(maxlen=2000) for kind in self._budgets}
        self._limit = float(self._first)
        self._looked: float | None = None
        self._strained = self._decreased = -PROBATION_S
        self.refused = 0
        """Calls refused since the start."""

    @property
    def limit(self) -> int:
        """Calls that fit, as known now."""
        return int(self._limit)

    def note(self, kind: Lag, lag_s: float, now: float) -> None:
        """Something took, or was late by, ``lag_s``; times are monotonic, in seconds."""
        self._lags[kind].append((now, lag_s))

    def strain(self, now: float) -> float:
        """The worse lag of the last moments as a share of its budget; 0 where nothing was measured."""
        return max(self._typical(kind, now) / budget for kind, budget in self._budgets.items())

    def look(self, calls: int, now: float) -> None:
        """Learn from what was measured; called often, with the calls in progress."""
        since, self._looked = min(1.0, now - (now if self._looked is None else self._looked)), now
        strain = self.strain(now)
        if strain >= CALM:
            self._strained = now
        if strain >= 1:
            if now - self._decreased >= DECREASE_EVERY_S:
                self._decreased = now
                self._limit = max(self._least, DECREASE * min(self._limit, max(calls, self._least)))
        elif now - self._strained >= PROBATION_S and (self._limit < self._first or calls >= self.limit):
            # A limit that nobody uses tells nothing about a higher one, but what was taken back comes back.
            rate = RECOVERY if self._limit < self._first else GROWTH
            self._limit = min(self._most, self._limit * (1 + rate * since))

    def admits(self, calls: int, now: float) -> bool:
        """Whether one more fits beside so many."""
        self.look(calls, now)
        fits = calls < min(self._most, max(self._least, self.limit))
        fits = fits and (calls < self._least or self.strain(now) < 1)
        self.refused += not fits
        return fits

    def figures(self, now: float) -> dict[str, float]:
        """For /healthz: what the door knows, lags in milliseconds."""
        lags = {f"{kind}_lag_ms": round(self._typical(kind, now) * 1000, 1) for kind in self._budgets}
        return {"limit": self.limit, "strain": round(self.strain(now), 2), "refused": self.refused, **lags}

    def _typical(self, kind: Lag, now: float) -> float:
        """The lag that three quarters of the last moments' measurements do not exceed, one at least left out."""
        known = self._lags[kind]
        while known and known[0][0] < now - WINDOW_S:
            known.popleft()
        kept = int(len(known) * (1 - WORSE_SHARE))
        return sorted(lag for _, lag in known)[kept - 1] if kept else 0.0


class MeteredEngine:
    """An engine whose requests, as far as calls make them, are measured. Warming up is not: nobody waits for it."""

    def __init__(self, engine: Engine, took: Callable[[float], None]) -> None:
        self._engine = engine
        self._took = took

    async def infer(
        self, model: str, version: int, inputs: Mapping[str, NDArray[Any]], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> dict[str, NDArray[Any]]:
        """See `parley.serving.engine.Engine`."""
        began = time.monotonic()
        try:
            answer = await self._engine.infer(model, version, inputs, timeout_s=timeout_s)
        except EngineTimeout:
            self._note(began)
            raise
        self._note(began)  # a request that fails at once is no sign of load; one that was not answered in time is
        return answer

    async def ready(self, model: str, version: int) -> bool:
        """See `parley.serving.engine.Engine`."""
        return await self._engine.ready(model, version)

    async def close(self) -> None:
        """See `parley.serving.engine.Engine`."""
        await self._engine.close()

    def _note(self, began: float) -> None:
        if CALL_ID.get():
            self._took(time.monotonic() - began)
