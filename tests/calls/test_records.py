"""Rows of calls, turns and subjects: they come back as they were, join exposures, and outlive who wrote them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from calls import tables as t
from calls.records import Call, CallBegan, CallEnded, StageServed, TurnRow, call, named_by_gateway, turns
from calls.subjects import link, references
from experiments import tables as experiments
from experiments.exposures import Exposure
from parley.database import connect, writing
from parley.row_log import RowLog

ROOT = Path(__file__).parents[2]
GENEROUS_S = 30.0
UNIT = "ab" * 32
AT = datetime(2026, 11, 28, 12, tzinfo=UTC)
BEGAN = CallBegan("c1", "CA1", UNIT, "barista", 3, "twilio", "replica 3f2a", AT)
TURN = TurnRow(
    call_id="c1", turn=1, at=AT, kind="speech", caller_began_ms=2100.0, caller_ended_ms=2900.0, stt_ms=31.5, nlu_ms=4.0,
    nlg_ms=None, tts_first_ms=None, voice_to_voice_ms=None, played_ms=0.0, ended="replaced", resumed=False,
    intent="orderDrink", text=None,
    served={"stt": StageServed("barista_stt", 2, 0, "experiment", "TimeoutError", "stt-2", "treatment")},
)  # fmt: skip


@pytest.fixture
def log(database_url: str) -> Iterator[RowLog]:
    with RowLog(database_url) as opened:
        yield opened


def test_a_call_and_its_turns_come_back_as_they_were(log: RowLog) -> None:
    with log.read() as connection:
        assert (call(connection, "c1"), turns(connection, "c1")) == (None, [])
    second = replace(TURN, turn=2, text="yes", ended="heard", served={})
    log.put([BEGAN, TURN, second, CallEnded("c1", AT.replace(minute=1), "goodbye", ("orderDrink", "orderDrink"))])
    assert log.flush(GENEROUS_S)
    with log.read() as connection:
        found = call(connection, "c1")
        assert turns(connection, "c1") == [TURN, second]
    assert found == Call(
        "c1", "CA1", UNIT, "barista", 3, "twilio", "replica 3f2a", AT, AT.replace(minute=1), "goodbye",
        ("orderDrink", "orderDrink"),
    )  # fmt: skip


def test_exposures_join_their_call_and_turn(log: RowLog) -> None:
    log.put([BEGAN, TURN, Exposure("c1", 1, UNIT, "stt", "barista_stt", 0, "fallback", "stt-2", "treatment", 4)])
    assert log.flush(GENEROUS_S)
    e = experiments.exposures.c
    joined = sa.join(experiments.exposures, t.calls, e.call_id == t.calls.c.call_id).join(
        t.turns, (e.call_id == t.turns.c.call_id) & (e.turn == t.turns.c.turn)
    )
    with log.read() as connection:
        query = sa.select(t.calls.c.bot, t.turns.c.intent, e.arm, e.unit == t.calls.c.unit).select_from(joined)
        assert [tuple(row) for row in connection.execute(query)] == [("barista", "orderDrink", "treatment", True)]


def test_the_end_of_a_call_whose_beginning_was_lost_makes_no_row(log: RowLog) -> None:
    log.put([CallEnded("unknown", AT, "goodbye", ())])
    assert log.flush(GENEROUS_S)
    with log.read() as connection:
        assert call(connection, "unknown") is None


REPLICA = """
import sys, time
from datetime import UTC, datetime
from parley.row_log import RowLog
from calls.records import CallBegan
log = RowLog(sys.argv[1])
log.put([CallBegan("killed", "CA1", "ab" * 32, "barista", 3, "twilio", "replica 3f2a", datetime.now(UTC))])
log.flush(30)
print("began", flush=True)
time.sleep(60)
"""


def test_a_killed_replica_leaves_a_row_that_began_and_has_no_end(log: RowLog, database_url: str) -> None:
    other = subprocess.Popen([sys.executable, "-c", REPLICA, database_url], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    assert other.stdout
    try:
        assert other.stdout.readline() == "began\n"
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.communicate(timeout=GENEROUS_S)
    with log.read() as connection:
        found = call(connection, "killed")
    assert found is not None and found.began and (found.ended, found.why, found.tasks) == (None, None, None)
    assert found.replica == "replica 3f2a", "whose heartbeat among the leases says whether it lives"


@pytest.mark.parametrize(
    ("gateway_id", "caller", "kept"),
    [
        ("CA0123456789abcdef", "+4930987123654", "CA0123456789abcdef"),
        ("sip-4930987123654@pbx", "+4930987123654", ""),
        ("0309-87123654/17", "030 987 123 654", ""),
        ("030987123654-17", "+4930987123654", ""),
        ("call-+4930123456@pbx", "sip:+4930123456@10.0.0.5:5060", ""),
        ("call-+4930123456@pbx", '"Ada 2" <sip:4930123456@192.168.1.20>', ""),
        ("call-+4930123456@pbx", "+49 30 123456;ext=12", ""),
        ("call-+4930123456@pbx", "tel:+4930123456;phone-context=+1", ""),
        ("call-+4930123456@pbx", "+49 30 123456 ext. 12", ""),
        ("call-+49301234@pbx", "+49 (0)30 1234", ""),
        ("call-+4930123456@pbx", '"Ada 2" <4930123456@10.0.0.5>', ""),
        ("call-+4930123456@pbx", "sip:ada(4930123456)@pbx", ""),
        ("17@192.168.1.20:5060", "sip:ada@192.168.1.20:5060", "17@192.168.1.20:5060"),
        ("170012345.12", "", "170012345.12"),
        ("a\x00b\ud800c", "+49", "a\ufffdb\ufffdc"),
        ("x" * 500, "", "x" * 128),
        ("ext-200-1", "200", "ext-200-1"),
    ],
)
def test_what_a_gateway_calls_a_call_is_kept_unless_it_names_the_caller(
    gateway_id: str, caller: str, kept: str
) -> None:
    assert named_by_gateway(gateway_id, caller) == kept


def test_everything_that_came_of_a_person_is_found_and_linked_once(log: RowLog, database_url: str) -> None:
    engine, _ = connect(database_url, GENEROUS_S)
    with writing(engine).begin() as connection:
        assert link(connection, UNIT, "recording", ["r2", "r1", "r2"]) == 2
        assert link(connection, UNIT, "recording", ["r1", "r3"]) == 1
        assert link(connection, UNIT, "dataset_row", ["d1"]) == 1
        link(connection, "cd" * 32, "recording", ["r9"])
        found = [(subject.kind, subject.reference) for subject in references(connection, UNIT)]
    assert found == [("dataset_row", "d1"), ("recording", "r1"), ("recording", "r2"), ("recording", "r3")]
    engine.dispose()
