"""``parley gate CANDIDATE --against champion --utterances MANIFEST.jsonl``: is a release good enough to answer calls?

CANDIDATE is a release's number, or versions to put in the champion's place (``stt=3 nlu=2``). Both releases are asked
the same things; the bot's gate.yaml says what the candidate must show. Accepted, it becomes the candidate.
Exit status 0: accepted, 1: refused, 2: could not be judged.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.settings import settings
from parley.typed import is_number

if TYPE_CHECKING:
    from registry.releasing.documents import Release
    from registry.site import Registry


def main(argv: list[str]) -> int:
    """Measure, decide, write the verdict."""
    args = _parser().parse_args(argv)
    from judging.evidence import Materials, gather
    from registry.gating.gate import decide
    from registry.gating.gate_rules import read_rules
    from registry.gating.verdict import record, show, write_report
    from registry.site import who
    from registry.writing import open_for_writing

    site, console = settings(), Console(highlight=False, soft_wrap=True)
    speakers = tuple(filter(None, args.speakers.split(",")))
    materials = Materials(args.utterances, speakers, args.noise, args.golden, args.codec)
    for path in filter(None, (args.utterances, args.noise, args.golden)):
        if not path.is_file():
            raise ParleyError("no such file", where=str(path), mend="check the path")
    with open_for_writing(site) as registry:
        against, candidate = releases_of(registry, args.candidate, args.against, args.bot, who=who())
        rules = read_rules(site.bots_dir, candidate.bot)
        gathered = asyncio.run(gather(registry, candidate, against, rules, materials))
        verdict = decide(gathered.evidence, rules, args.purpose)
        show(verdict, console)
        folder = args.report or site.state_dir / "gate" / f"{candidate.bot}-{candidate.number}-{against.number}"
        html, _ = write_report(folder, verdict, gathered.rows)
        recorded = record(registry, verdict, who=who())
        console.print(f"\nverdict {recorded.number}: {html}")
    for note in filter(None, (recorded.note, *(recorded.candidate.warnings if recorded.candidate else ()))):
        print(f"note: {note}", file=sys.stderr)
    return 0 if verdict.accepted else 1


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="parley gate", description=__doc__)
    parser.add_argument("candidate", nargs="+", metavar="CANDIDATE", help="a release's number, or stage=version …")
    parser.add_argument("--against", default="champion", help="champion, previous, or a release's number")
    parser.add_argument("--bot", help="needed where there are several")
    parser.add_argument("--utterances", type=Path, help="manifest (JSON lines) of recordings neither has learned from")
    parser.add_argument("--speakers", default="", help="only these, separated by commas")
    parser.add_argument("--noise", type=Path, help="recorded noise; adds the conditions of the rules' snr_db")
    parser.add_argument("--golden", type=Path, help="another golden set than the bot's")
    parser.add_argument("--codec", choices=("ulaw", "alaw", "none"), default="ulaw")
    parser.add_argument("--purpose", choices=("better", "non-inferior"), default="better",
                        help="non-inferior: it need not be better if it is cheaper (gate.yaml: cheaper)")  # fmt: skip
    parser.add_argument("--report", type=Path, help="folder of verdict.html and verdict.json (default in STATE/gate)")
    return parser


def releases_of(
    registry: Registry, candidate: Sequence[str], against: str, bot: str | None, *, who: str
) -> tuple[Release, Release]:
    """Both releases; ``stage=version`` makes a release out of the one it is compared with, unless there is one.

    Raises:
        ParleyError: a name leads nowhere.
    """
    from registry.releasing.creating import create_release
    from registry.releasing.releases import dialogue_text, named, releases
    from registry.resolve import resolve_bot

    name = resolve_bot(registry, bot)
    with registry.catalogue.read() as c:
        old = named(c, name, against)
        if len(candidate) == 1 and "=" not in candidate[0]:
            return old, named(c, name, candidate[0])
        changes = _changes(candidate)
        wanted = {stage: ref.version for stage, ref in old.stages.items()} | changes
        for release in releases(c, name):
            same = {stage: ref.version for stage, ref in release.stages.items()} == wanted
            if same and release.dialogue_digest == old.dialogue_digest and release.state == "kept":
                return old, release
        text = dialogue_text(c, old.dialogue_digest)
    why = f"to be judged: {' '.join(candidate)} against release {old.number}"
    return old, create_release(registry, name, wanted, dialogue=text, who=who, why=why)


def _changes(candidate: Sequence[str]) -> dict[str, int]:
    from parley.bundle import FAMILIES

    changes: dict[str, int] = {}
    for part in candidate:
        stage, _, number = part.partition("=")
        if stage not in FAMILIES or not is_number(number):
            raise ParleyError(f"expected stage=version, got {part!r}", where="CANDIDATE", mend="for instance stt=3")
        changes[stage] = int(number)
    return changes
