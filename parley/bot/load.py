"""Read a ``bot.yaml``. Every complaint names the file, the line, the key and what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from parley.bot import rules, values
from parley.bot.problems import Placed, Problem
from parley.bot.spec import UNKNOWN_LANGUAGE, Bot
from parley.errors import ParleyError
from parley.settings import Settings, settings
from parley.text_files import read_text
from parley.yaml_text import LARGEST_BYTES, Path_, dotted, read_yaml, spelt


@dataclass(frozen=True)
class Examined:
    """A text read to its end, whatever is wrong with it."""

    bot: Bot | None
    """The bot it describes, where its types are right."""
    problems: tuple[Placed, ...]
    """Everything that is wrong, causes before what follows from them."""

    @property
    def errors(self) -> list[Placed]:
        """What is refused."""
        return [problem for problem in self.problems if problem.kind != "warning"]

    @property
    def warnings(self) -> list[Placed]:
        """What is probably not meant."""
        return [problem for problem in self.problems if problem.kind == "warning"]


def load_bot(name_or_path: str | Path, config: Settings | None = None) -> Bot:
    """Load a bot by name (a folder of ``PARLEY_BOTS_DIR``) or by the path of its folder or file.

    Raises:
        ParleyError: no such bot, or the file is wrong; the message names file, line, key and expectation.
    """
    site = config or settings()
    file = find_bot(name_or_path, site)
    return _usable(examine_file(file, site), f"parley check {name_or_path}", ("broken", "refused"))


def read_bot_text(file: Path) -> str:
    """The text of a ``bot.yaml``, with line feeds whatever the editor.

    Raises:
        ParleyError: it cannot be read, is too large, or is no UTF-8; names line and byte.
    """
    return read_text(file, largest=LARGEST_BYTES).replace("\r\n", "\n").replace("\r", "\n")


def parse_bot(text: str, where: str, *, taken_in: bool = False) -> Bot:
    """The bot that a ``bot.yaml`` text describes, wherever it was kept.

    Args:
        text: the file's text.
        where: names the place in complaints.
        taken_in: it was accepted before, maybe when fewer rules were known: only what cannot be worked with is refused.

    Raises:
        ParleyError: the text is wrong; the message names place, line, key and expectation.
    """
    return _usable(examine(text, where), "", ("broken",) if taken_in else ("broken", "refused"))


def examine_file(file: Path, site: Settings) -> Examined:
    """Everything that is wrong with a ``bot.yaml``, its place among the bots too."""
    try:
        text = read_bot_text(file)
    except ParleyError as error:
        return _unreadable(error, str(file))
    found = examine(text, str(file))
    folder = file.resolve().parent
    if found.bot is None or folder.parent != Path(site.bots_dir).resolve() or found.bot.name == folder.name:
        return found
    line = next((n for n, part in enumerate(text.split("\n"), 1) if part.startswith("name")), 1)
    what = f"the bot is called {found.bot.name}, its folder {folder.name}"
    other = Placed(str(file), line, "name", what, "call both the same", "refused")
    return Examined(found.bot, (other, *found.problems))


def examine(text: str, where: str) -> Examined:
    """Everything that is wrong with a ``bot.yaml`` text, at once.

    What the YAML itself does wrong hides the rest, and stands alone. A value of a wrong type is named, and the others
    are judged as if a right one stood in its place.
    """
    try:
        document = read_yaml(text, where)
    except ParleyError as error:
        return _unreadable(error, where)
    data = document.data
    if not isinstance(data, dict):
        problems = [Problem((), "expected a mapping with name, slots, intents, dialogue, replies")]
        bot = None
    else:
        bot, problems = _judged(data)
    placed = [
        Placed(where, document.line(p.path), dotted(p.path), p.what, p.mend, p.kind) for p in dict.fromkeys(problems)
    ]
    whole = bot if not any(p.kind == "broken" for p in problems) else None
    return Examined(whole, tuple(placed))


def _unreadable(error: ParleyError, where: str) -> Examined:
    """A text that is no YAML: the one complaint about it."""
    line = error.where.removeprefix(f"{where}:")
    only = Placed(where, int(line) if line.isdigit() else 0, "", error.what, error.mend, "broken")
    return Examined(None, (only,))


def find_bot(name_or_path: str | Path, config: Settings) -> Path:
    """The ``bot.yaml`` of a bot.

    Raises:
        ParleyError: no such bot; lists which there are.
    """
    path = Path(name_or_path)
    candidates = [config.bots_dir / path / "bot.yaml", path / "bot.yaml", path]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    known = sorted(p.parent.name for p in config.bots_dir.glob("*/bot.yaml"))
    raise ParleyError(
        f"no bot {str(name_or_path)!r}",
        where=str(config.bots_dir),
        mend=f"known bots: {', '.join(known) or 'none'}; or give the path of a bot.yaml",
    )


def _usable(found: Examined, check: str, refused: tuple[str, ...]) -> Bot:
    """The bot, unless something of these kinds is wrong with it."""
    against = [problem for problem in found.problems if problem.kind in refused]
    if not against and found.bot is not None:
        return found.bot
    first, more = against[0], len(against) - 1
    key = f"{first.key}: " if first.key else ""
    mend = f"{first.mend}; and {more} more{f': {check}' if check else ''}" if more else first.mend
    raise ParleyError(f"{key}{first.what}", where=first.where, mend=mend)


def _judged(data: dict[str, Any]) -> tuple[Bot | None, list[Problem]]:
    """The bot of some data, where it can be made, and what is wrong. Changes the data."""
    problems, used = values.write_out(data)
    bot = None
    for _ in range(3):  # a stand-in may lack what another key asks for; twice is enough for all that was found
        try:
            bot = Bot.model_validate(data)
            break
        except ValidationError as error:
            wrong = list(_wrong_types(data, error))
            problems += _unheard(wrong, problems)
            if not all([_stand_in(data, problem.path) for problem in wrong]):
                break
    if bot is not None:
        problems += _unheard(list(rules.problems(bot, used)), problems)
    return bot, problems


def _unheard(new: list[Problem], known: list[Problem]) -> list[Problem]:
    """Without those that a complaint made before explains: it is about the same place, or one around or within it."""
    paths = [problem.path for problem in known]

    def near(path: Path_) -> bool:
        # A whole section is around too much to be explained by one of its entries.
        return any(
            path[: len(other)] == other or (len(path) > 1 and other[: len(path)] == path) for other in paths if other
        )

    return [problem for problem in new if not problem.path or not near(problem.path)]


def _wrong_types(data: dict[str, Any], error: ValidationError) -> Iterator[Problem]:
    """What the types refuse, each place once."""
    seen = set()
    for one in error.errors():
        loc = [part for part in one["loc"] if part != "[key]"]
        # A list's entry is one of two types, and complains as both: the one that was meant is told by its shape.
        if loc[:1] == ["lists"] and len(loc) > 2:
            kind = "list[str]" if isinstance(data["lists"][loc[1]], list) else "AnyOrderList"
            if loc[2] != kind:
                continue
            del loc[2]
        path = tuple(loc)
        if path not in seen:
            seen.add(path)
            yield _wrong_type(path, one, "[key]" in one["loc"])


_EXPECTED = {
    "dict_type": "keys and values", "model_type": "keys and values", "model_attributes_type": "keys and values",
    "list_type": "a list",
}  # fmt: skip


def _wrong_type(path: Path_, error: Any, is_key: bool) -> Problem:
    kind, given = error["type"], error.get("input")
    limits = error.get("ctx", {})
    if kind == "extra_forbidden":
        return Problem(path, "unknown key")
    if kind == "missing":
        return Problem(path, "this key is required")
    if kind == "string_type":
        return values.expected_text(path, given)
    if kind == "too_short":
        return Problem(path, f"needs at least {limits['min_length']}, has {limits['actual_length']}")
    if kind == "too_long":
        return Problem(path, f"has {limits['actual_length']}, {limits['max_length']} is the most")
    if is_key or (kind in ("string_pattern_mismatch", "string_too_long") and path[-1:] != ("language",)):
        return Problem(path, f"a name has letters, digits and _, 64 at most, and no digit first; got {spelt(given)}")
    if kind == UNKNOWN_LANGUAGE:
        return Problem(path, str(error["msg"]), f"{limits['mend']} (as in en-US, en-GB)")
    if kind == "string_pattern_mismatch":
        return Problem(path, f"expected a language and a region, as in en-US, got {spelt(given)}")
    if kind in _EXPECTED:
        return Problem(path, f"expected {_EXPECTED[kind]}, got {spelt(given)}")
    message = str(error["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    told = message if kind == "value_error" else f"expected {message}, got {spelt(given)}"
    return Problem(path, told)


_PHRASES: dict[str, Any] = {"phrases": ["x"]}
_STAND_INS: dict[str, Any] = {
    "name": "unnamed", "language": "en-US", "description": "", "lists": {}, "slots": {}, "replies": {},
    "intents": {"unnamed": _PHRASES},
}  # fmt: skip
_ENTRIES: dict[str, Any] = {
    "lists": ["x"], "slots": {"values": values.STAND_IN}, "intents": _PHRASES, "replies": ["x"],
}  # fmt: skip


def _stand_in(data: dict[str, Any], path: Path_) -> bool:
    """Put something of the right type where something of a wrong one stood; whether there is anything to put there."""
    section = str(path[0]) if path else ""
    if len(path) == 1:
        data.pop(section, None)
        if section in _STAND_INS:
            data[section] = deepcopy(_STAND_INS[section])
        return section != "dialogue"
    parent: Any = data
    step: Any
    for step in path[:-1]:
        if not (isinstance(parent, dict) and step in parent or isinstance(parent, list) and isinstance(step, int)):
            return bool(path)  # what it stood in has been replaced already
        parent = parent[step]
    key: Any = path[-1]
    if isinstance(parent, list) and isinstance(key, int):
        parent[key] = "x"
    elif section in _ENTRIES and len(path) <= 3 and isinstance(data[section], dict):
        name = str(path[1])
        data[section].pop(name, None)
        if name.isidentifier() and name.isascii():
            data[section][name] = deepcopy(_ENTRIES[section])
    elif isinstance(parent, dict):
        parent.pop(key, None)
    return bool(path)
