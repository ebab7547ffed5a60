"""How a command begins and ends: the locale decides nothing, output that cannot be written is no traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from parley.files import readable_json
from parley.table import aligned

ROOT = Path(__file__).parents[2]
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A locale whose encoding is not UTF-8, on every machine."""


def _run(*argv: str, stdout: int | None = subprocess.PIPE, **environment: str) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "cli.main", *argv]
    return subprocess.run(
        command, stdout=stdout, stderr=subprocess.PIPE, timeout=120, cwd=ROOT, env={**os.environ, **environment}
    )


def test_output_is_the_same_bytes_under_every_locale() -> None:
    told = [_run("show", "café", **environment) for environment in ({"LC_ALL": "C.UTF-8"}, ASCII)]

    assert told[0].stderr == told[1].stderr
    assert told[0].stderr.splitlines()[-1].startswith("parley: café: ".encode()) and told[0].returncode == 2


def test_an_argument_that_is_no_text_is_refused() -> None:
    command = [os.fsencode(sys.executable), b"-m", b"cli.main", b"show", b"caf\xe9"]
    done = subprocess.run(command, capture_output=True, timeout=120, cwd=ROOT)

    assert done.returncode == 2 and b"argument 2" in done.stderr and done.stderr.count(b"\n") == 1


def test_output_that_cannot_be_written_is_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = _run("help", stdout=full.fileno())

    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"No space left" in done.stderr


def test_a_reader_that_has_gone_is_no_failure() -> None:
    gone, ours = os.pipe()
    os.close(gone)
    done = _run("help", stdout=ours)
    os.close(ours)

    assert (done.returncode, done.stderr) == (0, b"")


def test_a_row_is_one_line_whatever_is_in_it() -> None:
    table = aligned([["one\ntwo", "x" * 300], ["\x1b[31mred", "y"]], indent="")

    assert table.count("\n") == 1 and "\x1b" not in table and "x" * 300 in table


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_json_is_json_whatever_was_measured(figure: float) -> None:
    def refuse(name: str) -> None:
        raise AssertionError(name)

    told = readable_json({"wer": figure, "parts": [figure, (1.5, figure)]})

    assert json.loads(told, parse_constant=refuse) == {"wer": None, "parts": [None, [1.5, None]]}


def test_nobody_else_may_write_into_what_a_command_makes_whatever_the_umask(tmp_path: Path) -> None:
    code = (
        "import os, pathlib; os.umask(0)\n"
        "from parley.command import exit_with\n"
        f"exit_with(lambda: pathlib.Path({str(tmp_path / 'var')!r}).mkdir())"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)

    assert (tmp_path / "var").stat().st_mode & 0o022 == 0
