"""What was really served: one row per call, turn and stage, written behind the call's back.

A call hands its rows over and goes on; one thread per process writes them in batches. A row that cannot be written
in the
end is counted and said, never lost in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice

from experiments.assignment import StageAssignment
from parley.database import DatabaseUnavailable
from parley.errors import ParleyError

BATCH = 500
GATHER_S = 0.2
RETRY_S = 0.5
MAX_PENDING = 50_000

_log = logging.getLogger(__name__)


class StoreUnavailable(DatabaseUnavailable):
    """The database is locked, absent or full just now; the same write may succeed later."""


@dataclass(frozen=True)
class Exposure:
    """One stage of one turn: the arm that was assigned and the version that answered."""

    call_id: str
    turn: int
    unit: str
    """Pseudonym; never the caller's number."""
    stage: str
    model: str
    version: int
    """The version that was served."""
    reason: str
    """``StageAssignment.reason``, or ``fallback`` where the assigned version failed and another answered."""
    experiment: str | None = None
    arm: str | None = None
    config_version: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


def exposures_of_turn(
    assignments: Mapping[str, StageAssignment],
    *,
    call_id: str,
    turn: int,
    unit: str,
    stages: Iterable[str] | None = None,
    fallbacks: Mapping[str, int] | None = None,
) -> list[Exposure]:
    """The rows of one turn.

    Args:
        assignments: what ``assign_call`` gave at the start of the call.
        stages: the stages this turn reached (a caller who hangs up hears no TTS); left out, all of them.
        fallbacks: stage to the version that answered instead of the assigned one.
    """
    served = fallbacks or {}
    return [
        Exposure(
            call_id=call_id,
            turn=turn,
            unit=unit,
            stage=stage,
            model=assignments[stage].model,
            version=served.get(stage, assignments[stage].version),
            reason="fallback" if stage in served else assignments[stage].reason,
            experiment=assignments[stage].experiment,
            arm=assignments[stage].arm,
            config_version=assignments[stage].config_version,
        )
        for stage in (assignments if stages is None else stages)
    ]


class ExposureWriter:
    """A bounded queue and the daemon thread that empties it through ``write``.

    ``write`` raises :class:`StoreUnavailable` to be called again later; rows that make it raise anything else are
    dropped.
    """

    def __init__(
        self, write: Callable[[Sequence[Exposure]], None], *, max_pending: int = MAX_PENDING, gather_s: float = GATHER_S
    ) -> None:
        self._write = write
        self._max_pending = max_pending
        self._gather_s = gather_s
        self._pending: deque[Exposure] = deque()
        self._state = threading.Condition()
        self._closing = threading.Event()
        self._give_up_at = float("inf")
        self._troubled = False
        self._thread: threading.Thread | None = None
        self.written = 0
        self.dropped = 0

    @property
    def pending(self) -> int:
        """Rows that were handed over and are not written yet."""
        return len(self._pending)

    def put(self, rows: Iterable[Exposure]) -> None:
        """Hand rows over; returns at once. Rows over the bound, or after ``close``, are dropped and counted."""
        new = list(rows)
        with self._state:
            closed = self._closing.is_set()
            room = 0 if closed else max(0, self._max_pending - len(self._pending))
            self._pending.extend(new[:room])
            if self._thread is None and not closed:
                self._thread = threading.Thread(target=self._run, name="exposure-writer", daemon=True)
                self._thread.start()
            self._state.notify_all()
        if len(new) > room:
            self._drop(len(new) - room, "the writer is closed" if closed else "the queue is full")

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until every row handed over is written or dropped; False when the time is over first."""
        with self._state:
            return self._state.wait_for(lambda: not self._pending, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, for at most ``timeout_s``; the rest is dropped and counted. May be called twice."""
        with self._state:
            self._give_up_at = min(self._give_up_at, time.monotonic() + timeout_s)
            self._closing.set()
            self._state.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
        with self._state:
            left = len(self._pending)
            self._pending.clear()
            self._state.notify_all()
        if left:
            self._drop(left, "the database could not be written before the end")

    def _run(self) -> None:
        while True:
            with self._state:
                self._state.wait_for(lambda: bool(self._pending) or self._closing.is_set())
                if not self._pending:
                    return
            self._closing.wait(self._gather_s)  # rows of a turn come one by one; a transaction each would be waste
            with self._state:
                batch = list(islice(self._pending, BATCH))
            settled = self._settle(batch)
            with self._state:
                for _ in range(min(settled, len(self._pending))):
                    self._pending.popleft()
                self._state.notify_all()
            if settled < len(batch):
                if time.monotonic() >= self._give_up_at:
                    return
                time.sleep(RETRY_S / 10) if self._closing.is_set() else self._closing.wait(RETRY_S)

    def _settle(self, batch: Sequence[Exposure]) -> int:
        """Write the batch, or as much of it as can be; how many rows, from the left, need no other attempt."""
        try:
            self._attempt(batch)
            return len(batch)
        except StoreUnavailable as error:
            self._say_once(error)
            return 0
        except Exception as error:
            if len(batch) == 1:
                self._drop(1, f"the row cannot be written ({type(error).__name__})")
                return 1
        # One bad row must not take its neighbours along: they were rolled back with it and go again, one by one.
        for index, row in enumerate(batch):
            if not self._settle([row]):
                return index
        return len(batch)

    def _attempt(self, rows: Sequence[Exposure]) -> None:
        self._write(rows)
        self.written += len(rows)
        if self._troubled:
            self._troubled = False
            _log.info("exposures are written again")

    def _say_once(self, error: ParleyError) -> None:
        if not self._troubled:
            self._troubled = True
            _log.warning("exposures wait in memory (at most %d rows): %s", self._max_pending, error)

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        _log.error("%d exposures lost (%d so far): %s", count, self.dropped, why)
