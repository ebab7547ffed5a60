"""The background writer: bounded, counted, and in no call's way."""

from __future__ import annotations

import threading

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
