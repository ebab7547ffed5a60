"""Logs: JSON lines into a file of this site's own."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from orchestrator.logs import LOG_FILE, ROOMS, log_to


@pytest.fixture(autouse=True)
def _loggers_as_before() -> object:
    before = {room: (logging.getLogger(room).handlers[:], logging.getLogger(room).propagate) for room in ROOMS}
    yield
    for room, (handlers, propagate) in before.items():
        logger = logging.getLogger(room)
        logger.handlers[:], logger.propagate = handlers, propagate


def test_a_record_is_one_json_line(tmp_path: Path) -> None:
    log_to(tmp_path)

    logging.getLogger("orchestrator.x").info("called", extra={"turns": 3, "name_of": "a\nb\ud800"})

    (line,) = (tmp_path / LOG_FILE).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["turns"] == 3 and json.loads(line)["message"] == "called"


def test_a_link_in_the_logs_place_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (tmp_path / LOG_FILE).symlink_to(victim)

    with pytest.raises(OSError):
        log_to(tmp_path)

    assert victim.read_text() == "as it was"
