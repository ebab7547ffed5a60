"""`kill -9` between every two steps of a piece of work, in a child: writes to files, and statements to the database.

for step in range(count_steps(work)):
    killed_before(step, work)
    ...                             # look: old or new, never a mixture
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

Work = Callable[[], None]
_EVENTS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.chmod", "os.link", "os.symlink", "fcntl.flock")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class _Steps:
    """Counts what changes something and dies before the step it was given."""

    def __init__(self, last: int | None) -> None:
        self.seen = 0
        self._last = last

    def step(self) -> None:
        if self.seen == self._last:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen += 1

    def watch(self) -> None:
        def audit(event: str, args: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(args[2], int) and args[2] & _WRITES
            if writes or event in _EVENTS:
                self.step()

        sys.addaudithook(audit)
        sa.event.listen(sa.Engine, "before_cursor_execute", self._statement)
        sa.event.listen(sa.Engine, "commit", lambda *_: self.step())

    def _statement(self, connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        # To die before a statement that only reads is to die after the last one that wrote.
        if statement.lstrip().partition(" ")[0].upper() in ("INSERT", "UPDATE", "DELETE"):
            self.step()


def count_steps(work: Work) -> int:
    """How many steps `work` takes; it is done once."""
    reader, writer = os.pipe()

    def counted(steps: _Steps) -> None:
        work()
        os.write(writer, str(steps.seen).encode())

    assert _in_child(counted, None) == 0, "the work failed"
    os.close(writer)
    with open(reader, "rb") as told:
        return int(told.read())


def killed_before(step: int, work: Work) -> None:
    """Do `work` in a child that dies before this step; a step that is not reached any more is no error."""
    status = _in_child(lambda _: work(), step)
    assert status in (0, -signal.SIGKILL), f"ended with {status}"


def _in_child(work: Callable[[_Steps], None], last: int | None) -> int:
    child = os.fork()
    if not child:
        status = 1
        try:
            steps = _Steps(last)
            steps.watch()
            work(steps)
            status = 0
        finally:
            # Nothing of the parent's test run may be cleaned up here.
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
