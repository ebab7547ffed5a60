"""The store: append-only epochs, and replicas that follow."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from pathlib import Path

import pytest
import sqlalchemy as sa

from experiments.assignment import Arm, Experiment, ExperimentRefused, Snapshot, find, ramp, start, stop
from experiments.store import ExperimentStore, StoreUnavailable
from parley.database import connect, writing
from parley.errors import ParleyError

ROOT = Path(__file__).parents[2]
GENEROUS_S = 30.0
ARMS = (Arm("control", 1, 0.5, "d1"), Arm("treatment", 2, 0.5, "d2"))


@pytest.fixture
def store(database_url: str) -> Iterator[ExperimentStore]:
    with ExperimentStore(database_url) as opened:
        yield opened


@pytest.fixture
def direct(database_url: str) -> Iterator[sa.Engine]:
    """The database as another program would open it."""
    engine, _ = connect(database_url, GENEROUS_S)
    yield engine
    engine.dispose()


def begin(store: ExperimentStore, name: str = "exp", stage: str = "stt", coverage: float = 0.1) -> Experiment:
    return store.change("Ada", "start", "try", lambda known: start(name, stage, f"b_{stage}", ARMS, coverage, known))


def move(store: ExperimentStore, coverage: float, name: str = "exp") -> Experiment:
    return store.change("Ada", "ramp", "", lambda known: ramp(find(name, known), coverage))


# Epochs


def test_a_new_store_is_empty(store: ExperimentStore) -> None:
    assert store.config_version() == 0
    assert store.snapshot() == Snapshot(0, ())


def test_every_change_is_an_epoch_and_an_audit_row(store: ExperimentStore, direct: sa.Engine) -> None:
    began = begin(store)
    move(store, 0.5)
    store.change("Bob", "stop", "done", lambda known: stop(find("exp", known)))
    snapshot = store.snapshot()
    assert (snapshot.config_version, store.config_version()) == (3, 3)
    (ended,) = snapshot.experiments
    assert (ended.epoch, ended.state, ended.coverage, ended.arms, ended.salt) == (3, "stopped", 0.5, ARMS, began.salt)
    assert [(a.who, a.what, a.why, a.config_version) for a in store.audit("exp")] == [
        ("Ada", "start", "try", 1),
        ("Ada", "ramp", "", 2),
        ("Bob", "stop", "done", 3),
    ]
    assert store.audit()[0].before is None
    assert (store.audit()[1].before or {})["coverage"] == 0.1
    assert store.audit()[1].after["coverage"] == 0.5
    assert store.audit()[0].at.tzinfo is UTC
    with direct.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM experiments")) == 3


@pytest.mark.parametrize(("who", "why"), [("A" * 10_000, ""), ("Ada", "y" * 100_000), ("Ada", "half \ud800")])
def test_words_that_the_audit_cannot_take_change_nothing(store: ExperimentStore, who: str, why: str) -> None:
    with pytest.raises(ParleyError):
        store.change(who, "start", why, lambda known: start("exp", "stt", "b_stt", ARMS, 0.1, known))
    assert store.snapshot() == Snapshot(0, ())


def test_a_sqlite_file_is_in_wal_mode(tmp_path: Path) -> None:
    """Readers would wait for writers otherwise."""
    ExperimentStore(f"sqlite:///{tmp_path / 'parley.db'}").close()
    with sqlite3.connect(tmp_path / "parley.db") as opened:
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("table", ["experiments", "experiment_audit"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET config_version = 9"])
def test_the_past_cannot_be_changed(store: ExperimentStore, direct: sa.Engine, table: str, statement: str) -> None:
    begin(store)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), direct.begin() as connection:
        connection.exec_driver_sql(statement.format(table))


def test_a_refused_change_leaves_no_trace(store: ExperimentStore) -> None:
    begin(store)
    with pytest.raises(ExperimentRefused):
        begin(store, "second")
    assert (store.config_version(), len(store.audit())) == (1, 1)


def test_two_product_owners_at_once_start_one_experiment(store: ExperimentStore, database_url: str) -> None:
    barrier = threading.Barrier(8)

    def attempt(number: int) -> bool:
        with ExperimentStore(database_url) as own:
            barrier.wait()
            try:
                begin(own, f"exp-{number}")
            except ExperimentRefused as error:
                assert error.kind == "stage-occupied"
                return False
            return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(attempt, range(8))) == 1
    assert len(store.snapshot().experiments) == 1


def test_processes_that_make_the_database_together_agree(database_url: str) -> None:
    code = "import sys; from experiments.store import ExperimentStore as S; S(sys.argv[1]).close()"
    command = [sys.executable, "-c", code, database_url]
    started = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE) for _ in range(3)]
    assert [(p.communicate(timeout=GENEROUS_S)[1], p.returncode) for p in started] == [(b"", 0)] * 3


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "nonsense", "nodb://x/y"])
def test_an_unusable_address_is_said(url: str) -> None:
    with pytest.raises(ParleyError) as error:
        ExperimentStore(url)
    assert error.value.mend


def test_a_file_that_is_no_database_is_said(tmp_path: Path) -> None:
    (tmp_path / "parley.db").write_bytes(b"this is text, long enough to be no database header" * 20)
    with pytest.raises(ParleyError, match="database"):
        ExperimentStore(f"sqlite:///{tmp_path / 'parley.db'}")


# Following

REPLICA = """
import sys
from experiments.assignment import Snapshot
from experiments.store import ExperimentStore
from parley.following import Follower
def say(snapshot):
    print(snapshot.config_version, *(f"{e.name}={e.coverage}:{e.state}" for e in snapshot.experiments), flush=True)
with (ExperimentStore(sys.argv[1]) as store,
      Follower(store.config_version, store.snapshot, Snapshot(), "experiments", on_change=say)):
    print("ready", flush=True)
    sys.stdin.read()
"""


def test_two_replicas_follow_start_ramp_and_stop_without_a_restart(store: ExperimentStore, database_url: str) -> None:
    command = [sys.executable, "-c", REPLICA, database_url]
    replicas = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(2)
    ]
    watchdog = threading.Timer(2 * GENEROUS_S, lambda: [p.kill() for p in replicas])  # a replica that never follows
    watchdog.start()
    try:
        for replica in replicas:
            assert replica.stdout and replica.stdout.readline() == "ready\n"
        begin(store)
        assert [p.stdout.readline() for p in replicas if p.stdout] == ["1 exp=0.1:live\n"] * 2
        move(store, 0.5)
        assert [p.stdout.readline() for p in replicas if p.stdout] == ["2 exp=0.5:live\n"] * 2
        store.change("Ada", "stop", "", lambda known: stop(find("exp", known)))
        assert [p.stdout.readline() for p in replicas if p.stdout] == ["3 exp=0.5:stopped\n"] * 2
    finally:
        watchdog.cancel()
        codes = [(p.communicate(timeout=GENEROUS_S), p.returncode)[1] for p in replicas]
    assert codes == [0, 0]


def test_looking_for_a_removed_file_makes_no_empty_database(tmp_path: Path) -> None:
    path = tmp_path / "parley.db"
    with ExperimentStore(f"sqlite:///{path}") as store:
        path.rename(tmp_path / "hidden.db")
        with pytest.raises(StoreUnavailable):
            store.config_version()
        assert not path.exists()


def test_readers_do_not_wait_for_a_writer(store: ExperimentStore, direct: sa.Engine) -> None:
    begin(store)
    with writing(direct).begin() as writer:
        writer.exec_driver_sql(
            "INSERT INTO exposures VALUES (1,'c',1,'u','stt',NULL,NULL,'m',1,'release',0,'2026-01-01')"
        )
        assert store.snapshot().config_version == 1
        writer.rollback()
