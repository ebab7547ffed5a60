"""When the supervisor of the Triton server ends and restarts it; the server itself is in test_serving_triton.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.errors import ParleyError
from parley.serving.triton_supervisor import Supervision, Supervisor


class Fake:
    """A server whose process is there or not and which answers or not."""

    log_path = Path("triton.log")

    def __init__(self, pid: int | None) -> None:
        self.pid = pid
        self.answers = True
        self.done: list[str] = []
        self.now = 0.0

    def live(self, *, timeout_s: float) -> bool:
        return self.answers

    def raise_threads(self) -> None:
        return None

    def end_hung(self) -> None:
        self.done.append("ended")

    def ensure_alive(self) -> bool:
        self.done.append("restarted")
        return True


def test_a_server_that_hangs_is_ended_after_three_questions_in_a_row() -> None:
    server = Fake(pid=7)
    watch = Supervisor(server)
    for server.answers in (False, False, True, False, False):
        watch.look()
    assert server.done == []
    watch.look()
    assert server.done == ["ended", "restarted"]
    watch.look()
    assert server.done == ["ended", "restarted"], "the new one has its three questions"


def test_a_server_that_dies_five_times_a_minute_rests_and_is_restarted_after_it() -> None:
    server = Fake(pid=None)
    watch = Supervisor(server, clock=lambda: server.now)
    for server.now in (0.0, 1.0, 2.0, 3.0, 4.0):
        watch.look()
    for server.now in (5.0, 59.9):
        with pytest.raises(ParleyError, match="5 times within 60 s"):
            watch.look()
    assert server.done == ["restarted"] * 5
    server.now = 60.0
    watch.look()
    assert len(server.done) == 6


def test_the_pace_of_the_looks_is_that_of_the_rules() -> None:
    pace = Supervisor(Fake(None), Supervision(interval_s=0.02)).loop.pace
    assert (pace.wait_s(0), pace.wait_s(1), pace.wait_s(30)) == (0.02, 0.02, 5.0)
