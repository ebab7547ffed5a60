"""How a process keeps up with the database: it asks for a version ten times a second, and reads only what changed.

with Follower(store.config_version, store.snapshot, empty=Snapshot(), name="experiments") as follower:
    follower.value          # an attribute read; never blocks, never fails
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from parley.background import BackgroundLoop, Pace

POLL_S = 0.1
"""A look costs about a millisecond of one core (two indexed reads). Waiting for the next one is part of every rollback,
which has a second from the command to the last replica; most of it goes into starting the command."""
_RETRY_AT_MOST_S = 1.0

T = TypeVar("T")


class Follower(Generic[T]):
    """Holds the newest state it could get; while the source cannot be read the last one stays.

    Args:
        version: cheap; another number means another state. Raises ParleyError where it cannot be read.
        snapshot: the whole state. Raises ParleyError where it cannot be read.
        empty: the state before the first one could be read.
        name: of what is followed, for the log.
        interval_s: between two looks.
        on_change: gets every new state, in the follower's thread.
    """

    def __init__(
        self,
        version: Callable[[], int],
        snapshot: Callable[[], T],
        empty: T,
        name: str,
        interval_s: float = POLL_S,
        on_change: Callable[[T], None] | None = None,
    ) -> None:
        self._version = version
        self._read = snapshot
        self._value = empty
        self._on_change = on_change
        self._seen: int | None = None
        self._changed = threading.Condition()
        self.loop = BackgroundLoop(
            self._look,
            name=f"{name}-follower",
            pace=Pace(interval_s, interval_s, max(interval_s, _RETRY_AT_MOST_S)),
            failing=f"{name} cannot be followed, the last state stays",
            healed=f"{name} can be followed again",
        )

    @property
    def value(self) -> T:
        """The newest state."""
        return self._value

    @property
    def stale(self) -> bool:
        """Whether the last attempt to read the source failed."""
        return not self.loop.health.ok

    def start(self) -> Self:
        """Read the first state now and follow from then on."""
        if not self.loop.running:
            self.poll()
            self.loop.start()
        return self

    def poll(self) -> bool:
        """Look once, where no thread does; False when the source could not be read."""
        return self.loop.attempt()

    def wait_for(self, predicate: Callable[[T], bool], timeout_s: float) -> bool:
        """Wait until the state satisfies ``predicate``; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self._value), timeout_s)

    def close(self) -> None:
        """Stop following; the last state stays readable."""
        self.loop.stop()

    def _look(self) -> None:
        # Asked before the state is read: what changes in between is seen by the next look.
        version = self._version()
        # Not "newer": a database restored from a backup goes back, and its followers go with it.
        if version == self._seen:
            return
        value = self._read()
        with self._changed:
            changed = value != self._value
            self._value, self._seen = value, version
            self._changed.notify_all()
        if changed and self._on_change is not None:
            self._on_change(value)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
