"""YAML that people write, read strictly: every value with its line, nothing guessed, everything bounded.

    document = read_yaml(text, "bots/barista/bot.yaml")
    document.data                                   # dicts, lists, texts and None; the schema makes numbers of texts
    document.lines["replies", "greet", 0]           # 71

YAML 1.1 takes `9:30` for 570 and `no` for false. Here a value is the text as it was written, until a schema that wants
a number or a truth value reads it (:data:`Whole`, :data:`Truth`); only an empty value, `~` and `null` are nothing.
Anchors may be used, and count as often as they are used. Tags, merge keys and second documents are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, NoReturn

import yaml
from pydantic import BeforeValidator

from parley.errors import ParleyError

Path_ = tuple[str | int, ...]
"""Keys and places in lists, from the top."""
LARGEST_BYTES = 512 << 10
DEEPEST = 20
MOST_VALUES = 50_000
"""Scalars, lists and mappings of a file, an alias counted each time it is used."""
_LONGEST_SHOWN = 80
_NEWLINE = re.compile(r"\r\n?")
# What nobody sees in an editor: control characters, and the line ends that only YAML 1.1 knows, which fold into a text.
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufdd0-\ufdef\ufeff\ufffe\uffff]")
_NOTHING = ("", "~", "null", "Null", "NULL")
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_TRUE, _FALSE = ("true", "yes", "on"), ("false", "no", "off")


@dataclass(frozen=True)
class Document:
    """What a file holds."""

    data: Any
    """Dicts with text keys, lists, texts, None."""
    lines: dict[Path_, int]
    """Path of each value to the line it stands on; the top is line 1."""

    def line(self, path: Path_) -> int:
        """The line of a value; of what it would stand in, where it is missing."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


def spelt(value: Any) -> str:
    """A value as YAML writes it, cut where it gets long.

    >>> spelt({"size": None}), spelt([True, "a"])
    ('{size: null}', '[true, a]')
    """
    return _cut(_spelt(value))


def quoted(text: str) -> str:
    """A text in YAML's (and JSON's) quotes, cut where it gets long.

    >>> quoted('say "a"')
    '"say \\\\"a\\\\""'
    """
    return json.dumps(_cut(text), ensure_ascii=False)


def _spelt(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_spelt(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_spelt, value)) + "]"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    text = str(value)
    return text if text.isprintable() else json.dumps(text)


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + "…"


def _whole(value: object) -> object:
    """A number as it may stand in YAML 1.2: decimal digits, nothing else."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?[0-9]{1,18}", value, re.ASCII):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError(f"expected a whole number such as 3, got {spelt(value)}")


def _truth(value: object) -> object:
    if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
        return value.lower() in _TRUE
    if isinstance(value, bool):
        return value
    raise ValueError(f"expected true or false, got {spelt(value)}")


Whole = Annotated[int, BeforeValidator(_whole)]
"""An int of a schema that is read from YAML."""
Truth = Annotated[bool, BeforeValidator(_truth)]
"""A bool of a schema that is read from YAML."""


def read_yaml(text: str, where: str) -> Document:
    """Read one document.

    Args:
        text: the file's text.
        where: its name, for complaints.

    Raises:
        ParleyError: it is not YAML, or says what is not read; names the line.
    """
    if len(text.encode(errors="surrogatepass")) > LARGEST_BYTES:
        raise ParleyError(f"larger than {LARGEST_BYTES >> 10} KiB", where=where, mend="say less in it")
    text = _NEWLINE.sub("\n", text.removeprefix("\ufeff"))
    _check_letters(text, 1, where)
    reader = _Reader(where, list(_events(text, where)))
    if not reader.events:
        raise ParleyError("the file is empty", where=f"{where}:1", mend="write what it is to say")
    data, _ = reader.value(0, (), None)
    return Document(data, reader.lines)


def _events(text: str, where: str) -> Iterator[Any]:
    """The parser's events between the start and the end of the only document."""
    depth = documents = 0
    last = 1
    events: Iterator[Any] = yaml.parse(text, Loader=yaml.SafeLoader)
    try:
        for count, event in enumerate(events):
            last = event.end_mark.line + 1
            documents += isinstance(event, yaml.DocumentStartEvent)
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if documents > 1:
                _refuse("a second document begins here", where, last, "keep one a file")
            if depth > DEEPEST:
                _refuse(f"nested more than {DEEPEST} deep", where, last, "write it flat")
            if count > 2 * MOST_VALUES:
                _refuse(f"more than {MOST_VALUES} values", where, last, "say less in one file")
            if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent):
                yield event
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = getattr(error, "problem", None) or "cannot be read"
        _refuse(f"not valid YAML: {problem}", where, mark.line + 1 if mark else last, _mend_of(problem))
    except (ValueError, OverflowError, RecursionError):  # an escape like "\UFFFFFFFF", a version of 5,000 digits
        _refuse("not valid YAML: an escape or a number that stands for nothing", where, last, "write the letter itself")


def _mend_of(problem: str) -> str:
    if "'\\t'" in problem:
        return "write spaces there, not a tab"
    if "escape" in problem:
        return 'in "quotes" a backslash begins an escape: double it'
    return 'correct the line; what holds one of : # { } [ ] , & * ! | > % @ stands in "quotes"'


@dataclass
class _Reader:
    """Events to plain data. Depth is bounded by the events', so this may call itself."""

    where: str
    events: list[Any]
    """Of PyYAML, whose types leave out half of their attributes."""
    lines: dict[Path_, int] = field(default_factory=lambda: {(): 1})
    values: int = 0
    anchors: dict[str, int] = field(default_factory=dict)
    """Name to the place of the event that carries it."""
    open: set[int] = field(default_factory=set)
    """Places of the collections that are being read."""

    def value(self, at: int, path: Path_, line: int | None) -> tuple[Any, int]:
        """The value that begins at event ``at``, and the place behind it. ``line``: of the alias it is read for."""
        event = self.events[at]
        shown = line or event.start_mark.line + 1
        self.values += 1
        if self.values > MOST_VALUES or len(path) > DEEPEST:
            what = f"more than {MOST_VALUES} values" if self.values > MOST_VALUES else f"more than {DEEPEST} deep"
            self.refuse(f"{what}, with every alias written out", shown, "write it out once, or less of it")
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, path, shown), at + 1
        if event.tag not in _TEXT_TAGS or (event.tag is not None and not isinstance(event, yaml.ScalarEvent)):
            tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
            self.refuse(f"{dotted(path)}: the tag {_cut(tag)} is not read", shown, "leave it out")
        if event.anchor:
            self.anchors[event.anchor] = at
        if isinstance(event, yaml.ScalarEvent):
            return self._scalar(event, path, shown), at + 1
        self.open.add(at)
        read = self._mapping if isinstance(event, yaml.MappingStartEvent) else self._sequence
        found, after = read(at + 1, path, line)
        self.open.discard(at)
        return found, after

    def _mapping(self, at: int, path: Path_, line: int | None) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        while not isinstance(self.events[at], yaml.MappingEndEvent):
            event = self.events[at]
            shown = line or event.start_mark.line + 1
            if not isinstance(event, yaml.ScalarEvent) or event.anchor or event.tag not in _TEXT_TAGS:
                self.refuse(f"{dotted(path)}: a key that is no plain word", shown, "write a word and a colon")
            key = event.value
            _check_letters(key, shown, self.where)
            if key == "<<" and event.implicit[0]:
                self.refuse(f"{dotted(path)}: merge keys (<<) are not read", shown, "write the keys out")
            if key in found:
                first = self.lines[(*path, key)]
                self.refuse(f"{dotted((*path, key))}: the key stands twice, first on line {first}", shown, "remove one")
            self.lines[(*path, key)] = shown
            found[key], at = self.value(at + 1, (*path, key), line)
        return found, at + 1

    def _sequence(self, at: int, path: Path_, line: int | None) -> tuple[list[Any], int]:
        found: list[Any] = []
        while not isinstance(self.events[at], yaml.SequenceEndEvent):
            self.lines[(*path, len(found))] = line or self.events[at].start_mark.line + 1
            item, at = self.value(at, (*path, len(found)), line)
            found.append(item)
        return found, at + 1

    def _scalar(self, event: Any, path: Path_, line: int) -> str | None:
        text: str = event.value
        if event.implicit[0] and text in _NOTHING and event.tag is None:
            return None
        try:  # escapes as JSON has them: two halves make one character
            text = text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self.refuse(f"{dotted(path)}: half of a character (a lone surrogate)", line, "write the character itself")
        _check_letters(text, line, self.where)
        return text

    def _alias(self, event: Any, path: Path_, line: int) -> Any:
        at = self.anchors.get(event.anchor)
        if at is None:
            self.refuse(f"{dotted(path)}: no anchor &{_cut(event.anchor)} stands before", line, "write the value out")
        if at in self.open:
            self.refuse(f"{dotted(path)}: *{_cut(event.anchor)} contains itself", line, "write the value out")
        return self.value(at, path, line)[0]

    def refuse(self, what: str, line: int, mend: str) -> NoReturn:
        _refuse(what, self.where, line, mend)


def _check_letters(text: str, line: int, where: str) -> None:
    """Refuse letters that cannot be seen; ``line`` is that of the text's beginning."""
    if found := _UNSEEN.search(text):
        line += text.count("\n", 0, found.start())
        _refuse(f"U+{ord(found[0]):04X}, which no editor shows", where, line, "remove it, or write a space")


def dotted(path: Path_) -> str:
    """A path as complaints name it: ``replies.greet.0``."""
    return _cut(".".join(map(_spelt, path))) or "top level"


def _refuse(what: str, where: str, line: int, mend: str) -> NoReturn:
    raise ParleyError(what, where=f"{where}:{line}", mend=mend)
