"""How a process keeps up with the database: it asks for a version ten times a second, and reads only what changed.

with Follower(store.config_version, store.snapshot, empty=Snapshot(), name="experiments") as follower:
    follower.value          # an attribute read; never blocks, never fails
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Self, TypeVar

from parley.errors import ParleyError

POLL_S = 0.1
"""A look costs about a millisecond of one core; waiting for the next one is part of every rollback."""

T = TypeVar("T")
_log = logging.getLogger(__name__)


class Follower(Generic[T]):
    """Holds the newest state it could get; one daemon thread.

    While the source cannot be read the last state stays, and the log says so once, and once when it is back.
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
        """Follow nothing yet; ``start`` does.

        Args:
            version: cheap; another number means another state. Raises ParleyError where it cannot be read.
            snapshot: the whole state. Raises ParleyError where it cannot be read.
            empty: the state before the first one could be read.
            name: of what is followed, for the log.
            interval_s: between two looks.
            on_change: gets every new state, in the follower's thread.
        """
        self._version = version
        self._read = snapshot
        self._value = empty
        self._name = name
        self._interval_s = interval_s
        self._on_change = on_change
        self._seen: int | None = None
        self._stale = False
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def value(self) -> T:
        """The newest state."""
        return self._value

    @property
    def stale(self) -> bool:
        """Whether the last attempt to read the source failed."""
        return self._stale

    def start(self) -> Self:
        """Read the first state now and follow from then on."""
        if self._thread is None:
            self.poll()
            self._thread = threading.Thread(target=self._follow, name=f"{self._name}-follower", daemon=True)
            self._thread.start()
        return self

    def poll(self) -> bool:
        """Look once; True when the state changed. The thread does this; a test may."""
        try:
            # Asked before the state is read: what changes in between is seen by the next look.
            version = self._version()
            # Not "newer": a database restored from a backup goes back, and its followers go with it.
            if version == self._seen:
                self._recovered()
                return False
            value = self._read()
        except ParleyError as error:
            if not self._stale:
                self._stale = True
                _log.warning("%s cannot be read, version %s stays: %s", self._name, self._seen or 0, error)
            return False
        self._recovered()
        with self._changed:
            changed = value != self._value
            self._value, self._seen = value, version
            self._changed.notify_all()
        if changed and self._on_change is not None:
            self._on_change(value)
        return changed

    def wait_for(self, predicate: Callable[[T], bool], timeout_s: float) -> bool:
        """Wait until the state satisfies ``predicate``; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: predicate(self._value), timeout_s)

    def close(self) -> None:
        """Stop following; the last state stays readable."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _recovered(self) -> None:
        if self._stale:
            self._stale = False
            _log.info("%s can be read again", self._name)

    def _follow(self) -> None:
        while not self._closing.wait(self._interval_s):
            try:
                self.poll()
            except Exception:
                # A bug in a listener must not leave this process behind for ever; it is logged, and the next look runs.
                _log.exception("following the %s failed once", self._name)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
