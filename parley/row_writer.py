"""Rows that are written behind a call's back.

A call hands its rows over and goes on; one thread per process writes them in batches, in the order they came. A row
that cannot be written in the end is counted and said, never lost in silence.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Generic, TypeVar

from parley.database import DatabaseUnavailable
from parley.errors import ParleyError

BATCH = 500
GATHER_S = 0.2
RETRY_S = 0.5
MAX_PENDING = 50_000

_log = logging.getLogger(__name__)
RowT = TypeVar("RowT")


class RowWriter(Generic[RowT]):
    """A bounded queue and the daemon thread that empties it through ``write``.

    Args:
        write: one transaction; raises :class:`DatabaseUnavailable` to be called again later. Rows that make it raise
            anything else are dropped.
        max_pending: rows that may wait.
        gather_s: how long a batch waits for more.
    """

    def __init__(
        self, write: Callable[[Sequence[RowT]], None], *, max_pending: int = MAX_PENDING, gather_s: float = GATHER_S
    ) -> None:
        self._write = write
        self._max_pending = max_pending
        self._gather_s = gather_s
        self._pending: deque[RowT] = deque()
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

    def put(self, rows: Iterable[RowT]) -> None:
        """Hand rows over; returns at once. Rows over the bound, or after ``close``, are dropped and counted."""
        new = list(rows)
        with self._state:
            closed = self._closing.is_set()
            room = 0 if closed else max(0, self._max_pending - len(self._pending))
            self._pending.extend(new[:room])
            if self._thread is None and not closed:
                self._thread = threading.Thread(target=self._run, name="row-writer", daemon=True)
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

    def _settle(self, batch: Sequence[RowT]) -> int:
        """Write the batch, or as much of it as can be; how many rows, from the left, need no other attempt."""
        try:
            self._attempt(batch)
            return len(batch)
        except DatabaseUnavailable as error:
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

    def _attempt(self, rows: Sequence[RowT]) -> None:
        self._write(rows)
        self.written += len(rows)
        if self._troubled:
            self._troubled = False
            _log.info("rows of calls are written again")

    def _say_once(self, error: ParleyError) -> None:
        if not self._troubled:
            self._troubled = True
            _log.warning("rows of calls wait in memory (at most %d): %s", self._max_pending, error)

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        _log.error("%d rows of calls lost (%d so far): %s", count, self.dropped, why)
