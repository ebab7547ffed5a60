"""Opening a SQLite file so that nothing on the disk changes, whoever reads it and wherever it lies.

SQLite itself writes when it only reads: it makes the journal and its index beside a file in WAL mode. Here the index is
mapped read-only where somebody has the file open (or died with it), and where nobody has, the file alone is read.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import struct
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

_ATTEMPTS, _BETWEEN_S = 40, 0.05
_MOST_PUT_BY = 64
_put_by_handles: dict[tuple[int, int], list[int]] = {}
"""Device and inode of a file to the handles of it that nobody uses."""
_putting_by = threading.Lock()
_SHARED_FIRST, _SHARED_SIZE = 0x40000002, 510  # where SQLite's readers lock a file: https://sqlite.org/lockingv3.html


class _Looking(sqlite3.Connection):
    """A connection that holds a handle until it is closed."""

    held = -1

    def close(self) -> None:
        """Close it, and let go of the handle."""
        super().close()
        if self.held >= 0:
            _put_by(self.held)
            self.held = -1


def open_to_look(path: Path) -> sqlite3.Connection:
    """A connection that sees what is committed and leaves folder and files as they are.

    Raises:
        sqlite3.OperationalError: the file is not there, may not be read, or needs a writer first.
    """
    why = ""
    for attempt in range(_ATTEMPTS):
        try:
            return _open(path)
        except _Meanwhile as busy:
            why = str(busy)
        if attempt:
            time.sleep(_BETWEEN_S)
    raise sqlite3.OperationalError(why)


class _Meanwhile(Exception):
    """Somebody opens or closes the file just now, or it looks so."""

    def __init__(self, what: str = "it is opened and closed all the time") -> None:
        super().__init__(what)


def _open(path: Path) -> sqlite3.Connection:
    journal, index = (path.with_name(path.name + suffix) for suffix in ("-wal", "-shm"))
    if journal.exists() and index.exists():
        try:
            found = _connect(path, "readonly_shm=1")
            found.execute("SELECT 1 FROM sqlite_master").fetchone()
            return found
        except sqlite3.OperationalError as error:
            # Its last user may have taken both away in between, and another may be making them anew.
            moved = error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY)
            if journal.exists() and index.exists() and not moved:
                raise
            raise _Meanwhile(str(error)) from None
    if _size(journal):
        # Its last user is just folding it in. If not: a copy without its index, which nobody may read around.
        raise _Meanwhile("it lies beside a journal without an index, which a command that writes has to take up first")
    handle = _keep_unchanged(path)
    if journal.exists() and index.exists():
        _put_by(handle)
        raise _Meanwhile
    found = _connect(path, "immutable=1")
    found.held = handle
    return found


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _connect(path: Path, how: str) -> _Looking:
    uri = f"file:{quote(os.fsencode(path))}?mode=ro&{how}"
    return sqlite3.connect(uri, uri=True, timeout=1.0, check_same_thread=False, factory=_Looking)


def _keep_unchanged(path: Path) -> int:
    """A handle with a reader's lock: while it is held, whoever closes the file leaves its journal beside it.

    A lock of the open file, not of the process: SQLite's own handles in this process come and go.
    """
    try:
        handle = _handle_of(path)
    except OSError as error:
        raise sqlite3.OperationalError(str(error.strerror)) from None
    lock = struct.pack("hhqqi4x", fcntl.F_RDLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
    try:
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, lock)
    except OSError as error:
        if error.errno in (11, 13):  # EAGAIN, EACCES: the last writer is closing it
            _put_by(handle)
            raise _Meanwhile from None
    return handle  # without a lock where the file system has none


def _handle_of(path: Path) -> int:
    """A handle of the file: one that was put by, or a new one."""
    about = os.stat(path)
    with _putting_by:
        free = _put_by_handles.get((about.st_dev, about.st_ino))
        if free:
            return free.pop()
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _put_by(handle: int) -> None:
    """Unlock a handle without closing it.

    A process that closes any handle of a file loses all its locks there, those that SQLite holds for another connection
    too (fcntl(2); https://sqlite.org/howtocorrupt.html, 2.2). So handles are kept for the next who looks: those of the
    files looked at last.
    """
    nothing = struct.pack("hhqqi4x", fcntl.F_UNLCK, os.SEEK_SET, _SHARED_FIRST, _SHARED_SIZE, 0)
    with suppress(OSError):
        fcntl.fcntl(handle, fcntl.F_OFD_SETLK, nothing)
    about = os.fstat(handle)
    surplus: list[int] = []
    with _putting_by:
        file = (about.st_dev, about.st_ino)
        _put_by_handles[file] = [*_put_by_handles.pop(file, []), handle]
        if len(_put_by_handles) > _MOST_PUT_BY:
            surplus = _put_by_handles.pop(next(iter(_put_by_handles)))
    for old in surplus:
        os.close(old)
