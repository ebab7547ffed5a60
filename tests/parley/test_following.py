"""Following a source: its newest state, or the last one it gave; a listener that fails ends nothing."""

from __future__ import annotations

import pytest

from parley.database import DatabaseUnavailable
from parley.following import POLL_S, Follower

GENEROUS_S = 30.0


class Source:
    """States by version; it can be away, and go back to a backup."""

    def __init__(self) -> None:
        self.at, self.away = 0, False
        self.reads = 0

    def version(self) -> int:
        if self.away:
            raise DatabaseUnavailable("gone")
        return self.at

    def read(self) -> str:
        self.reads += 1
        return f"state {self.at}"


def following(source: Source, **more: object) -> Follower[str]:
    return Follower(source.version, source.read, "", "source", **more)  # type: ignore[arg-type]


def test_what_did_not_change_is_read_once_and_told_once() -> None:
    source, told = Source(), list[str]()
    follower = following(source, on_change=told.append)
    for source.at in (1, 1, 1, 2, 2):
        assert follower.poll()
    assert (source.reads, told, follower.value) == (2, ["state 1", "state 2"], "state 2")


def test_an_absent_source_keeps_the_last_state_and_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "parley.background")
    source = Source()
    follower = following(source)
    assert follower.poll() and not follower.stale
    source.away = True
    for _ in range(3):
        assert not follower.poll()
    assert follower.stale and follower.value == "state 0"
    source.away = False
    assert follower.poll() and not follower.stale
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"]


def test_a_follower_returns_to_the_state_of_a_restored_backup() -> None:
    source = Source()
    follower = following(source)
    for source.at in (5, 3):
        follower.poll()
    assert follower.value == "state 3"


def test_a_listener_that_fails_does_not_end_the_following() -> None:
    def listen(state: str) -> None:
        raise RuntimeError("listener")

    source = Source()
    with following(source, interval_s=0.001, on_change=listen) as follower:
        for source.at in (1, 2):
            assert follower.wait_for(lambda state: state == f"state {source.at}", GENEROUS_S)


def test_a_rollback_is_seen_within_the_second_that_was_promised() -> None:
    pace = following(Source()).loop.pace
    assert pace.interval_s == POLL_S <= 0.25 and pace.wait_s(1000) == 1.0
