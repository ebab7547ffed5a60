"""A real PostgreSQL for the tests: one server a session, in a folder of its own, reachable by its socket only."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

START_WITHIN_S = 60.0
_MISSING = "PostgreSQL is not installed: run `make setup-dev` as root, or `apt-get install postgresql`"


def _binaries() -> Path:
    """The folder of the newest installed PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise AssertionError(_MISSING)
    return Path(on_path).resolve().parent


class PostgreSQL:
    """A running server that makes databases."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """The address of a database, as a site would write it."""
        return f"postgresql://parley@/{database}?host={self._socket}"

    def create(self) -> str:
        """A fresh, empty database's address."""
        name = f"test_{next(self._numbers)}"
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        return self.url(name)


def _fast_folder() -> Path | None:
    """Memory where the system lends enough: a database is some 300 files, made and removed for every test."""
    memory = Path("/dev/shm")
    return memory if memory.is_dir() and shutil.disk_usage(memory).free > 2 << 30 else None


@contextmanager
def running_postgresql() -> Iterator[PostgreSQL]:
    """Start a server in a folder of its own; it ends with the block, or with this process.

    Raises:
        AssertionError: PostgreSQL is not installed; says what to install.
    """
    binaries = _binaries()
    # A server refuses to run as root; the path must be short, because a socket's may have 107 characters.
    other: dict[str, Any] = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="parley-pg-", dir=_fast_folder()))
    if other:
        shutil.chown(home, "postgres", "postgres")
    try:
        data = home / "data"
        initdb = [binaries / "initdb", "-D", data, "-U", "parley", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run([*initdb, "--locale=C.UTF-8"], check=True, capture_output=True, cwd=home, **other)
        # Nothing here must survive: no syncing, and no orderly end.
        options = {"listen_addresses": "", "unix_socket_directories": home, "fsync": "off", "max_connections": 200}
        command = ["setpriv", "--pdeathsig", "QUIT", binaries / "postgres", "-D", data]
        command += [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        with (home / "log").open("wb") as log, subprocess.Popen(command, stderr=log, cwd=home, **other) as server:
            try:
                yield _answering(PostgreSQL(home), server, home / "log")
            finally:
                server.send_signal(signal.SIGQUIT)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _answering(started: PostgreSQL, server: subprocess.Popen[bytes], log: Path) -> PostgreSQL:
    give_up_at = time.monotonic() + START_WITHIN_S
    while True:
        try:
            psycopg.connect(started.url("postgres")).close()
            return started
        except psycopg.OperationalError:
            assert server.poll() is None and time.monotonic() < give_up_at, log.read_text()
            time.sleep(0.05)
