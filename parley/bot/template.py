"""The phrase language of ``bot.yaml``, parsed to a small tree.

``word``, ``(this|that)``, ``[optional]``, ``{slot}``, ``<list>``. A list is a name for alternatives, or for items
that may stand in any order. Request phrases and replies share the language: requests are split into words,
replies keep their spelling and punctuation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Text:
    """A literal: one word of a request, a run of characters of a reply."""

    text: str


@dataclass(frozen=True)
class SlotRef:
    """``{slot}``"""

    name: str


@dataclass(frozen=True)
class ListRef:
    """``<list>``"""

    name: str


@dataclass(frozen=True)
class Seq:
    items: tuple[Node, ...]


@dataclass(frozen=True)
class Alt:
    """``(a|b)``"""

    items: tuple[Node, ...]


@dataclass(frozen=True)
class Opt:
    """``[a]``"""

    item: Node


@dataclass(frozen=True)
class AnyOrder:
    """Any subset of the items, in any order, each at most once."""

    items: tuple[Node, ...]


Node = Text | SlotRef | ListRef | Seq | Alt | Opt | AnyOrder

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_WORDS = re.compile(rf"\s*(?:\{{({_NAME})\}}|<({_NAME})>|([()\[\]|])|([a-z][a-z']*))")
_RAW = re.compile(rf"\{{({_NAME})\}}|<({_NAME})>|([()\[\]|])|([^()\[\]|{{}}<>]+)")


class TemplateError(ValueError):
    """A phrase that does not parse; the text says what was expected."""


def parse(template: str, *, words: bool = True) -> Node:
    """Parse one template.

    Args:
        template: the phrase.
        words: split literals into lower-case words (requests); otherwise keep the characters (replies).

    Raises:
        TemplateError: unbalanced brackets, a capital or digit in a request, an empty alternative.
    """
    tokens = list(_tokens(template, _WORDS if words else _RAW, words))
    node, rest = _alternatives(tokens, 0, template)
    if rest != len(tokens):
        raise TemplateError(f"unexpected {tokens[rest][1]!r} in {template!r}")
    return node


def _tokens(template: str, pattern: re.Pattern[str], words: bool) -> Iterator[tuple[str, str]]:
    position, end = 0, len(template.rstrip()) if words else len(template)
    while position < end:
        match = pattern.match(template, position)
        if not match:
            raise TemplateError(
                f"cannot read {template[position:].strip()[:20]!r} in {template!r}: expected lower-case words, "
                "{slot}, <list>, (a|b) or [optional]"
            )
        slot, name, sign, text = match.groups()
        if slot:
            yield "slot", slot
        elif name:
            yield "list", name
        elif sign:
            yield "sign", sign
        else:
            yield "text", text
        position = match.end()


def _alternatives(tokens: list[tuple[str, str]], at: int, template: str) -> tuple[Node, int]:
    branches: list[Node] = []
    while True:
        branch, at = _sequence(tokens, at, template)
        branches.append(branch)
        if at < len(tokens) and tokens[at] == ("sign", "|"):
            at += 1
            continue
        return (branches[0] if len(branches) == 1 else Alt(tuple(branches))), at


def _sequence(tokens: list[tuple[str, str]], at: int, template: str) -> tuple[Node, int]:
    items: list[Node] = []
    while at < len(tokens) and tokens[at] not in (("sign", ")"), ("sign", "]"), ("sign", "|")):
        kind, text = tokens[at]
        at += 1
        if kind == "slot":
            items.append(SlotRef(text))
        elif kind == "list":
            items.append(ListRef(text))
        elif kind == "text":
            items.append(Text(text))
        else:
            inner, at = _alternatives(tokens, at, template)
            closing = ")" if text == "(" else "]"
            if at >= len(tokens) or tokens[at] != ("sign", closing):
                raise TemplateError(f"missing {closing!r} in {template!r}")
            at += 1
            items.append(inner if text == "(" else Opt(inner))
    if not items:
        raise TemplateError(f"an alternative is empty in {template!r}: write [optional] for what may be left out")
    return (items[0] if len(items) == 1 else Seq(tuple(items))), at


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below ``node``."""
    if isinstance(node, Seq | Alt | AnyOrder):
        return node.items
    return (node.item,) if isinstance(node, Opt) else ()


def walk(node: Node) -> Iterator[Node]:
    """``node`` and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


def slots_of(node: Node, lists: dict[str, Node]) -> list[str]:
    """Names of the slots a template mentions, through its lists, in order of appearance."""
    found: dict[str, None] = {}
    for part in walk(node):
        if isinstance(part, SlotRef):
            found[part.name] = None
        elif isinstance(part, ListRef) and part.name in lists:
            found.update(dict.fromkeys(slots_of(lists[part.name], lists)))
    return list(found)
