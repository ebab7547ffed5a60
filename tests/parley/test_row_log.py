"""What happens in calls is written behind their backs, and not lost in silence."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from postgresql import PostgreSQL

from experiments.exposures import Exposure, exposures
from parley.database import connect, writing
from parley.row_log import RowLog

ROOT = Path(__file__).parents[2]
GENEROUS_S = 30.0


@pytest.fixture
def log(database_url: str) -> Iterator[RowLog]:
    with RowLog(database_url) as opened:
        yield opened


def rows(count: int, call_id: str = "CA1") -> list[Exposure]:
    return [
        Exposure(call_id, turn, "u" * 64, "stt", "b_stt", 2, "experiment", "exp", "treatment", 1)
        for turn in range(count)
    ]


def written(log: RowLog, call_id: str | None = None) -> list[Exposure]:
    with log.read() as connection:
        return exposures(connection, call_id)


def test_exposures_come_back_as_they_were(log: RowLog) -> None:
    given = [
        *rows(2),
        Exposure("CA2", 0, "v" * 64, "nlu", "b_nlu", 1, "release", at=datetime(2026, 1, 2, 3, tzinfo=UTC)),
    ]
    log.put(given)
    assert log.flush(GENEROUS_S)
    assert written(log) == given
    assert written(log, "CA2") == given[2:]
    assert (log.written, log.dropped) == (3, 0)


def test_close_writes_what_waits(database_url: str) -> None:
    log = RowLog(database_url)
    log.put(rows(1500))
    log.close(GENEROUS_S)
    with RowLog(database_url) as again:
        assert len(written(again)) == 1500


def test_the_end_of_a_process_writes_what_waits(database_url: str) -> None:
    code = (
        "import sys; from parley.row_log import RowLog; from experiments.exposures import Exposure\n"
        "s = RowLog(sys.argv[1]); s.put([Exposure('CA', 1, 'u', 'stt', 'm', 1, 'release')])"
    )
    subprocess.run([sys.executable, "-c", code, database_url], cwd=ROOT, check=True, timeout=GENEROUS_S)
    with RowLog(database_url) as log:
        assert len(written(log)) == 1


def test_logging_does_not_wait_for_a_locked_database(tmp_path: Path) -> None:
    """The rows are taken while another process holds the lock, and are written when it lets go."""
    path = tmp_path / "parley.db"
    with RowLog(f"sqlite:///{path}", busy_timeout_s=0.01) as log:
        with sqlite3.connect(path, isolation_level=None) as blocker:
            blocker.execute("BEGIN IMMEDIATE")
            log.put(rows(5))
            assert not log.flush(0.5)
            assert log.dropped == 0
            blocker.execute("ROLLBACK")
        assert log.flush(GENEROUS_S)
        assert len(written(log)) == 5


def test_exposures_on_postgresql_do_not_take_a_turn_among_the_writers(postgresql: PostgreSQL) -> None:
    """Rows that are only added must neither wait for a long change nor make one wait."""
    url = postgresql.create()
    with RowLog(url) as log, writing(connect(url, GENEROUS_S)[0]).begin():
        log.put(rows(5))
        assert log.flush(GENEROUS_S)
        assert len(written(log)) == 5


WRITER = """
import sys
from experiments.exposures import Exposure
from parley.row_log import RowLog
log = RowLog(sys.argv[1])
turn = 0
while True:
    log.put([Exposure("CRASH", turn, "u" * 64, "stt", "b_stt", 1, "release")])
    turn += 1
    if turn % 50 == 0:
        log.flush(30)
        print(turn, flush=True)
"""


def test_exposures_survive_the_crash_of_another_writer(log: RowLog, database_url: str) -> None:
    other = subprocess.Popen([sys.executable, "-c", WRITER, database_url], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert other.stdout
    try:
        log.put(rows(100, "MINE"))
        flushed = int(other.stdout.readline())
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.communicate(timeout=GENEROUS_S)
    log.put(rows(100, "AFTER"))
    assert log.flush(GENEROUS_S)
    assert len(written(log, "MINE")) == len(written(log, "AFTER")) == 100
    theirs = [row.turn for row in written(log, "CRASH")]
    assert len(theirs) >= flushed
    assert theirs == list(range(len(theirs))), "what is there is a gapless beginning"


def test_one_bad_row_does_not_take_its_neighbours_along(log: RowLog) -> None:
    bad = Exposure("CA1", 1, None, "stt", "b_stt", 1, "release")  # type: ignore[arg-type]
    log.put([*rows(3), bad, *rows(3)])
    assert log.flush(GENEROUS_S)
    assert (log.written, log.dropped, len(written(log))) == (6, 1, 6)
