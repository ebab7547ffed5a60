"""Opening a database so that several processes may write: what differs between SQLite and PostgreSQL lives here.

    engine, where = connect("postgresql://parley@db.example/parley", busy_timeout_s=5.0)
    with answering(where), writing(engine).begin() as connection:
        ...                     # nobody else writes until this ends

Both give the same promises: a reading transaction sees one consistent state and never waits for a writer; writing
transactions come one after the other, each waiting at most ``busy_timeout_s`` for its turn.
"""

from __future__ import annotations

import os
import re
import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.pool import NullPool

from parley.errors import ParleyError
from parley.sqlite_look import open_to_look

_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")
_WAL_ATTEMPTS = 20
_WRITING = "parley_writing"
_POSTGRESQL = ("postgresql", "postgres")  # the second is what many providers print
_WRITERS_LOCK = 0x5041524C4559  # "PARLEY": the advisory lock every writer of this database takes
_REFUSAL = """
CREATE OR REPLACE FUNCTION parley_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$"""
_MIGRATIONS = Path(__file__).parent / "migrations"
_one_upgrade = threading.Lock()  # alembic keeps what it works on in globals
APPEND_ONLY = "append_only"
_FIRST_TABLE = "experiments"  # of the first migration
_NAMED_AT_MOST = 6
_UNANSWERED = ("42P01", "42501", "3F000")  # PostgreSQL: no such table, not allowed, no such schema


class DatabaseUnavailable(ParleyError):
    """The database is locked, absent, full or not prepared just now; the same call may succeed later."""


class DatabaseMissing(DatabaseUnavailable):
    """There is no database yet."""


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


def storable(text: str, where: str = "") -> str:
    """The text, if every database can keep it: PostgreSQL takes no U+0000, UTF-8 has no half of a surrogate pair.

    Raises:
        ParleyError: it cannot.
    """
    if found := _NOT_STORABLE.search(text):
        code = f"U+{ord(found.group()):04X}"
        raise ParleyError(f"the text holds {code}, which is no character", where=where, mend="leave it out")
    return text


def connect(url: str | sa.URL, busy_timeout_s: float) -> tuple[sa.Engine, str]:
    """An engine, and how to name its place to a person (without a password).

    Args:
        url: ``sqlite:///FILE`` or ``postgresql://USER@HOST/NAME`` (which means psycopg 3).
        busy_timeout_s: how long a writer waits for another.

    Raises:
        ParleyError: the address is none, its driver is missing, or a SQLite file cannot be made.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        return _postgresql_engine(parsed, busy_timeout_s), parsed.render_as_string(hide_password=True)
    path = Path(str(parsed.database))
    _make_wal(path, busy_timeout_s)
    return _sqlite_engine(path, _open_existing(path, busy_timeout_s)), str(path)


def connect_to_look(url: str | sa.URL) -> tuple[sa.Engine, str]:
    """`connect` for who only reads: makes no file, changes none, and works where none may be written.

    Raises:
        DatabaseMissing: there is no database yet.
        ParleyError: the address is none, or its driver is missing.
    """
    parsed = _parse(url)
    if parsed.get_backend_name() == "postgresql":
        engine = _postgresql_engine(parsed, 0.0).execution_options(postgresql_readonly=True)
        return engine, parsed.render_as_string(hide_password=True)
    path = Path(str(parsed.database))
    if not path.exists():
        raise DatabaseMissing("there is no database yet", where=str(path), mend="a command that writes makes it")
    return _sqlite_engine(path, lambda: open_to_look(path)), str(path)


def in_memory() -> sa.Engine:
    """A database of this process alone, its tables made, empty; gone with the engine."""
    uri = f"file:parley-{uuid.uuid4().hex}?mode=memory&cache=shared"  # so that two may read at once
    keeper = sqlite3.connect(uri, uri=True, check_same_thread=False)

    def opened(kept: sqlite3.Connection = keeper) -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, check_same_thread=False)

    engine = _sqlite_engine(Path(":memory:"), opened)
    migrate(engine)
    return engine


def _parse(url: str | sa.URL) -> sa.URL:
    mend = "use sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        parsed = sa.engine.make_url(url)
        if parsed.drivername in _POSTGRESQL:
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.get_backend_name() not in ("postgresql", "sqlite"):
            raise ParleyError("no database Parley knows", where=parsed.drivername, mend=mend)
        parsed.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        missing = isinstance(error, ModuleNotFoundError)
        raise ParleyError(
            "the database's driver is not installed" if missing else "not a database address",
            where="database",
            mend="install it" if missing else mend,
        ) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ParleyError("a database in memory has no other readers", where=str(url), mend="use sqlite:///FILE")
    return parsed


def _postgresql_engine(url: sa.URL, busy_timeout_s: float) -> sa.Engine:
    """PostgreSQL with SQLite's promises: readers see one state, writers take turns."""
    # A host that vanished must not hold a caller for the minutes TCP would: the address may say otherwise.
    limits = {"connect_timeout": "5", "tcp_user_timeout": "5000"}
    url = url.update_query_dict({key: value for key, value in limits.items() if key not in url.query})
    engine = sa.create_engine(url, pool_pre_ping=True, isolation_level="REPEATABLE READ")
    take_turn = f"SET LOCAL lock_timeout = {int(busy_timeout_s * 1000)}; SELECT pg_advisory_xact_lock({_WRITERS_LOCK})"

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get(_WRITING):
            connection.exec_driver_sql(take_turn)

    return engine


def _open_existing(path: Path, busy_timeout_s: float) -> Callable[[], sqlite3.Connection]:
    def opened() -> sqlite3.Connection:
        # mode=rw: a removed file must be an error, not a new empty database without experiments.
        uri = f"file:{quote(os.fsencode(path))}?mode=rw"
        return sqlite3.connect(uri, uri=True, timeout=busy_timeout_s, check_same_thread=False)

    return opened


def _sqlite_engine(path: Path, opened: Callable[[], sqlite3.Connection]) -> sa.Engine:
    """SQLite in WAL mode: readers never wait, and writers wait for each other for the busy timeout."""

    def creator() -> sqlite3.Connection:
        connection = opened()
        connection.isolation_level = None  # the driver must not begin transactions: _begin below does
        return connection

    # NullPool: a kept connection would go on reading a file that was replaced; opening one takes a fraction of a
    # millisecond.
    engine = sa.create_engine(sa.URL.create("sqlite", database=str(path)), creator=creator, poolclass=NullPool)

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
    """The same engine, its transactions opened for writing: they come one after the other."""
    if engine.dialect.name == "postgresql":
        # A repeatable-read snapshot would be the one from before the lock was waited for. While the lock is held
        # nobody else writes, so reading what is committed is as consistent.
        return engine.execution_options(**{_WRITING: True}, isolation_level="READ COMMITTED")
    return engine.execution_options(**{_WRITING: True})


@contextmanager
def answering(where: str, error: type[DatabaseUnavailable] = DatabaseUnavailable) -> Iterator[None]:
    """Turn the driver's troubles into one ``error`` that says what to do; a broken rule of the data passes through."""
    try:
        yield
    except (IntegrityError, DataError):
        raise
    except (DBAPIError, NoConnectionFree) as trouble:
        cause = getattr(trouble, "orig", None) or trouble
        if isinstance(trouble, ProgrammingError) and getattr(cause, "sqlstate", None) not in _UNANSWERED:
            raise  # a mistake of ours
        raise error(
            f"the database does not answer: {' '.join(str(cause).split())}",
            where=where,
            mend="see that it is there, may be written, has space, and that nobody keeps it locked",
        ) from None


def migrate(engine: sa.Engine) -> None:
    """Bring the tables up to date; two small reads when they are. Several processes may do so at once.

    Raises:
        ParleyError: the database was made by a newer Parley, or is another program's.
        sqlalchemy.exc.DBAPIError: it does not answer; see :func:`answering`.
    """
    with engine.connect() as connection:
        if tables_of(connection) == "current":
            return
    with writing(engine).begin() as connection:
        if tables_of(connection) != "current":  # another process may have been first
            _upgrade(connection)


def newest_migration() -> str:
    """The number of the newest migration this Parley has."""
    return max(path.stem.split("_")[0] for path in (_MIGRATIONS / "versions").glob("[0-9]*.py"))


def tables_of(connection: sa.Connection) -> Literal["none", "old", "current"]:
    """Whether Parley's tables are there, and as this Parley knows them.

    Raises:
        ParleyError: a newer Parley made them, or the database is another program's.
    """
    known = sa.inspect(connection)
    if not known.has_table("alembic_version"):
        return "none"
    marks, newest = list(connection.scalars(sa.text("SELECT version_num FROM alembic_version"))), newest_migration()
    if not marks and not known.get_table_names():
        return "none"
    where = connection.engine.url.render_as_string(hide_password=True)
    # Every tool that uses alembic writes its mark into a table of this name.
    if len(marks) != 1 or not re.fullmatch(r"[0-9]{4}", str(marks[0])) or not known.has_table(_FIRST_TABLE):
        others = sorted(set(known.get_table_names()) - {"alembic_version"})
        shown = ", ".join(others[:_NAMED_AT_MOST]) + (" …" if len(others) > _NAMED_AT_MOST else "")
        raise ParleyError(
            f"this database is another program's: its alembic_version says {', '.join(map(str, marks)) or 'nothing'}, "
            f"its tables are {shown or 'none'}",
            where=where,
            mend="give Parley a database, or a schema, of its own: PARLEY_DATABASE_URL",
        )
    if marks[0] > newest:
        raise ParleyError(
            f"the database was made by a newer Parley (migration {marks[0]}; this one knows {newest})",
            where=where,
            mend="install that Parley here, or restore a backup",
        )
    return "current" if marks[0] == newest else "old"


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command  # half a second, only where there is something to do
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        with _one_upgrade:
            command.upgrade(config, "head")
    except (OperationalError, ProgrammingError) as error:
        if "already exists" not in str(error.orig):
            raise
        raise ParleyError(
            f"this database holds another program's tables: {' '.join(str(error.orig).split())}",
            where=connection.engine.url.render_as_string(hide_password=True),
            mend="give Parley a database, or a schema, of its own: PARLEY_DATABASE_URL",
        ) from None


def forbid_changes(table: sa.Table) -> None:
    """Declare a table append-only; its migration makes the database see to it (:func:`refuse_changes`)."""
    table.info[APPEND_ONLY] = True


def refuse_changes(connection: sa.Connection, table: str) -> None:
    """Make the database refuse UPDATE, DELETE and TRUNCATE of a table, whoever asks (IntegrityError)."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text(_REFUSAL))
        connection.exec_driver_sql(
            f"CREATE OR REPLACE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION parley_append_only()"
        )
        return
    for action in ("UPDATE", "DELETE"):
        connection.exec_driver_sql(
            f"CREATE TRIGGER IF NOT EXISTS {table}_no_{action.lower()} BEFORE {action} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
