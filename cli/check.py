"""``parley check BOT``: everything that is wrong with a bot file, at once, and what of it does not reach callers yet.

Errors are refused by every command that takes the file in, and give status 2. Warnings are probably not meant: a list
that nothing uses, a version that was trained on another bot.yaml. Nothing is changed.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.files import readable_json
from parley.settings import Settings, settings

if TYPE_CHECKING:
    from parley.bot import Bot
    from parley.bot.load import Examined


def main(argv: list[str]) -> int:
    """Print every complaint, a line each; status 2 where something is refused."""
    parser = ArgumentParser(prog="parley check", description=__doc__)
    parser.add_argument("bot", help="a bot's name, or the path of its folder or bot.yaml")
    parser.add_argument("--json", action="store_true", help="for a machine")
    args = parser.parse_args(argv)

    from parley.bot.load import examine_file, find_bot

    site = settings()
    file = find_bot(args.bot, site)
    found = examine_file(file, site)
    notes = _answering(site, found.bot, file) if found.bot is not None else []
    print(_json(file, found, notes) if args.json else _text(file, found, notes))
    return 2 if found.errors else 0


def _answering(site: Settings, bot: Bot, file: Path) -> list[str]:
    """What answers the bot's calls although the file says otherwise; nothing for a file that is not the site's."""
    from parley.bot.load import read_bot_text
    from registry.reading import open_for_reading
    from registry.releasing.stale import against_file

    if file.resolve() != (Path(site.bots_dir) / bot.name / "bot.yaml").resolve():
        return []
    try:
        with open_for_reading(site) as registry:
            return against_file(registry, bot.name, read_bot_text(file))
    except ParleyError as error:
        return [f"what answers its calls cannot be read: {error}"]


def _text(file: Path, found: Examined, notes: list[str]) -> str:
    lines = [f"{p.where}: error: {p.complaint}" for p in sorted(found.errors, key=lambda p: p.line)]
    lines += [f"{p.where}: warning: {p.complaint}" for p in sorted(found.warnings, key=lambda p: p.line)]
    lines += [f"{file}: warning: {note}" for note in notes]
    counted = [(len(found.errors), "error"), (len(found.warnings) + len(notes), "warning")]
    told = ", ".join(f"{count} {word}{'s' if count != 1 else ''}" for count, word in counted if count)
    return "\n".join(
        [*(" ".join(line.split("\n")) for line in lines), f"{file}: {told or 'nothing to complain about'}"]
    )


def _json(file: Path, found: Examined, notes: list[str]) -> str:
    told = {
        "file": str(file),
        "bot": found.bot.name if found.bot else None,
        "errors": [asdict(problem) for problem in found.errors],
        "warnings": [asdict(problem) for problem in found.warnings],
        "answering": notes,
    }
    return readable_json(told)
