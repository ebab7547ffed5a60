"""Who goes first on a machine that is full: what answers calls before what trains, renders and measures.

Niceness is the one thing that every user may give up and only root (or a user with `nice` in limits.conf) may take, so
both sides do what they can: training steps back, the server and the replicas step forward where they are let.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

FIRST, LAST = -5, 10


def put_first(pid: int) -> bool:
    """Give a process that just began, or every thread of one that runs, a better niceness.

    Linux keeps niceness by thread; threads that begin later take it from theirs. Where the kernel groups processes by
    session (autogroup), niceness counts only inside a session, so the session's own is set too.

    Returns:
        Whether the system allowed it. It does not for most users; then those who train step back all the same.
    """
    try:
        for thread in list(Path(f"/proc/{pid}/task").iterdir()):
            with contextlib.suppress(ProcessLookupError):  # it ended meanwhile
                os.setpriority(os.PRIO_PROCESS, int(thread.name), FIRST)
    except OSError:  # not Linux, or not allowed
        return False
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(FIRST), encoding="ascii")
    return True


def step_back() -> None:
    """Let everything else go first from now on: for commands whose results nobody waits for on a line. A process that
    stands further back stays there."""
    with contextlib.suppress(OSError):
        if os.getpriority(os.PRIO_PROCESS, 0) < LAST:
            os.setpriority(os.PRIO_PROCESS, 0, LAST)
