"""Who goes first on a machine that is full: what answers calls before what trains, renders and measures.

Niceness is the one thing that every user may give up and only root (or a user with `nice` in limits.conf) may take, so
both sides do what they can: training steps back, the server and the replicas step forward where they are let.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

FIRST, LAST = -5, 10


def put_first(pid: int, *, from_at_most: int = 19) -> bool:
    """Give every thread of a process a better niceness; Linux keeps it by thread.

    Args:
        from_at_most: threads that stand further back than this stay there.

    Returns:
        Whether the system allowed it. It does not for most users; then those who train step back all the same.
    """
    try:
        for thread in [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]:
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                if FIRST < os.getpriority(os.PRIO_PROCESS, thread) <= from_at_most:
                    os.setpriority(os.PRIO_PROCESS, thread, FIRST)
    except OSError:  # not Linux, or not allowed
        return False
    return True


@contextlib.contextmanager
def starting_first() -> Iterator[None]:
    """What this thread starts in the block has the better niceness from its first instruction, and so all its threads;
    where the system allows it."""
    thread = threading.get_native_id()
    before = os.getpriority(os.PRIO_PROCESS, thread)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, thread, min(FIRST, before))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread, before)


def put_session_first(leader: int) -> None:
    """Where the kernel groups processes by session (autogroup), niceness counts only inside one; a session has its own,
    which only root may better."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{leader}/autogroup").write_text(str(FIRST), encoding="ascii")


def step_back() -> None:
    """Let everything else go first from now on: for commands whose results nobody waits for on a line. A process that
    stands further back stays there."""
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) < LAST:
            os.setpriority(os.PRIO_PROCESS, 0, LAST)
