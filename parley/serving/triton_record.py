"""The note a running server leaves in the state folder, by which another process finds it, talks to it and stops it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import stat
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from parley.files import write_atomic

RECORD = "triton.json"
SHARED_MEMORY = Path("/dev/shm")


class ServerRecord(BaseModel):
    """Who runs where; `started` tells a process from a later one that got the same number."""

    model_config = ConfigDict(frozen=True)

    pid: int
    started: int
    """Start of the process in clock ticks since boot (field 22 of /proc/PID/stat)."""
    owner_pid: int
    """Process that will stop the server at its end; 0 when it was started to stay."""
    owner_started: int
    grpc: str
    http: str
    metrics: str

    @property
    def alive(self) -> bool:
        """Whether the very server that wrote this still runs."""
        return process_started(self.pid) == self.started

    @property
    def orphaned(self) -> bool:
        """Whether the server runs on although the process that owned it is gone."""
        return self.alive and self.owner_pid != 0 and process_started(self.owner_pid) != self.owner_started


def process_started(pid: int) -> int | None:
    """Start time of a live process in clock ticks since boot; None when there is none (or it is a zombie)."""
    try:
        # The command name may hold spaces and brackets; the fields proper begin after its last bracket.
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def write_record(state_dir: Path, record: ServerRecord) -> None:
    """Write the note, readable for this user only: it says where the server can be told what to serve."""
    previous = os.umask(0o077)
    try:
        write_atomic(state_dir / RECORD, record.model_dump_json(indent=2) + "\n")
        (state_dir / RECORD).chmod(0o600)
    finally:
        os.umask(previous)


def read_record(state_dir: Path) -> ServerRecord | None:
    """The note of a server that still runs; None when there is none."""
    record = _noted(state_dir)
    return record if record is not None and record.alive else None


def clear_record(state_dir: Path, pid: int) -> None:
    """Remove the note if it is of this server."""
    record = _noted(state_dir)
    if record is not None and record.pid == pid:
        (state_dir / RECORD).unlink(missing_ok=True)


def sweep_dead(state_dir: Path, memory: Path = SHARED_MEMORY) -> None:
    """Remove what dead servers left: processes of this site's, its note and sockets, and shared memory, which servers
    of earlier releases filled with callers' voices for everybody to read."""
    record = _noted(state_dir)
    if record is not None and not record.alive:
        if process_started(record.pid) is None:  # else its number is another process's by now
            sweep_group(record.pid)
        clear_record(state_dir, record.pid)
        _remove_sockets(record)
    for path in abandoned_memory(memory):
        path.unlink(missing_ok=True)


def abandoned_memory(memory: Path = SHARED_MEMORY) -> list[Path]:
    """Shared memory of this user's servers that no process of his has open."""
    found = {str(path): path for path in memory.glob("parley-*") if _is_own_file(path)}
    for maps in Path("/proc").glob("[0-9]*/maps") if found else ():
        with contextlib.suppress(OSError):
            text = maps.read_text(encoding="utf-8", errors="replace")
            for name in [name for name in found if name in text]:
                del found[name]
    return sorted(found.values())


def _is_own_file(path: Path) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_uid == os.getuid()


def _noted(state_dir: Path) -> ServerRecord | None:
    try:
        return ServerRecord.model_validate_json((state_dir / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValidationError):
        return None


def stop_recorded(state_dir: Path, *, grace_s: float = 10.0) -> bool:
    """Stop the server that `state_dir` knows of, by its own number, whoever started it. False when none runs."""
    record = read_record(state_dir)
    if record is None:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(record.pid, signal.SIGTERM)
    end = time.monotonic() + grace_s
    while record.alive and time.monotonic() < end:
        time.sleep(0.05)
    sweep_group(record.pid)
    clear_record(state_dir, record.pid)
    _remove_sockets(record)
    return True


def _remove_sockets(record: ServerRecord) -> None:
    """Those in a temporary folder of their own; in the state folder the next server clears the place."""
    folder = Path(record.grpc.removeprefix("unix:")).parent
    if folder.name.startswith("parley-triton-") and not folder.is_symlink():
        shutil.rmtree(folder, ignore_errors=True)


def sweep_group(pid: int) -> None:
    """End what is left of a server's process group (its checks, or itself when it does not stop)."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
