"""``parley releases [--bot B] [list | show N | create STAGE=VERSION … | history]``: the releases of a bot."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.files import readable_json
from parley.settings import settings
from parley.table import aligned
from parley.typed import is_number, version_number

if TYPE_CHECKING:
    from registry.releasing.aliases import AliasChange, Aliases
    from registry.releasing.releases import Release
    from registry.site import Registry


def main(argv: list[str]) -> int:
    """List, show, make, or tell what was champion when."""
    args = _parser().parse_args(argv)

    from registry.reading import open_for_reading
    from registry.resolve import resolve_bot
    from registry.writing import open_for_writing

    opened = open_for_writing(settings()) if args.verb == "create" else open_for_reading(settings())
    with opened as registry:
        bot = resolve_bot(registry, args.bot)
        {"list": _list, "show": _show, "create": _create, "history": _history}[args.verb](registry, bot, args)
    return 0


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="parley releases", description=__doc__, parents=[_common()])
    parser.set_defaults(verb="list", bot=None, json=False)
    common = _common()  # not the same: a parser's defaults go into its parents, and would undo `--json list`
    verbs = parser.add_subparsers(metavar="list|show|create|history")
    verbs.add_parser("list", parents=[common], help="every release").set_defaults(verb="list")
    show = verbs.add_parser("show", parents=[common], help="one release: its versions by digest, and its verdicts")
    show.set_defaults(verb="show")
    show.add_argument("number", type=version_number, metavar="N")
    text = "make the next release: the champion's versions with the named stages replaced"
    create = verbs.add_parser("create", parents=[common], help=text, description=text)
    create.set_defaults(verb="create")
    create.add_argument("stages", nargs="*", metavar="STAGE=VERSION", help="stt=3 nlu=2; none: the dialogue alone")
    create.add_argument("--dialogue", type=Path, metavar="FILE", help="a bot.yaml; default: the bot's, as it is now")
    create.add_argument("--why", default="", help="for the audit")
    create.add_argument(
        "--stale-ok", action="store_true", help="although versions never learned what the bot.yaml says; needs --why"
    )
    history = verbs.add_parser("history", parents=[common], help="every change of an alias: what was champion when")
    history.set_defaults(verb="history")
    return parser


def _common() -> ArgumentParser:
    """Options that may stand before the verb and after it."""
    common = ArgumentParser(add_help=False)
    common.add_argument("--bot", default=argparse.SUPPRESS, help="may be left out where only one bot answers calls")
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="for a machine")
    return common


def _list(registry: Registry, bot: str, args: argparse.Namespace) -> None:
    from registry.releasing.aliases import current_aliases
    from registry.releasing.documents import as_json
    from registry.releasing.releases import releases

    with registry.catalogue.read() as c:
        found, now = releases(c, bot), current_aliases(c, bot)
    if args.json:
        rows = [
            {**as_json(release), "state": release.state, "names": now.of_release(release.number)} for release in found
        ]
        print(readable_json({"bot": bot, "pointers": asdict(now), "releases": rows}))
    elif found:
        print(aligned([_row(release, now) for release in found], indent=""))
    else:
        print(f"{bot} has no release")


def _row(release: Release, now: Aliases) -> list[str]:
    versions = " ".join(f"{stage}={ref.version}" for stage, ref in release.stages.items())
    names = ", ".join([*now.of_release(release.number), *(["retired"] if release.state == "retired" else [])])
    return [
        str(release.number), versions, f"dialogue {release.dialogue_digest[:8]}", names, _when(release.at),
        release.who, release.why,
    ]  # fmt: skip


def _show(registry: Registry, bot: str, args: argparse.Namespace) -> None:
    import sqlalchemy as sa

    from registry import tables as t
    from registry.releasing.aliases import current_aliases
    from registry.releasing.documents import as_json
    from registry.releasing.releases import read_release

    with registry.catalogue.read() as c:
        release, now = read_release(c, bot, args.number), current_aliases(c, bot)
        about = (t.verdicts.c.bot == bot) & (t.verdicts.c.candidate == release.number)
        verdicts = c.execute(sa.select(t.verdicts).where(about).order_by(t.verdicts.c.id)).all()
    if args.json:
        told = [{"id": v.id, "against": v.against, "accepted": v.accepted, "report": v.report} for v in verdicts]
        names = {"state": release.state, "names": now.of_release(release.number), "verdicts": told}
        print(readable_json({**as_json(release), **names}))
        return
    facts = [
        ("names", ", ".join(now.of_release(release.number)) or "none"),
        ("made", f"{_when(release.at)} by {release.who}{f', because: {release.why}' if release.why else ''}"),
        *((str(stage), f"{ref.model} {ref.version}  {ref.digest}") for stage, ref in release.stages.items()),
        ("dialogue", release.dialogue_digest),
        *(
            (f"verdict {v.id}", f"{'accepted' if v.accepted else 'refused'} against release {v.against}, {_when(v.at)}")
            for v in verdicts
        ),
    ]
    print(f"{release}{' (retired)' if release.state == 'retired' else ''}\n{aligned(facts)}")


def _create(registry: Registry, bot: str, args: argparse.Namespace) -> None:
    from parley.bot.load import load_bot, read_bot_text
    from registry.releasing.creating import create_release
    from registry.releasing.documents import as_json
    from registry.site import who

    text = None
    if args.dialogue:
        load_bot(args.dialogue)  # what is wrong with it is told by its own lines
        text = read_bot_text(args.dialogue)
    stages = dict(_stage(word) for word in args.stages)
    made = create_release(
        registry, bot, stages, dialogue=text, who=who(), why=args.why, stale_ok=args.stale_ok
    )  # fmt: skip
    if args.json:
        print(readable_json(as_json(made)))
        return
    versions = " ".join(f"{stage}={ref.version}" for stage, ref in made.stages.items())
    print(f"{made}: {versions}, dialogue {made.dialogue_digest[:8]}")


def _stage(word: str) -> tuple[str, int]:
    stage, _, number = word.partition("=")
    if not is_number(number):
        raise ParleyError(f"{word!r} names no version", where="parley releases create", mend="say STAGE=VERSION: stt=3")
    return stage, int(number)


def _history(registry: Registry, bot: str, args: argparse.Namespace) -> None:
    from registry.releasing.aliases import history

    with registry.catalogue.read() as c:
        changes = history(c, bot)
    if args.json:
        print(readable_json([{**asdict(change), "at": change.at.isoformat()} for change in changes]))
    elif changes:
        print(aligned([_told(change) for change in changes], indent=""))
    else:
        print(f"{bot} has no release")


def _told(change: AliasChange) -> list[str]:
    return [
        str(change.seq), _when(change.at), f"{change.what}{' (forced)' if change.forced else ''}",
        f"{change.moved_from or '-'} -> {change.moved_to or '-'}", f"champion {change.champion or '-'}",
        f"candidate {change.candidate or '-'}", f"previous {change.previous or '-'}", change.who, change.why,
    ]  # fmt: skip


def _when(at: datetime | None) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC" if at else "at an unknown time"
