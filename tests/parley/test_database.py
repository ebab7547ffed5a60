"""SQLite and PostgreSQL keep the same promises: writers take turns, readers see one state, the past stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from postgresql import PostgreSQL

from parley.database import DatabaseUnavailable, answering, connect, migrate, refuse_changes, writing
from parley.errors import ParleyError

GENEROUS_S = 30.0
metadata = sa.MetaData()
notes = sa.Table("notes", metadata, sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.Text))
counts = sa.Table("counts", metadata, sa.Column("value", sa.Integer, primary_key=True))


def make_tables(engine: sa.Engine) -> None:
    with writing(engine).begin() as connection:
        metadata.create_all(connection)
        refuse_changes(connection, "notes")


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine, _ = connect(database_url, GENEROUS_S)
    make_tables(engine)
    yield engine
    engine.dispose()


def note(engine: sa.Engine) -> None:
    with writing(engine).begin() as connection:
        connection.execute(notes.insert().values(text="kept"))


def refuses(engine: sa.Engine, statement: str) -> None:
    note(engine)
    with pytest.raises(sa.exc.IntegrityError, match="notes is append-only"), engine.begin() as connection:
        connection.exec_driver_sql(statement)
    with engine.connect() as connection:
        assert connection.scalar(sa.select(notes.c.text)) == "kept"


@pytest.mark.parametrize("statement", ["UPDATE notes SET text = 'x'", "DELETE FROM notes"])
def test_an_append_only_table_refuses_every_change(engine: sa.Engine, statement: str) -> None:
    refuses(engine, statement)


def test_an_append_only_table_refuses_to_be_emptied_at_once(postgresql: PostgreSQL) -> None:
    engine, _ = connect(postgresql.create(), 1.0)
    make_tables(engine)
    refuses(engine, "TRUNCATE notes")  # SQLite knows no such statement
    engine.dispose()


def test_writers_that_read_first_take_turns(engine: sa.Engine) -> None:
    """Read the highest, add one: without turns two would take the same number, or one would fail."""
    barrier = threading.Barrier(8)

    def count(_: int) -> None:
        barrier.wait()
        for _ in range(5):
            with writing(engine).begin() as connection:
                highest = connection.scalar(sa.select(sa.func.max(counts.c.value))) or 0
                connection.execute(counts.insert().values(value=highest + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count, range(8)))
    with engine.connect() as connection:
        assert connection.scalar(sa.select(sa.func.max(counts.c.value))) == 40


def test_a_reader_sees_one_state_and_does_not_wait_for_a_writer(engine: sa.Engine) -> None:
    number = sa.select(sa.func.count()).select_from(notes)
    with engine.connect() as reader, writing(engine).begin() as writer:
        assert reader.scalar(number) == 0
        writer.execute(notes.insert().values(text="new"))
        assert reader.scalar(number) == 0
        writer.commit()
        assert reader.scalar(number) == 0, "what was committed meanwhile belongs to the next transaction"
        reader.rollback()
        assert reader.scalar(number) == 1


def test_a_writer_that_waited_sees_what_it_waited_for(engine: sa.Engine) -> None:
    waits, seen = threading.Event(), []

    def second() -> None:
        waits.set()
        with writing(engine).begin() as connection:
            seen.append(connection.scalar(sa.select(sa.func.count()).select_from(notes)))

    with writing(engine).begin() as first:
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(GENEROUS_S)
        first.execute(notes.insert().values(text="first"))
    thread.join(GENEROUS_S)
    assert seen == [1]


def test_a_writer_that_waits_too_long_is_told(database_url: str) -> None:
    engine, where = connect(database_url, 0.05)
    make_tables(engine)
    with writing(engine).begin(), pytest.raises(DatabaseUnavailable) as error:  # noqa: SIM117
        with answering(where), writing(engine).begin():
            pass
    assert error.value.where == where
    assert "\n" not in str(error.value)
    engine.dispose()


def test_a_table_that_is_missing_is_said_like_an_absent_database(database_url: str) -> None:
    engine, where = connect(database_url, 1.0)
    with pytest.raises(DatabaseUnavailable), answering(where), engine.connect() as connection:
        connection.execute(sa.select(notes))
    engine.dispose()


def test_a_connection_that_the_server_closed_is_replaced(postgresql: PostgreSQL) -> None:
    """As after a restart of the server: what was under way is said, what comes next works."""
    url = postgresql.create()
    engine, where = connect(url, 1.0)
    killer, _ = connect(url, 1.0)
    everybody = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> {}"
    )
    with killer.connect() as other:
        own = other.scalar(sa.text("SELECT pg_backend_pid()"))
        with pytest.raises(DatabaseUnavailable), answering(where), engine.connect() as connection:
            connection.scalar(sa.text("SELECT 1"))
            other.execute(sa.text(everybody.format(own)))
            connection.scalar(sa.text("SELECT 1"))
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 1")) == 1
        other.execute(sa.text(everybody.format(own)))
        with engine.connect() as connection:
            assert connection.scalar(sa.text("SELECT 1")) == 1, "an idle one is replaced without a word"
    engine.dispose()
    killer.dispose()


def test_a_mistake_in_a_statement_is_not_taken_for_an_absent_database(postgresql: PostgreSQL) -> None:
    engine, where = connect(postgresql.create(), 1.0)
    with pytest.raises(sa.exc.ProgrammingError), answering(where), engine.connect() as connection:
        connection.exec_driver_sql("SELEKT 1")
    engine.dispose()


def test_a_server_that_is_away_is_one_line_without_the_password(tmp_path: Path) -> None:
    engine, where = connect(f"postgresql://ada:secret@/parley?host={tmp_path}", 1.0)
    with pytest.raises(DatabaseUnavailable) as error, answering(where):
        engine.connect()
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)
    assert error.value.mend


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_a_plain_postgresql_address_means_psycopg_3(postgresql: PostgreSQL, scheme: str) -> None:
    url = postgresql.create().replace("postgresql", scheme, 1)
    engine, _ = connect(url, 1.0)
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT 1")) == 1
    assert engine.driver == "psycopg"
    engine.dispose()


@pytest.mark.parametrize("url", ["mysql://x/y", "oracle://x/y", "nonsense", "sqlite://"])
def test_an_address_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ParleyError) as error:
        connect(url, 1.0)
    assert "postgresql" in error.value.mend or "sqlite" in error.value.mend


@pytest.mark.parametrize("mark", ["ae1027a6acf", "0002", "9999"])
def test_another_programs_database_is_refused_and_says_whose(database_url: str, mark: str) -> None:
    engine, _ = connect(database_url, GENEROUS_S)
    with writing(engine).begin() as connection:
        for statement in (
            "CREATE TABLE alembic_version (version_num VARCHAR(32))",
            f"INSERT INTO alembic_version VALUES ('{mark}')",
            "CREATE TABLE dag_run (id INTEGER)",
        ):
            connection.exec_driver_sql(statement)
    with pytest.raises(ParleyError, match="another program's.*dag_run"):
        migrate(engine)
    assert sorted(sa.inspect(engine).get_table_names()) == ["alembic_version", "dag_run"]
