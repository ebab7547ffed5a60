"""How a replica keeps up with the product owner: it asks for the version four times a second.

with SnapshotFollower(store) as follower:
    follower.snapshot          # an attribute read; never blocks, never fails
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Protocol

from experiments.assignment import Snapshot
from parley.errors import ParleyError

POLL_S = 0.25

_log = logging.getLogger(__name__)


class SnapshotSource(Protocol):
    """What is followed; ``ExperimentStore`` is one."""

    def config_version(self) -> int:
        """The version of the newest change, 0 before the first."""
        ...

    def snapshot(self) -> Snapshot:
        """All experiments in one consistent state."""
        ...


class SnapshotFollower:
    """Holds the newest snapshot it could get; one daemon thread per process.

    While the source cannot be read the last snapshot stays, and the log says so once, and once when it is back.
    """

    def __init__(
        self,
        source: SnapshotSource,
        interval_s: float = POLL_S,
        on_change: Callable[[Snapshot], None] | None = None,
    ) -> None:
        self._source = source
        self._interval_s = interval_s
        self._on_change = on_change
        self._snapshot = Snapshot()
        self._stale = False
        self._loaded = False
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The newest snapshot; before the first one could be read, an empty one."""
        return self._snapshot

    @property
    def stale(self) -> bool:
        """Whether the last attempt to read the source failed."""
        return self._stale

    def start(self) -> SnapshotFollower:
        """Read the first snapshot now and follow from then on."""
        if self._thread is None:
            self.poll()
            self._thread = threading.Thread(target=self._follow, name="experiments-follower", daemon=True)
            self._thread.start()
        return self

    def poll(self) -> bool:
        """Look once; True when the snapshot changed. The thread does this; a test may."""
        try:
            # Not "newer": a database restored from a backup goes back, and replicas go with it.
            if self._loaded and self._source.config_version() == self._snapshot.config_version:
                self._recovered()
                return False
            snapshot = self._source.snapshot()
        except ParleyError as error:
            if not self._stale:
                self._stale = True
                _log.warning("experiments cannot be read, version %d stays: %s", self._snapshot.config_version, error)
            return False
        self._recovered()
        with self._changed:
            changed = snapshot != self._snapshot
            self._snapshot, self._loaded = snapshot, True
            self._changed.notify_all()
        if changed and self._on_change is not None:
            self._on_change(snapshot)
        return changed

    def wait_for(self, config_version: int, timeout_s: float) -> bool:
        """Wait until the snapshot is at least at ``config_version``; False when the time is over first."""
        with self._changed:
            return self._changed.wait_for(lambda: self._snapshot.config_version >= config_version, timeout_s)

    def close(self) -> None:
        """Stop following; the last snapshot stays readable."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _recovered(self) -> None:
        if self._stale:
            self._stale = False
            _log.info("experiments can be read again")

    def _follow(self) -> None:
        while not self._closing.wait(self._interval_s):
            try:
                self.poll()
            except Exception:
                # A bug in a listener must not leave this replica behind for ever; it is logged, and the next poll runs.
                _log.exception("following the experiments failed once")

    def __enter__(self) -> SnapshotFollower:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
