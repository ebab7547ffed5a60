"""STT and NLU on real callers, condition by condition: ``python -m benchmarks.quality.slu --manifest M --out DIR``.

    # a release, on whatever the manifest holds
    python -m benchmarks.quality.slu --manifest test.jsonl --noise kitchen.flac --out quality/release
    # cross-validation: every speaker heard by the run that never trained on him
    python -m benchmarks.quality.slu --manifest all.jsonl --noise kitchen.flac --runs runs/fold[0-4] --out DIR

Systems: ``heard`` is what a call hears (voice activity, turn taking, STT, NLU); ``given`` is STT and NLU with the
speech's boundaries from the manifest, to tell what voice activity costs; ``sphinx`` is the peer, boundaries given.
Every system hears the same samples. ``--outside M2.jsonl`` adds speech that is no request, for the false acceptances.
The report is written after every condition; a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.quality.cards import add_to_card
from benchmarks.quality.ears import Ear, make_ears, unheard
from benchmarks.quality.pieces import made_by
from benchmarks.quality.report import write_report
from benchmarks.quality.slu_errors import by_speaker_and_slot
from judging.conditions import CLEAN, GRID, NOISY, Condition, read_noise
from judging.slu import FIGURES, clustered, figures, misses
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.recordings import read_recordings
from parley.runs import Run

SYSTEMS = ("heard", "given", "sphinx")
OUTSIDE_CONDITIONS = (CLEAN, Condition(snr_db=12.0))


async def measure(ears: Sequence[Ear], condition: Condition, args: argparse.Namespace, label: str) -> dict[str, Any]:
    """The figures of one system under one condition."""
    # Voice activity, and runs with --noise, have heard the first half of the kitchen's.
    noise = read_noise(args.noise, "second")
    judged = unheard(ears, read_recordings(args.manifest))
    if args.outside and condition in OUTSIDE_CONDITIONS:
        judged += [(recording, ears[0]) for recording in read_recordings(args.outside)]
    heard = []
    with progress(label, len(judged)) as bar:
        for recording, ear in judged:
            pcm = condition.apply(recording.samples(TELEPHONE_RATE), noise, recording.audio)
            heard.append(await ear.hear(recording, pcm))
            bar.advance()
    rows = [recording for recording, _ in judged]
    return {**figures(rows, heard), **by_speaker_and_slot(rows, heard), "misses": misses(rows, heard)}


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the report lacks, and write it after every condition."""
    path, runs = args.out / "slu.json", [str(r) for r in args.runs]
    args.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"results": {}}
    if report.get("runs", runs) != runs:
        raise ParleyError("it holds other runs' results", where=str(path), mend="give another --out, or delete it")
    report |= {"runs": runs, "noise_part": "second", **made_by(report, "benchmarks.quality.slu")}
    conditions = [c for c in GRID if args.noise or c.snr_db is None]
    for system in args.systems.split(","):
        async with AsyncExitStack() as stack:
            ears = await make_ears(system, args.bot, args.runs, stack)
            done = report["results"].setdefault(system, {})
            for condition in conditions:
                if condition.name in done or (args.only and condition.name not in args.only.split(";")):
                    continue
                done[condition.name] = {
                    "condition": asdict(condition),
                    **await measure(ears, condition, args, f"{system}: {condition.name}"),
                }
                done["mean of SNRs"] = mean_of_snrs(done)
                write_json(path, report)
                write_report(report, args.out)
    return report


def mean_of_snrs(done: dict[str, Any]) -> dict[str, Any]:
    """Acceptance averaged over the SNRs measured, its interval by speaker."""
    found = [done[c.name] for c in NOISY if c.name in done]
    counts = [((right, n), who) for row in found for who, (right, n) in row["by_speaker"].items()]
    if not counts:
        return {}
    value, bounds = clustered([c for c, _ in counts], [who for _, who in counts], empty=0.0)
    return {"command_acceptance": value, "command_acceptance_interval": bounds, "snrs": len(found)}


def write_card(report: dict[str, Any], run: Run) -> None:
    """Put what a call hears into a run's bundle, a slice a condition: for the model card of its version."""
    keys = [f"{name}{end}" for name in FIGURES for end in ("", "_interval")]
    keys += ["recordings", "speakers", "outside", "false_accepts", "false_orders", "snrs"]
    results = report["results"].get("heard", {})
    slices = {name: {k: row[k] for k in keys if k in row} for name, row in results.items() if row}
    runs = len(report["runs"])
    title = f"cross-validation of {runs} folds" if runs > 1 else "people kept apart" if runs else "release"
    add_to_card(run, title, slices)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, write and print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="recordings, as JSON lines")
    parser.add_argument("--outside", type=Path, help="manifest of speech that is no request")
    parser.add_argument("--noise", type=Path, help="noise of a place; its second half is used")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="exported runs, one a fold")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="separated by commas")
    parser.add_argument("--only", default="", help="names of conditions, separated by semicolons")
    parser.add_argument("--bot", default="barista")
    parser.add_argument("--card", type=Path, help="an exported run whose model card is to show these figures")
    parser.add_argument("--out", type=Path, required=True, help="folder of slu.json, slu.md, slu.png")
    args = parser.parse_args(argv)
    report = asyncio.run(run(args))
    if args.card:
        write_card(report, Run.open(args.card))
    print((args.out / "slu.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    exit_with(main)
