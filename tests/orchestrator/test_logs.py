"""Logs: JSON lines into a file of this site's own."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path

import pytest

from orchestrator.logs import LOG_FILE, log_to
from parley.errors import ParleyError


def test_a_record_is_one_json_line(tmp_path: Path) -> None:
    log_to(tmp_path)

    logging.getLogger("orchestrator.x").info("called", extra={"turns": 3, "name_of": "a\nb\ud800"})

    (line,) = (tmp_path / LOG_FILE).read_text(encoding="utf-8").splitlines()
    assert json.loads(line)["turns"] == 3 and json.loads(line)["message"] == "called"


def test_a_link_in_the_logs_place_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("as it was")
    (tmp_path / LOG_FILE).symlink_to(victim)

    with pytest.raises(ParleyError, match="it is a link"):
        log_to(tmp_path)

    assert victim.read_text() == "as it was"


@pytest.mark.parametrize("text", ["half \ud800", "\udcff\n\x00\u2028", "\U0001f600 é", "x" * 100_000])
def test_a_line_is_one_json_object_whatever_is_in_it(text: str, tmp_path: Path) -> None:
    log_to(tmp_path)

    logging.getLogger("orchestrator.test").warning("%s", text, extra={"reason": text, "n": float("inf")})

    row = (tmp_path / LOG_FILE).read_bytes()
    assert row.endswith(b"\n") and row.count(b"\n") == 1
    assert json.loads(row)["message"] == text and json.loads(row)["reason"] == text


@pytest.mark.parametrize("what", ["link", "dangling-link", "pipe", "folder"])
def test_what_is_no_file_is_not_written_to(what: str, tmp_path: Path) -> None:
    log, other = tmp_path / "logs" / LOG_FILE, tmp_path / "other"
    log.parent.mkdir()
    if what == "pipe":
        os.mkfifo(log)
    elif what == "folder":
        log.mkdir()
    else:
        log.symlink_to(other)
        if what == "link":
            other.write_text("")

    with pytest.raises(ParleyError, match="cannot write the log"):
        log_to(log.parent)

    assert not other.exists() or other.read_text() == ""


def test_others_may_neither_read_nor_write_it_even_without_a_mask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        log_to(tmp_path / "logs")
    finally:
        os.umask(before)

    for path in (tmp_path / "logs", tmp_path / "logs" / LOG_FILE):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o027
