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

from parley.background import BackgroundLoop, Pace
from parley.database import DatabaseUnavailable

BATCH = 500
MAX_PENDING = 50_000
WRITING = Pace(interval_s=None, retry_s=0.5, retry_at_most_s=5.0, gather_s=0.2)
"""Rows of a turn come one by one; a transaction each would be waste."""
_LAST_TRIES_S = 0.05
"""Between two tries of a writer that closes."""

_log = logging.getLogger(__name__)
RowT = TypeVar("RowT")


class RowWriter(Generic[RowT]):
    """A bounded queue and the background loop that empties it through ``write``.

    Args:
        write: one transaction; raises :class:`DatabaseUnavailable` to be called again later. Rows that make it raise
            anything else are dropped.
        max_pending: rows that may wait.
        pace: how long a batch waits for more, and how long after a failure.
    """

    def __init__(
        self, write: Callable[[Sequence[RowT]], None], *, max_pending: int = MAX_PENDING, pace: Pace = WRITING
    ) -> None:
        self._write = write
        self._max_pending = max_pending
        self._pending: deque[RowT] = deque()
        self._state = threading.Condition()
        self._closed = False
        self.written = 0
        self.dropped = 0
        self.loop = BackgroundLoop(
            self._empty,
            name="row-writer",
            pace=pace,
            failing=f"rows of calls wait in memory (at most {max_pending})",
            healed="rows of calls are written again",
        )

    @property
    def pending(self) -> int:
        """Rows that were handed over and are not written yet."""
        return len(self._pending)

    def put(self, rows: Iterable[RowT]) -> None:
        """Hand rows over; returns at once. Rows over the bound, or after ``close``, are dropped and counted.

        Raises:
            RuntimeError: no thread can be started now; the rows wait for the next ones, or for ``close``.
        """
        new = list(rows)
        with self._state:
            closed = self._closed
            room = 0 if closed else max(0, self._max_pending - len(self._pending))
            self._pending.extend(new[:room])
        if len(new) > room:
            self._drop(len(new) - room, "the writer is closed" if closed else "the queue is full")
        if not closed:
            self.loop.start().wake()

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until every row handed over is written or dropped; False when the time is over first."""
        with self._state:
            return self._state.wait_for(lambda: not self._pending, timeout_s)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is left, for at most ``timeout_s``; the rest is dropped and counted. May be called twice."""
        give_up_at = time.monotonic() + timeout_s
        with self._state:
            self._closed = True
        self.loop.stop(timeout_s)
        while self._pending and not self.loop.running and not self.loop.attempt() and time.monotonic() < give_up_at:
            time.sleep(_LAST_TRIES_S)
        with self._state:
            left = len(self._pending)
            self._pending.clear()
            self._state.notify_all()
        if left:
            self._drop(left, "the database could not be written before the end")

    def _empty(self) -> None:
        """Write what waits, oldest first.

        Raises:
            DatabaseUnavailable: not all of it could be written; the rest waits.
        """
        while True:
            with self._state:
                batch = list(islice(self._pending, BATCH))
            if not batch:
                return
            self._settle(batch)

    def _settle(self, batch: Sequence[RowT]) -> None:
        """Write the oldest rows or drop them. Raises as `_empty`."""
        try:
            self._write(batch)
        except DatabaseUnavailable:
            raise
        except Exception as error:
            if len(batch) > 1:
                # One bad row must not take its neighbours along: they were rolled back with it and go one by one.
                for row in batch:
                    self._settle([row])
                return
            self._drop(1, f"the row cannot be written ({type(error).__name__})")
        else:
            self.written += len(batch)
        with self._state:
            for _ in range(min(len(batch), len(self._pending))):
                self._pending.popleft()
            self._state.notify_all()

    def _drop(self, count: int, why: str) -> None:
        self.dropped += count
        _log.error("%d rows of calls lost (%d so far): %s", count, self.dropped, why)
