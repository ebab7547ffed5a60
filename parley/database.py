"""Opening a database so that several processes may write: what differs between SQLite and the others lives here."""

from __future__ import annotations

import sqlite3
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, NoSuchModuleError
from sqlalchemy.pool import NullPool

from parley.errors import ParleyError

_WAL_ATTEMPTS = 20
_WRITING = "parley_writing"


class UtcTime(sa.types.TypeDecorator[datetime]):
    """Aware datetimes in and out, stored as UTC; SQLite would forget the zone."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """To UTC without a zone."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """From UTC without a zone."""
        return None if value is None else value.replace(tzinfo=UTC)


def connect(url: str, busy_timeout_s: float) -> tuple[sa.Engine, str]:
    """An engine, and how to name its place to a person (without a password).

    Raises:
        ParleyError: the address is none, its driver is missing, or a SQLite file cannot be made.
    """
    try:
        parsed = sa.engine.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sa.create_engine(parsed, pool_pre_ping=True), parsed.render_as_string(hide_password=True)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        missing = isinstance(error, ModuleNotFoundError)
        raise ParleyError(
            "the database's driver is not installed" if missing else "not a database address",
            where="database",
            mend="install it" if missing else "use sqlite:///FILE or postgresql+psycopg://…",
        ) from None
    if not parsed.database or parsed.database == ":memory:":
        raise ParleyError("a database in memory has no other readers", where=url, mend="use sqlite:///FILE")
    path = Path(parsed.database)
    return _sqlite_engine(path, busy_timeout_s), str(path)


def _sqlite_engine(path: Path, busy_timeout_s: float) -> sa.Engine:
    """SQLite in WAL mode: readers never wait, and writers wait for each other for ``busy_timeout_s``."""
    _make_wal(path, busy_timeout_s)

    def open_existing() -> sqlite3.Connection:
        # mode=rw: a removed file must be an error, not a new empty database without experiments.
        uri = f"file:{quote(str(path))}?mode=rw"
        opened = sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, check_same_thread=False)
        opened.isolation_level = None  # the driver must not begin transactions: _begin below does
        return opened

    # NullPool: a kept connection would go on reading a file that was replaced; opening one takes a fraction of a
    # millisecond.
    engine = sa.create_engine("sqlite://", creator=open_existing, poolclass=NullPool)

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        # A transaction that reads first and writes later fails at once when another wrote meanwhile; IMMEDIATE waits
        # its turn.
        writing = connection.get_execution_options().get(_WRITING)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


def _make_wal(path: Path, busy_timeout_s: float) -> None:
    """Make the file where it is missing and switch it to WAL, which stays with the file."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_WAL_ATTEMPTS):
            opened = sqlite3.connect(path, timeout=busy_timeout_s)
            try:
                opened.execute("PRAGMA journal_mode=WAL")
                return
            except sqlite3.OperationalError:
                # The switch ignores the busy timeout: two processes that make the file together meet here.
                if attempt == _WAL_ATTEMPTS - 1:
                    raise
                time.sleep(0.05)
            finally:
                opened.close()
    except (OSError, sqlite3.Error) as error:
        raise ParleyError(
            f"the database cannot be opened: {error}", where=str(path), mend="make the folder writable"
        ) from None


def writing(engine: sa.Engine) -> sa.Engine:
    """The same engine, its transactions opened for writing."""
    return engine.execution_options(**{_WRITING: True})


def create_tables(engine: sa.Engine, metadata: sa.MetaData) -> None:
    """Make what is missing; several processes may do so at once.

    Raises:
        OperationalError: the database cannot be written.
    """
    with writing(engine).begin() as connection:
        metadata.create_all(connection)


def forbid_changes(table: sa.Table) -> None:
    """Make a table append-only: SQLite refuses UPDATE and DELETE whoever asks."""
    ddl: Any = sa.DDL  # its constructor has no annotations
    for action in ("UPDATE", "DELETE"):
        statement = ddl(
            f"CREATE TRIGGER IF NOT EXISTS {table.name}_no_{action.lower()} BEFORE {action} ON {table.name} "
            f"BEGIN SELECT RAISE(ABORT, '{table.name} is append-only'); END"
        )
        sa.event.listen(table, "after_create", statement.execute_if(dialect="sqlite"))
