"""Read a ``bot.yaml``. Every complaint names the file, the line, the key and what was expected."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from parley.bot import template
from parley.bot.replies import unanswerable
from parley.bot.spec import Bot
from parley.bot.template import ListRef, Node, SlotRef, TemplateError
from parley.errors import ParleyError
from parley.settings import Settings, settings

Path_ = tuple[str | int, ...]


def load_bot(name_or_path: str | Path, config: Settings | None = None) -> Bot:
    """Load a bot by name (a folder of ``PARLEY_BOTS_DIR``) or by the path of its folder or file.

    Raises:
        ParleyError: no such bot, or the file is wrong; the message names file, line, key and expectation.
    """
    file = find_bot(name_or_path, config or settings())
    return parse_bot(read_bot_text(file), str(file))


def read_bot_text(file: Path) -> str:
    """The text of a ``bot.yaml``.

    Raises:
        ParleyError: it cannot be read, or is no text.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ParleyError("not UTF-8 text", where=str(file), mend="save it as UTF-8") from None
    except OSError as error:
        raise ParleyError(f"cannot be read: {error.strerror}", where=str(file), mend="name a bot.yaml") from None


def parse_bot(text: str, where: str) -> Bot:
    """The bot that a ``bot.yaml`` text describes, wherever it was kept. ``where`` names the place in complaints.

    Raises:
        ParleyError: the text is wrong; the message names place, line, key and expectation.
    """
    data, lines = _parse_yaml(where, text)

    def fail(path: Path_, expected: str) -> ParleyError:
        key = ".".join(str(p) for p in path) or "top level"
        while path not in lines:  # a missing key stands on no line: its parent's, then
            path = path[:-1]
        return ParleyError(f"{key}: {expected}", where=f"{where}:{lines[path]}", mend="see docs/bots.md")

    if not isinstance(data, dict):
        raise fail((), "expected a mapping with name, slots, intents, dialogue, replies")
    try:
        _expand_value_lists(data)
        bot = Bot.model_validate(data)
    except TemplateError as error:
        raise fail(("slots",), str(error)) from None
    except ValidationError as error:
        first = error.errors()[0]
        path = tuple(p for p in first["loc"] if p not in ("[key]", "list[str]", "AnyOrderList"))
        raise fail(path, _expectation(first)) from None
    for path, complaint in _inconsistencies(bot):
        raise fail(path, complaint)
    return bot


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


def _expectation(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return "unknown key"
    if error["type"] == "missing":
        return "this key is required"
    message = str(error["msg"]).removeprefix("Value error, ")
    given = error.get("input")
    return f"{message}, got {given!r}" if isinstance(given, str | int | float | bool) else message


def _parse_yaml(file: str, text: str) -> tuple[Any, dict[Path_, int]]:
    """The plain data, and for every key path the line it stands on."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ParleyError(f"not valid YAML: {problem}", where=f"{file}:{line}", mend="mend the line") from None
    lines: dict[Path_, int] = {(): 1}

    def convert(node: yaml.Node, path: Path_) -> Any:
        if isinstance(node, yaml.MappingNode):
            out: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value)
                lines[(*path, key)] = key_node.start_mark.line + 1
                if key in out:
                    where = f"{file}:{key_node.start_mark.line + 1}"
                    raise ParleyError(f"{key}: the key stands twice", where=where, mend="remove one")
                out[key] = convert(value_node, (*path, key))
            return out
        if isinstance(node, yaml.SequenceNode):
            items = []
            for index, child in enumerate(node.value):
                lines[(*path, index)] = child.start_mark.line + 1
                items.append(convert(child, (*path, index)))
            return items
        # Only numbers and truth values change type: "no" and "on" are words people say, not booleans.
        if node.tag == "tag:yaml.org,2002:int":
            return int(node.value)
        if node.tag == "tag:yaml.org,2002:bool" and node.value in ("true", "false"):
            return node.value == "true"
        return None if node.tag == "tag:yaml.org,2002:null" else node.value

    return (convert(root, ()) if root else None), lines


def _expand_value_lists(data: dict[str, Any]) -> None:
    """Turn ``values: [phrase, ...]`` into ``{expansion: [expansion]}``: the words said are the value."""
    lists = data.get("lists")
    slots = data.get("slots")
    if not isinstance(slots, dict):
        return
    plain = {k: v for k, v in lists.items() if isinstance(v, list)} if isinstance(lists, dict) else {}
    nodes: dict[str, Node] = {
        name: template.Alt(tuple(template.parse(str(i)) for i in items)) for name, items in plain.items()
    }
    for spec in slots.values():
        if isinstance(spec, dict) and isinstance(spec.get("values"), list):
            values: dict[str, list[str]] = {}
            for phrase in spec["values"]:
                for words in expansions(template.parse(str(phrase)), nodes):
                    values[" ".join(words)] = [" ".join(words)]
            spec["values"] = values


def expansions(node: Node, lists: dict[str, Node]) -> Iterator[tuple[str, ...]]:
    """Every word sequence of a template without slots."""
    if isinstance(node, template.Text):
        yield (node.text,)
    elif isinstance(node, template.Alt):
        for item in node.items:
            yield from expansions(item, lists)
    elif isinstance(node, template.Opt):
        yield ()
        yield from expansions(node.item, lists)
    elif isinstance(node, template.Seq):
        heads: list[tuple[str, ...]] = [()]
        for item in node.items:
            tails = list(expansions(item, lists))
            heads = [head + tail for head in heads for tail in tails]
        yield from heads
    elif isinstance(node, ListRef) and node.name in lists:
        yield from expansions(lists[node.name], lists)
    else:
        raise TemplateError("a slot value may use words, (a|b), [optional] and <lists> of words only")


def _inconsistencies(bot: Bot) -> Iterator[tuple[Path_, str]]:
    """What types cannot say: names that lead nowhere, phrases that do not parse, acts without a reply."""
    yield from _bad_templates(bot)
    dialogue = bot.dialogue
    for task, spec in dialogue.tasks.items():
        where: Path_ = ("dialogue", "tasks", task)
        if task not in bot.intents:
            yield where, f"a task is opened by an intent of its name; known intents: {_names(bot.intents)}"
        for slot in [*spec.required, *(spec.answer.by if spec.answer else [])]:
            if slot not in bot.slots:
                yield where, f"unknown slot {slot!r}; known slots: {_names(bot.slots)}"
    for part in ("fill", "affirm", "deny", "repeat", "cancel", "operator", "help", "goodbye"):
        for intent in getattr(dialogue, part):
            if intent not in bot.intents:
                yield ("dialogue", part), f"unknown intent {intent!r}; known intents: {_names(bot.intents)}"
    for intent in bot.intents:
        if not dialogue.part_of(intent):
            yield ("intents", intent), "the dialogue gives this intent no part; name it under dialogue"
    for act in bot.required_acts():
        if act not in bot.replies:
            yield ("replies",), f"no reply for act {act!r}, which the dialogue needs"
    for act in bot.replies:
        if act not in bot.required_acts():
            yield (
                ("replies", act),
                f"the dialogue never uses this act; it uses: {_names(bot.required_acts())}",
            )
    for act, complaint in unanswerable(bot):
        yield ("replies", act), f"{complaint}; add it to the task's required, or put it in [brackets]"
    if " AI" not in f" {' '.join(bot.replies.get('greet', []))}":
        yield (
            ("replies", "greet"),
            "the greeting must say that the caller talks to an AI (EU AI Act, Art. 50)",
        )


def _bad_templates(bot: Bot) -> Iterator[tuple[Path_, str]]:
    lists: dict[str, Node] = {}
    try:
        lists = bot.list_nodes
    except TemplateError as error:
        yield ("lists",), str(error)
    for name in lists:
        if _reaches_itself(name, lists):
            yield ("lists", name), "the list contains itself"
    for slot, spec in bot.slots.items():
        for value, variants in spec.values.items():
            for variant in variants:
                if not all(w.replace("'", "").isalpha() and w.islower() for w in variant.split()) or not variant:
                    yield ("slots", slot, "values", value), f"expected lower-case words, got {variant!r}"
    for intent, intent_spec in bot.intents.items():
        for index, phrase in enumerate(intent_spec.phrases):
            yield from _check(phrase, ("intents", intent, "phrases", index), bot, lists, words=True)
    for act, replies in bot.replies.items():
        for index, reply in enumerate(replies):
            yield from _check(reply, ("replies", act, index), bot, lists, words=False)


def _check(phrase: str, path: Path_, bot: Bot, lists: dict[str, Node], *, words: bool) -> Iterator[tuple[Path_, str]]:
    try:
        node = template.parse(phrase, words=words)
    except TemplateError as error:
        yield path, str(error)
        return
    for part in template.walk(node):
        if isinstance(part, SlotRef) and part.name not in bot.slots and not (part.name == "answer" and not words):
            yield path, f"unknown slot {{{part.name}}}; known slots: {_names(bot.slots)}"
        if isinstance(part, ListRef) and (part.name not in lists or not words):
            yield (
                path,
                f"unknown list <{part.name}>; known lists: {_names(lists) if words else 'none in replies'}",
            )


def _reaches_itself(name: str, lists: dict[str, Node]) -> bool:
    seen: set[str] = set()
    todo = [name]
    while todo:
        for part in template.walk(lists[todo.pop()]):
            if isinstance(part, ListRef):
                if part.name == name:
                    return True
                if part.name in lists and part.name not in seen:
                    seen.add(part.name)
                    todo.append(part.name)
    return False


def _names(names: Any) -> str:
    return ", ".join(sorted(names))
