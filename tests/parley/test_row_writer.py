"""The background writer: bounded, counted, and in no call's way."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from parley.background import Pace
from parley.database import DatabaseUnavailable
from parley.row_writer import RowWriter

GENEROUS_S = 30.0
AT_ONCE = Pace(interval_s=None, retry_s=0.5, retry_at_most_s=0.5)


def test_a_full_queue_counts_what_it_drops(caplog: pytest.LogCaptureFixture) -> None:
    free = threading.Event()

    def blocked(batch: object) -> None:
        free.wait(GENEROUS_S)

    writer = RowWriter[int](blocked, max_pending=10, pace=AT_ONCE)
    writer.put(range(25))
    assert writer.dropped == 15
    assert "15 rows of calls lost" in caplog.text
    free.set()
    writer.close(GENEROUS_S)
    assert (writer.written, writer.dropped) == (10, 15)
    writer.put(range(2))
    assert writer.dropped == 17


def test_a_database_that_stays_away_costs_counted_rows_at_close(caplog: pytest.LogCaptureFixture) -> None:
    def away(batch: object) -> None:
        raise DatabaseUnavailable("gone")

    writer = RowWriter[int](away, pace=AT_ONCE)
    writer.put(range(7))
    writer.close(0.2)
    assert (writer.written, writer.dropped) == (0, 7)
    assert caplog.text.count("wait in memory") == 1


class Away:
    """A database that is away for the first tries."""

    def __init__(self, tries: int) -> None:
        self.tries = tries
        self.rows: list[int] = []

    def write(self, batch: Sequence[int]) -> None:
        self.tries -= 1
        if self.tries >= 0:
            raise DatabaseUnavailable("gone")
        self.rows.extend(batch)


def test_rows_wait_while_the_database_is_away_and_are_written_once_in_their_order() -> None:
    database = Away(tries=3)
    writer = RowWriter[int](database.write, pace=Pace(None, retry_s=0.001, retry_at_most_s=0.001))
    for row in range(1200):
        writer.put([row])
    assert writer.flush(GENEROUS_S)
    writer.close(GENEROUS_S)
    assert database.rows == list(range(1200))
    assert (writer.written, writer.dropped, writer.pending) == (1200, 0, 0)
    assert writer.loop.health.ok


@pytest.fixture
def no_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """No thread can be started until this is undone."""

    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", full)
        yield patched


def test_rows_wait_while_no_thread_can_be_started_and_the_next_ones_take_them_along(
    no_thread: pytest.MonkeyPatch,
) -> None:
    database = Away(tries=0)
    writer = RowWriter[int](database.write, max_pending=3, pace=AT_ONCE)
    with pytest.raises(RuntimeError, match="new thread"):
        writer.put(range(5))
    assert (writer.pending, writer.dropped) == (3, 2)
    no_thread.undo()

    writer.put([])

    assert writer.flush(GENEROUS_S) and writer.loop.running
    writer.close(GENEROUS_S)
    assert database.rows == [0, 1, 2]


def test_closing_writes_the_rows_of_a_writer_whose_thread_never_started(no_thread: pytest.MonkeyPatch) -> None:
    database = Away(tries=0)
    writer = RowWriter[int](database.write, pace=AT_ONCE)
    with pytest.raises(RuntimeError, match="new thread"):
        writer.put([1, 2])
    writer.close(GENEROUS_S)
    assert (database.rows, writer.written, writer.dropped) == ([1, 2], 2, 0)


def test_closing_tries_again_without_the_back_off() -> None:
    database = Away(tries=2)
    writer = RowWriter[int](database.write, pace=Pace(None, retry_s=3600.0, retry_at_most_s=3600.0))
    writer.put([1, 2])
    writer.close(GENEROUS_S)
    assert database.rows == [1, 2] and writer.dropped == 0
