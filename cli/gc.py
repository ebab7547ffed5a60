"""``parley gc``: retire releases and remove versions that nothing needs, saying why each stays or goes.

A release stays while an alias points to it, while it is among the bot's last ones or young; a version while a release
that stays, an experiment or a call needs it, while it is its model's newest, loaded or young. The record of a version
stays for ever.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.progress import progress
from parley.settings import settings
from parley.table import aligned
from parley.typed import count, days, version_number

if TYPE_CHECKING:
    from registry.housekeeping.retention import Decision
    from registry.site import Registry


def main(argv: list[str]) -> int:
    """Decide, print every decision, and act on it unless it is a dry run."""
    from registry.housekeeping.retention import KEEP_RELEASES, OLDER_THAN_DAYS, Policy

    parser = ArgumentParser(prog="parley gc", description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="only say what would stay and go")
    parser.add_argument("--keep", type=count, default=KEEP_RELEASES, metavar="N", help="a bot's last N releases stay")
    parser.add_argument("--older-than", type=days, default=OLDER_THAN_DAYS, metavar="DAYS", help="nothing younger goes")
    parser.add_argument("--version", nargs=2, metavar=("MODEL", "N"), help="only this version, whatever its age")
    parser.add_argument("--bot", help="whose, where several bots have the family of --version")
    args = parser.parse_args(argv)

    from registry.housekeeping.collect import collect
    from registry.reading import open_for_reading
    from registry.writing import open_for_writing

    opened = open_for_reading(settings()) if args.dry_run else open_for_writing(settings())
    with opened as registry:
        if args.version:
            name, number = args.version
            return _one(registry, name, number, args.bot, args.dry_run)
        done: list[Decision] = []
        try:
            with progress("collecting") as bar:

                def on_done(decision: Decision) -> None:
                    done.append(decision)
                    bar.advance()

                policy = Policy(args.keep, args.older_than)
                decisions = collect(registry, policy, dry_run=args.dry_run, on_done=on_done)
        except ParleyError:
            if done:  # what went is gone, whatever stopped the rest
                print(_text(done, dry_run=False))
            raise
    print(_text(decisions, args.dry_run))
    for decision in decisions:
        _say(decision.note)
    return 0


def _one(registry: Registry, name: str, number: str, bot: str | None, dry_run: bool) -> int:
    from registry.housekeeping.collect import collect_version, why_needed
    from registry.resolve import resolve_model

    wanted = version_number(number)
    model = resolve_model(registry, name, bot)
    if dry_run:
        reasons = why_needed(registry, model, wanted)
        print(f"{model} {number}: {'stays, ' + '; '.join(reasons) if reasons else 'would go'}")
        return 0
    note = collect_version(registry, model, wanted)
    print(f"{model} {number}: collected; its record stays (parley show {model} {number})")
    _say(note)
    return 0


def _say(note: str) -> None:
    """What could not be tidied up, on standard error."""
    if note:
        print(f"note: {note}; the next command finishes it", file=sys.stderr)


def _text(decisions: list[Decision], dry_run: bool) -> str:
    def row(decision: Decision) -> tuple[str, ...]:
        verb = {"release": "retire", "version": "collect"}[decision.kind]
        size = f"{decision.size_bytes / 1e6:.1f} MB" if decision.kind == "version" else ""
        return "keep" if decision.kept else verb, decision.subject, size, "; ".join(decision.reasons)

    going = [decision for decision in decisions if not decision.kept]
    freed = sum(decision.size_bytes for decision in going) / 1e6
    versions = sum(decision.kind == "version" for decision in going)
    would = "would be " if dry_run else ""
    summary = f"{len(going) - versions} releases {would}retired, {versions} versions {would}collected, {freed:.1f} MB"
    return "\n".join([aligned(row(decision) for decision in decisions), summary] if decisions else [summary])
