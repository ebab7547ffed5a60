"""``parley bench quality --data DIR --out DIR [--only slu,nlu]``: every family measured, and one page of it all.

Each family runs in a process of its own into ``OUT/<family>/``. One that lacks data or a run is skipped and says what
is missing; one that fails does not stop the others. ``OUT/report.html`` is a single file that needs no network: tables,
plots, audio, the commands, commit and environment. It is written again after each family, from everything that lies in
OUT, so that families measured on different days stand on one page.

Exit status 0: what was asked for was measured or, not being asked for by name, skipped; 1: a family failed, or one
named with ``--only`` was skipped; 2: nothing could be measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.quality.families import FAMILIES, Family, Place, Step, chosen
from benchmarks.quality.page import write_page
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import ProgressHandle, progress

STATE = "quality.json"
_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Outcome:
    """How a family ended."""

    state: str
    """``measured``, ``skipped`` or ``failed``."""
    reason: str = ""
    seconds: float = 0.0
    when: str = ""
    """UTC, to the second."""


def run_family(family: Family, place: Place, bar: ProgressHandle) -> Outcome:
    """Run a family's steps; whatever they print lies in ``<family>.log`` beside its results."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        steps = family.steps(place)
    except ParleyError as error:
        return Outcome("skipped", str(error), 0.0, when)
    place.out.mkdir(parents=True, exist_ok=True)
    log, began = place.out / f"{family.name}.log", time.monotonic()
    log.write_text("", encoding="utf-8")
    for step in steps:
        status, last = _run_step(step, log, family.name, bar)
        if status:
            reason = f"{last or 'no message'} (exit status {status}; {log.name} has all of it)"
            return Outcome("failed", reason, round(time.monotonic() - began, 1), when)
    return Outcome("measured", "", round(time.monotonic() - began, 1), when)


def _run_step(step: Step, log: Path, name: str, bar: ProgressHandle) -> tuple[int, str]:
    """Exit status and last line of a step; its lines go to the log, what it says of its progress to the terminal."""
    path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH", "")]))
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": path}
    last = ""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ python -m {' '.join(step)}\n")
        file.flush()
        with subprocess.Popen(
            [sys.executable, "-m", *step], stdout=file, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
            text=True, encoding="utf-8", errors="replace", env=environment,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            for line in process.stderr:
                file.write(line)
                if said := line.strip():
                    last = said
                    bar.update(f"{name}: {said[:60]}")
                    if not sys.stderr.isatty():
                        print(f"{name}: {said}", file=sys.stderr, flush=True)
    return process.returncode, last.removeprefix("parley: ")


def measure(
    families: Sequence[Family], args: argparse.Namespace, command: str, shown: Sequence[Family] = FAMILIES
) -> dict[str, Outcome]:
    """Run the families one after the other; states and page, which shows all of ``shown``, are written after each."""
    outcomes: dict[str, Outcome] = {}
    with progress("quality", len(families)) as bar:
        for family in families:
            bar.update(family.name)
            place = Place(args.data, args.runs, (args.out / family.name).resolve(), args.champion)
            outcomes[family.name] = run_family(family, place, bar)
            remember(args.out, outcomes, command)
            write_page(args.out, shown)
            bar.advance()
    return outcomes


def remember(out: Path, outcomes: dict[str, Outcome], command: str) -> None:
    """Add how families ended to what earlier commands left. A skipped family keeps its earlier results and state."""
    path = out / STATE
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["families"] if path.is_file() else {}
    for name, outcome in outcomes.items():
        if outcome.state != "skipped" or known.get(name, {}).get("state") != "measured":
            known[name] = asdict(outcome)
    write_json(path, {"command": command, "families": known})


def status_of(outcomes: dict[str, Outcome], named: bool) -> int:
    """Exit status; see the module's text.

    Raises:
        ParleyError: nothing was measured and nothing failed.
    """
    states = [outcome.state for outcome in outcomes.values()]
    if set(states) == {"skipped"}:
        mend = "docs/quality.md says what each family needs"
        raise ParleyError("nothing could be measured", where="parley bench quality", mend=mend)
    return int("failed" in states or (named and "skipped" in states))


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, measure, write the page. Returns the exit status."""
    parser = ArgumentParser(prog="parley bench quality", description=__doc__)
    names = ",".join(family.name for family in FAMILIES)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data (docs/quality.md)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the results and of report.html")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the trained runs (default runs)")
    parser.add_argument("--only", default="", help=f"some of {names}")
    parser.add_argument("--champion", action="store_true",
                        help="slu: the release that answers, instead of the runs of a cross-validation")  # fmt: skip
    args = parser.parse_args(argv)
    if not args.data.is_dir():
        raise ParleyError("no such folder", where=str(args.data), mend="docs/quality.md says what it holds")
    command = " ".join(["parley bench quality", *(sys.argv[1:] if argv is None else argv)])
    outcomes = measure(chosen(args.only), args, command)
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome.state}{f', {outcome.reason}' if outcome.reason else f' in {outcome.seconds:.0f} s'}")
    print(args.out / "report.html")
    return status_of(outcomes, bool(args.only))


if __name__ == "__main__":
    exit_with(main)
