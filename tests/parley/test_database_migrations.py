"""Migrations: they make what the rooms expect, take over what was there before them, and cost nothing when done."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import calls.tables
import experiments.tables
import parley.migrations
import registry.tables
from experiments.assignment import Arm
from experiments.store import ExperimentStore
from parley.database import APPEND_ONLY, connect, migrate, newest_migration, writing
from parley.errors import ParleyError
from parley.settings import Settings
from registry.catalogue import Catalogue, OldTables

ROOT = Path(__file__).parents[2]
GENEROUS_S = 60.0
ROOMS = (registry.tables.metadata, calls.tables.metadata, experiments.tables.metadata)

# The database of an installation from before there were migrations: made by create_all, with what it held.
OLD = """
CREATE TABLE experiments (
    config_version INTEGER NOT NULL, name VARCHAR(64) NOT NULL, epoch INTEGER NOT NULL, stage VARCHAR(16) NOT NULL,
    model VARCHAR(128) NOT NULL, algorithm VARCHAR(16) NOT NULL, salt VARCHAR(256) NOT NULL, arms JSON NOT NULL,
    coverage FLOAT NOT NULL, state VARCHAR(16) NOT NULL, at DATETIME NOT NULL,
    PRIMARY KEY (config_version), UNIQUE (name, epoch));
CREATE TRIGGER experiments_no_update BEFORE UPDATE ON experiments
    BEGIN SELECT RAISE(ABORT, 'experiments is append-only'); END;
CREATE TRIGGER experiments_no_delete BEFORE DELETE ON experiments
    BEGIN SELECT RAISE(ABORT, 'experiments is append-only'); END;
CREATE TABLE exposures (
    id INTEGER NOT NULL, call_id VARCHAR(128) NOT NULL, turn INTEGER NOT NULL, unit VARCHAR(64) NOT NULL,
    stage VARCHAR(16) NOT NULL, experiment VARCHAR(64), arm VARCHAR(64), model VARCHAR(128) NOT NULL,
    version INTEGER NOT NULL, reason VARCHAR(32) NOT NULL, config_version INTEGER NOT NULL, at DATETIME NOT NULL,
    PRIMARY KEY (id));
CREATE INDEX ix_exposures_call_id ON exposures (call_id);
CREATE INDEX ix_exposures_unit ON exposures (unit);
CREATE INDEX ix_exposures_experiment ON exposures (experiment);
CREATE TABLE experiment_audit (
    id INTEGER NOT NULL, at DATETIME NOT NULL, who VARCHAR(128) NOT NULL, what VARCHAR(32) NOT NULL,
    experiment VARCHAR(64) NOT NULL, why VARCHAR(1000) NOT NULL, "before" JSON, "after" JSON NOT NULL,
    config_version INTEGER NOT NULL, PRIMARY KEY (id));
CREATE TRIGGER experiment_audit_no_update BEFORE UPDATE ON experiment_audit
    BEGIN SELECT RAISE(ABORT, 'experiment_audit is append-only'); END;
CREATE TRIGGER experiment_audit_no_delete BEFORE DELETE ON experiment_audit
    BEGIN SELECT RAISE(ABORT, 'experiment_audit is append-only'); END;
INSERT INTO experiments VALUES (1, 'stt-2', 1, 'stt', 'barista_stt', 'sha256', 'barista_stt/stt-2',
    '[{"name": "control", "version": 1, "weight": 0.5, "digest": "d1"}]', 0.1, 'live', '2026-11-20 10:00:00.000000');
INSERT INTO exposures VALUES (1, 'CA1', 0, 'u', 'stt', 'stt-2', 'control', 'barista_stt', 1, 'experiment', 1,
    '2026-11-20 10:00:01.000000');
INSERT INTO experiment_audit VALUES (1, '2026-11-20 10:00:00.000000', 'Ada', 'start', 'stt-2', 'try', NULL, '{}', 1);
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[sa.Engine]:
    engine, _ = connect(database_url, GENEROUS_S)
    yield engine
    engine.dispose()


def differences(engine: sa.Engine) -> list[object]:
    """Between what the migrations made and what the rooms' tables say."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, list(ROOMS)))


def test_the_migrations_make_the_tables_of_all_rooms(engine: sa.Engine) -> None:
    migrate(engine)
    assert differences(engine) == []


def test_a_difference_would_be_seen(engine: sa.Engine) -> None:
    migrate(engine)
    with writing(engine).begin() as connection:
        connection.exec_driver_sql("ALTER TABLE leases DROP COLUMN calls")
    assert [difference[0] for difference in differences(engine)] == ["add_column"]


def test_every_table_declared_append_only_refuses_changes(engine: sa.Engine) -> None:
    migrate(engine)
    declared = {t.name for metadata in ROOMS for t in metadata.tables.values() if t.info.get(APPEND_ONLY)}
    query = "SELECT DISTINCT tbl_name FROM sqlite_master WHERE type = 'trigger'"
    if engine.dialect.name == "postgresql":
        query = "SELECT DISTINCT event_object_table FROM information_schema.triggers"
    with engine.connect() as connection:
        assert set(connection.scalars(sa.text(query))) == declared
    assert {"alias_changes", "registry_audit", "experiments"} <= declared


def test_a_database_from_before_the_migrations_is_taken_over_without_losing_a_row(tmp_path: Path) -> None:
    path = tmp_path / "parley.db"
    with sqlite3.connect(path) as old:
        old.executescript(OLD)
        before = [old.execute(f"SELECT * FROM {t}").fetchall() for t in experiments.tables.metadata.tables]
    with ExperimentStore(f"sqlite:///{path}") as store:
        (running,) = store.snapshot().live
        assert (running.name, running.arms) == ("stt-2", (Arm("control", 1, 0.5, "d1"),))
        assert [a.who for a in store.audit()] == ["Ada"]
        assert len(store.exposures("CA1")) == 1
    with sqlite3.connect(path) as new:
        assert [new.execute(f"SELECT * FROM {t}").fetchall() for t in experiments.tables.metadata.tables] == before
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            new.execute("DELETE FROM experiments")
    engine, _ = connect(f"sqlite:///{path}", GENEROUS_S)
    assert differences(engine) == []


def upgrade_to(engine: sa.Engine, revision: str) -> None:
    """Leave the database as a Parley left it that knew no newer migration."""
    config = Config()
    config.set_main_option("script_location", str(Path(parley.migrations.__file__).parent))
    with writing(engine).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


CHANGE = {
    "bot": "barista", "champion": 1, "candidate": None, "previous": None, "what": "first", "moved_from": None,
    "moved_to": 1, "forced": False, "at": datetime(2026, 11, 20, tzinfo=UTC), "who": "Ada", "why": "try",
}  # fmt: skip


def test_a_site_with_a_history_keeps_every_row_under_the_new_name(engine: sa.Engine) -> None:
    upgrade_to(engine, "0002")
    new = registry.tables.alias_changes
    old = new.to_metadata(sa.MetaData(), name="pointer_moves")
    with writing(engine).begin() as connection:
        connection.execute(old.insert(), [CHANGE | {"seq": seq} for seq in (1, 2)])

    migrate(engine)

    with writing(engine).begin() as connection:
        assert [(row.id, row.seq, row.who) for row in connection.execute(sa.select(new))] == [
            (1, 1, "Ada"),
            (2, 2, "Ada"),
        ]
        connection.execute(new.insert().values(seq=3, **CHANGE))  # its numbers go on
        assert connection.scalar(sa.select(sa.func.max(new.c.id))) == 3
    for statement, complaint in (
        ("UPDATE alias_changes SET seq = 9", "alias_changes is append-only"),
        ("DELETE FROM alias_changes", "alias_changes is append-only"),
        ("INSERT INTO alias_changes SELECT 9, bot, seq, champion, candidate, previous, what, moved_from, moved_to, "
         "forced, at, who, why FROM alias_changes WHERE seq = 1", "(?i)unique"),
    ):  # fmt: skip
        with pytest.raises(sa.exc.IntegrityError, match=complaint), engine.begin() as connection:
            connection.exec_driver_sql(statement)
    assert differences(engine) == []


def test_nothing_bears_the_old_name(engine: sa.Engine) -> None:
    upgrade_to(engine, "0002")
    migrate(engine)
    query = "SELECT name || ' ' || coalesce(sql, '') FROM sqlite_master"
    if engine.dialect.name == "postgresql":
        query = (
            "SELECT relname FROM pg_class UNION SELECT conname FROM pg_constraint UNION SELECT tgname FROM pg_trigger"
        )
    with engine.connect() as connection:
        assert [name for name in connection.scalars(sa.text(query)) if "pointer_moves" in name] == []


def test_who_only_looks_is_told_to_upgrade(engine: sa.Engine, database_url: str) -> None:
    upgrade_to(engine, "0002")
    site = Settings(database_url=database_url)
    with pytest.raises(OldTables, match="older Parley") as error:
        Catalogue.look(site)
    assert error.value.mend == "parley catalogue upgrade"
    Catalogue.at(site).close()
    Catalogue.look(site).close()


def test_several_processes_may_migrate_at_once(database_url: str, engine: sa.Engine) -> None:
    code = "import sys; from parley.database import connect, migrate; migrate(connect(sys.argv[1], 60.0)[0])"
    command = [sys.executable, "-c", code, database_url]
    started = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)]
    assert [(p.communicate(timeout=GENEROUS_S)[1], p.returncode) for p in started] == [(b"", 0)] * 4
    assert differences(engine) == []


def test_a_migration_that_fails_leaves_nothing_behind(engine: sa.Engine) -> None:
    with writing(engine).begin() as connection:
        connection.exec_driver_sql("CREATE TABLE verdicts (id INTEGER)")  # in the way of the last step
    with pytest.raises(ParleyError, match="another program's tables"):
        migrate(engine)
    assert sa.inspect(engine).get_table_names() == ["verdicts"]


def test_nothing_of_alembic_is_loaded_where_the_database_is_current(database_url: str, engine: sa.Engine) -> None:
    """A rollback from the command line must not wait for what it does not need."""
    migrate(engine)
    code = (
        "import sys; from parley.database import connect, migrate; migrate(connect(sys.argv[1], 60.0)[0]);"
        "print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, database_url], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("False\n", "")


def test_a_database_of_a_newer_parley_is_refused_with_a_reason(engine: sa.Engine) -> None:
    migrate(engine)
    with writing(engine).begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ParleyError, match="newer Parley") as error:
        migrate(engine)
    assert engine.url.database
    assert engine.url.database in error.value.where


def test_the_numbers_of_the_migrations_are_alembics_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(parley.migrations.__file__).parent))
    scripts = ScriptDirectory.from_config(config)
    assert scripts.get_heads() == [newest_migration()]
    in_order = [script.revision for script in scripts.walk_revisions()]
    assert in_order == sorted(in_order, reverse=True)
