"""What a process does beside its calls: one step, again and again, in a thread of its own.

    loop = BackgroundLoop(
        look, name="view-keeper", pace=Pace(interval_s=1.0, retry_s=1.0, retry_at_most_s=5.0),
        failing="what is served stays as it is", healed="what is served follows again",
    ).start()
    loop.wake()             # the next step runs now
    loop.health             # when it last went well, since when it fails and why
    loop.stop()

A step that fails is tried again, later each time; that it fails is said once, and once that it works again. A step
that fails never ends the loop.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from parley.errors import ParleyError
from parley.files import write_atomic

_log = logging.getLogger(__name__)
_MOST_DOUBLINGS = 30


@dataclass(frozen=True)
class Pace:
    """When a step runs again."""

    interval_s: float | None
    """After one that went well; None: only when woken."""
    retry_s: float
    """After one that failed; each further failure doubles it. Waking does not shorten this wait."""
    retry_at_most_s: float
    gather_s: float = 0.0
    """How long a wake waits for more to do, so that one step does it all."""

    def wait_s(self, failures: int) -> float | None:
        """Seconds until the next step after so many failures in a row; None: until woken."""
        if not failures:
            return self.interval_s
        return min(self.retry_s * 2.0 ** min(failures - 1, _MOST_DOUBLINGS), self.retry_at_most_s)


@dataclass(frozen=True)
class LoopHealth:
    """How a loop does. Times are UTC."""

    last_good: datetime | None = None
    """When a step last went well."""
    failing_since: datetime | None = None
    """When the first of the failures in a row was; None while all is well."""
    failures: int = 0
    """In a row, up to now."""
    error: str = ""
    """What the last step failed with."""
    kind: str = ""
    """Its class."""

    @property
    def ok(self) -> bool:
        """Whether the last step went well."""
        return self.failing_since is None

    def figures(self) -> dict[str, object]:
        """For ``/healthz``, which anybody may read: the class of the error only; the log has its text."""
        return {
            "ok": self.ok,
            "last_good": self.last_good.isoformat() if self.last_good else None,
            "failing_since": self.failing_since.isoformat() if self.failing_since else None,
            "failures": self.failures,
            "error": self.kind,
        }


class HealthNotes:
    """Health of loops that run in other processes of a site, as they wrote it: a file each, while they run.

    Args:
        folder: where the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    def of(cls, state_dir: Path) -> HealthNotes:
        """Those of a site."""
        return cls(state_dir / "loops")

    def write(self, name: str, health: LoopHealth) -> None:
        """Say how a loop of this process does. What cannot be written is left out: nothing waits for it."""
        with suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomic(self._folder / f"{name}.json", json.dumps({"pid": os.getpid(), **health.figures()}) + "\n")

    def remove(self, name: str) -> None:
        """The loop has ended."""
        with suppress(OSError):
            (self._folder / f"{name}.json").unlink(missing_ok=True)

    def read(self) -> dict[str, dict[str, object]]:
        """Figures by name, of processes that are there."""
        found = {}
        for path in sorted(self._folder.glob("*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                figures = json.loads(path.read_text(encoding="utf-8"))
                if Path(f"/proc/{int(figures.pop('pid'))}").exists():
                    found[path.stem] = figures
        return found


class BackgroundLoop:
    """One step, again and again, in a daemon thread.

    Args:
        step: what is done. A `ParleyError` is a trouble of the site, anything else a bug; both are tried again.
        name: of the thread, in logs and in health.
        pace: when the step runs again.
        failing: what it means that the step fails, for the log; the error follows.
        healed: what it means that it works again.
        notes: where it writes whether it is well, for other processes; None where this one shows it.
        now: the time, for health.
    """

    def __init__(
        self,
        step: Callable[[], object],
        *,
        name: str,
        pace: Pace,
        failing: str,
        healed: str,
        notes: HealthNotes | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = name
        self.pace = pace
        self._step = step
        self._failing, self._healed = failing, healed
        self._notes = notes
        self._now = now
        self._health = LoopHealth()
        self._said: set[str] = set()
        """Classes of errors that the log knows of since the step last went well."""
        self._state = threading.Condition()
        self._woken = self._stopping = False
        self._thread: threading.Thread | None = None

    @property
    def health(self) -> LoopHealth:
        """How it does now."""
        return self._health

    @property
    def running(self) -> bool:
        """Whether its thread is there; it outlives `stop` when a step hangs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> Self:
        """Begin, unless it has begun. The first step runs after the interval, or when woken.

        Raises:
            RuntimeError: no thread can be started now; a later `start` tries again.
        """
        with self._state:
            if self._thread is None and not self._stopping:
                thread = threading.Thread(target=self._run, name=self.name, daemon=True)
                thread.start()
                self._thread = thread
                self._write_note()
        return self

    def wake(self) -> None:
        """Have the next step run now; while steps fail, when its time comes."""
        with self._state:
            self._woken = True
            self._state.notify_all()

    def stop(self, timeout_s: float | None = 10.0) -> None:
        """End after the step that runs now, and wait for it at most so long. May be called twice, and by the step."""
        with self._state:
            self._stopping = True
            self._state.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        if self._notes is not None:
            self._notes.remove(self.name)

    def attempt(self) -> bool:
        """Run the step once; False when it failed. The thread does this; so may its owner while no thread runs."""
        try:
            self._step()
        except Exception as error:
            # Also a bug: a thread that dies leaves its process behind for ever, and nobody sees it.
            self._note_failure(error)
            return False
        self._note_success()
        return True

    def _run(self) -> None:
        while self._next():
            self.attempt()

    def _next(self) -> bool:
        """Wait for the next step; False when there is none."""
        failures = self._health.failures
        with self._state:
            self._state.wait_for(lambda: self._stopping or (self._woken and not failures), self.pace.wait_s(failures))
            if self._woken and not failures and self.pace.gather_s:
                self._state.wait_for(lambda: self._stopping, self.pace.gather_s)
            self._woken = False
            return not self._stopping

    def _note_success(self) -> None:
        before, self._health = self._health, LoopHealth(last_good=self._now())
        self._said.clear()
        if not before.ok:
            _log.info("%s", self._healed)
        if not before.ok or before.last_good is None:
            self._write_note()

    def _note_failure(self, error: Exception) -> None:
        kind = type(error).__name__
        if kind not in self._said:
            self._said.add(kind)
            _log.warning("%s: %s", self._failing, error, exc_info=None if isinstance(error, ParleyError) else error)
        self._health = replace(
            self._health,
            failing_since=self._health.failing_since or self._now(),
            failures=self._health.failures + 1,
            error=str(error),
            kind=kind,
        )
        if self._health.failures == 1:
            self._write_note()

    def _write_note(self) -> None:
        if self._notes is not None:
            self._notes.write(self.name, self._health)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
