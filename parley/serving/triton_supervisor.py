"""Watches a Triton server and restarts it when it dies or hangs.

loop = supervise(server)        # a BackgroundLoop; TritonServer.supervise does this, and stops it
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from parley.background import BackgroundLoop, HealthNotes, Pace
from parley.errors import ParleyError


@dataclass(frozen=True)
class Supervision:
    """When a server is taken to hang, and how often one that dies is restarted."""

    interval_s: float = 0.25
    retry_at_most_s: float = 5.0
    """Between two tries of a restart that fails."""
    look_timeout_s: float = 1.0
    silent_looks: int = 3
    """A server that answers none of so many questions in a row hangs. They are counted, not timed: a machine that was
    paused for a minute has asked only once."""
    restarts: int = 5
    within_s: float = 60.0
    """So many restarts within this time are the most; then it rests until the oldest is older."""


SUPERVISION = Supervision()


class Supervised(Protocol):
    """What is watched; ``TritonServer`` is one."""

    log_path: Path

    @property
    def pid(self) -> int | None:
        """Process number while it runs."""
        ...

    def live(self, *, timeout_s: float) -> bool:
        """Whether it answers."""
        ...

    def raise_threads(self) -> None:
        """Let the threads that run models go first."""
        ...

    def end_hung(self) -> None:
        """End a process that does not answer."""
        ...

    def ensure_alive(self) -> bool:
        """Restart it if it died. Raises ParleyError where that fails."""
        ...


class Supervisor:
    """The looks at one server.

    Args:
        server: what is watched.
        rules: when it hangs, and how often it is restarted.
        notes: where the loop's health is written.
        clock: seconds of a clock that nobody sets.
    """

    def __init__(
        self,
        server: Supervised,
        rules: Supervision = SUPERVISION,
        *,
        notes: HealthNotes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._server, self._rules, self._clock = server, rules, clock
        self._silent = 0
        """Looks in a row that got no answer."""
        self._restarts: deque[float] = deque(maxlen=rules.restarts)
        self.loop = BackgroundLoop(
            self.look,
            name="triton-supervisor",
            pace=Pace(rules.interval_s, rules.interval_s, max(rules.interval_s, rules.retry_at_most_s)),
            failing="tritonserver is not there",
            healed="tritonserver is there again",
            notes=notes,
        )

    def look(self) -> None:
        """See that the server answers.

        Raises:
            ParleyError: it is gone and cannot be restarted, or was too often.
        """
        server, rules = self._server, self._rules
        if server.pid is not None:
            self._silent = 0 if server.live(timeout_s=rules.look_timeout_s) else self._silent + 1
            if self._silent < rules.silent_looks:
                server.raise_threads()
                return
            server.end_hung()
        self._silent = 0
        now = self._clock()
        if len(self._restarts) == rules.restarts and now - self._restarts[0] < rules.within_s:
            raise ParleyError(
                f"it died {rules.restarts} times within {rules.within_s:.0f} s and rests until they are over",
                where="tritonserver",
                mend=f"read {server.log_path}",
            )
        self._restarts.append(now)
        server.ensure_alive()
