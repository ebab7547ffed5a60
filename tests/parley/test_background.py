"""The background loop: its pace, what it says, how it does, and that waking and stopping are prompt."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from parley.background import BackgroundLoop, HealthNotes, LoopHealth, Pace
from parley.errors import ParleyError

GENEROUS_S = 30.0
NEVER = Pace(interval_s=None, retry_s=3600.0, retry_at_most_s=3600.0)
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Site:
    """What a step asks: in order or not; with a clock that each step moves by a second."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None
        self.steps = 0
        self.stepped = threading.Semaphore(0)

    def step(self) -> None:
        self.steps += 1
        self.stepped.release()
        if self.trouble is not None:
            raise self.trouble

    def now(self) -> datetime:
        return BEGAN + timedelta(seconds=self.steps)


def loop_of(site: Site, pace: Pace = NEVER) -> BackgroundLoop:
    return BackgroundLoop(site.step, name="n", pace=pace, failing="it stays", healed="it goes on", now=site.now)


@pytest.mark.parametrize(
    ("failures", "wait_s"), [(0, 1.0), (1, 0.5), (2, 1.0), (3, 2.0), (4, 4.0), (5, 5.0), (100_000, 5.0)]
)
def test_each_failure_in_a_row_doubles_the_wait_up_to_a_bound(failures: int, wait_s: float) -> None:
    assert Pace(interval_s=1.0, retry_s=0.5, retry_at_most_s=5.0).wait_s(failures) == wait_s


def test_a_failure_is_said_once_of_each_kind_until_it_heals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "parley.background")
    site = Site()
    loop = loop_of(site)
    for trouble in (None, ParleyError("gone"), ParleyError("gone since 3 s"), KeyError("bug"), None, None):
        site.trouble = trouble
        assert loop.attempt() is (trouble is None)
    site.trouble = ParleyError("gone")
    loop.attempt()

    assert [r.getMessage() for r in caplog.records] == [
        "it stays: gone",
        "it stays: 'bug'",
        "it goes on",
        "it stays: gone",
    ]
    assert [bool(r.exc_info) for r in caplog.records] == [False, True, False, False]


def test_health_tells_the_last_good_step_and_since_when_and_why_it_fails() -> None:
    site = Site()
    loop = loop_of(site)
    assert loop.health == LoopHealth() and loop.health.ok
    for site.trouble in (None, ParleyError("gone", where="postgresql://host/db"), KeyError("bug")):
        loop.attempt()

    good, failing = BEGAN + timedelta(seconds=1), BEGAN + timedelta(seconds=2)
    assert loop.health == LoopHealth(good, failing, 2, "'bug'", "KeyError")
    assert loop.health.figures() == {
        "ok": False,
        "last_good": good.isoformat(),
        "failing_since": failing.isoformat(),
        "failures": 2,
        "error": "KeyError",
    }
    site.trouble = None
    loop.attempt()
    assert loop.health == LoopHealth(BEGAN + timedelta(seconds=4))


def test_the_step_runs_when_it_is_woken_and_no_sooner() -> None:
    site = Site()
    with loop_of(site) as loop:
        for _ in range(3):
            loop.wake()
            assert site.stepped.acquire(timeout=GENEROUS_S)
    assert site.steps == 3 and not loop.running


def test_the_step_runs_again_after_its_interval_also_when_it_fails() -> None:
    site = Site()
    site.trouble = KeyError("bug")
    with loop_of(site, Pace(interval_s=0.0, retry_s=0.0, retry_at_most_s=0.0)):
        for _ in range(3):
            assert site.stepped.acquire(timeout=GENEROUS_S)


def test_waking_does_not_shorten_the_wait_after_a_failure() -> None:
    site = Site()
    site.trouble = ParleyError("gone")
    with loop_of(site) as loop:
        loop.wake()
        assert site.stepped.acquire(timeout=GENEROUS_S)
        while loop.health.ok:
            pass
        loop.wake()
    assert site.steps == 1


def test_wakes_that_come_close_together_are_one_step() -> None:
    site = Site()
    with loop_of(site, Pace(None, 3600.0, 3600.0, gather_s=0.05)) as loop:
        for _ in range(5):
            loop.wake()
        assert site.stepped.acquire(timeout=GENEROUS_S)
    assert site.steps == 1


def test_stopping_does_not_wait_for_the_interval_nor_for_a_step_that_hangs() -> None:
    free, inside = threading.Event(), threading.Event()

    def hang() -> None:
        inside.set()
        free.wait(GENEROUS_S)

    idle = loop_of(Site()).start()
    idle.stop()
    assert not idle.running
    stuck = BackgroundLoop(hang, name="n", pace=NEVER, failing="", healed="").start()
    stuck.wake()
    assert inside.wait(GENEROUS_S)
    stuck.stop(timeout_s=0.0)
    assert stuck.running
    free.set()
    stuck.stop()
    assert not stuck.running


def test_a_step_may_stop_its_own_loop() -> None:
    done = threading.Event()
    loop = BackgroundLoop(lambda: (loop.stop(), done.set()), name="n", pace=NEVER, failing="", healed="")
    loop.start().wake()
    assert done.wait(GENEROUS_S)
    loop.stop()
    assert not loop.running


def test_other_processes_read_whether_a_loop_is_well_while_it_runs(tmp_path: Path) -> None:
    site, notes = Site(), HealthNotes(tmp_path / "loops")
    loop = BackgroundLoop(site.step, name="n", pace=NEVER, failing="", healed="", notes=notes, now=site.now).start()
    shown = [notes.read()["n"]["ok"]]
    for site.trouble in (None, ParleyError("gone"), ParleyError("gone"), None):
        loop.attempt()
        shown.append(notes.read()["n"]["ok"])
    assert shown == [True, True, False, False, True]
    (tmp_path / "loops" / "dead.json").write_text('{"pid": 999999999, "ok": true}')
    (tmp_path / "loops" / "torn.json").write_text('{"pid": ')
    assert set(notes.read()) == {"n"}
    loop.stop()
    assert notes.read() == {}


def test_a_note_that_cannot_be_written_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "loops").touch()
    site = Site()
    loop = BackgroundLoop(site.step, name="n", pace=NEVER, failing="", healed="", notes=HealthNotes(tmp_path / "loops"))
    with loop:
        assert loop.attempt()
    assert HealthNotes(tmp_path / "loops").read() == {}
