"""The phrase language of ``bot.yaml``, parsed to a small tree.

``word``, ``(this|that)``, ``[optional]``, ``{slot}``, ``<list>``. A list is a name for alternatives, or for items
that may stand in any order. Request phrases and replies share it: requests are split into words of the bot's language,
replies keep their spelling and punctuation.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import assert_never

from parley.language.letters import Letters
from parley.yaml_text import quoted

DEEPEST = 30
"""Brackets within brackets of one phrase."""
LONGEST = 4_000
"""Letters of one phrase."""


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
    """``a b``"""

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

NAME = r"[A-Za-z_][A-Za-z0-9_]*"
"""Pattern of a name of slots and lists: ASCII in every language."""
PLACEHOLDER = re.compile(rf"\{{({NAME})\}}")
"""``{slot}`` in a phrase or reply; the group is the slot's name."""
_RAW = re.compile(rf"\{{({NAME})\}}|<({NAME})>|([()\[\]|])|([^()\[\]|{{}}<>]+)")


class TemplateError(ValueError):
    """A phrase that does not parse; the text says what was expected."""


@lru_cache(maxsize=16)
def _words(letters: Letters) -> re.Pattern[str]:
    return re.compile(rf"\s*(?:\{{({NAME})\}}|<({NAME})>|([()\[\]|])|({letters.word}))")


def parse(template: str, letters: Letters | None) -> Node:
    """Parse one template.

    Args:
        template: the phrase.
        letters: of whose words literals are made (requests); None keeps the characters (replies).

    Raises:
        TemplateError: unbalanced brackets, a capital or digit in a request, an empty alternative, brackets nested too
            deep, a phrase that is too long.
    """
    if len(template) > LONGEST:
        raise TemplateError(f"{len(template)} letters, {LONGEST} is the most: make several of {quoted(template)}")
    tokens = list(_tokens(template, letters))
    node, rest = _alternatives(tokens, 0, template, DEEPEST)
    if rest != len(tokens):
        raise TemplateError(f"unexpected {quoted(tokens[rest][1])} in {quoted(template)}")
    return node


def _tokens(template: str, letters: Letters | None) -> Iterator[tuple[str, str]]:
    pattern = _words(letters) if letters else _RAW
    position, end = 0, len(template.rstrip()) if letters else len(template)
    while position < end:
        match = pattern.match(template, position)
        if not match:
            expected = "lower-case words, {slot}, <list>" if letters else "text, {slot}"
            raise TemplateError(
                f"cannot read {quoted(template[position:].strip()[:20])} in {quoted(template)}: expected {expected}, "
                "(a|b) or [optional]"
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


def _alternatives(tokens: list[tuple[str, str]], at: int, template: str, deeper: int) -> tuple[Node, int]:
    branches: list[Node] = []
    while True:
        branch, at = _sequence(tokens, at, template, deeper)
        branches.append(branch)
        if at < len(tokens) and tokens[at] == ("sign", "|"):
            at += 1
            continue
        return (branches[0] if len(branches) == 1 else Alt(tuple(branches))), at


def _sequence(tokens: list[tuple[str, str]], at: int, template: str, deeper: int) -> tuple[Node, int]:
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
            if not deeper:
                raise TemplateError(f"brackets nested more than {DEEPEST} deep in {quoted(template)}: write it flat")
            inner, at = _alternatives(tokens, at, template, deeper - 1)
            closing = ")" if text == "(" else "]"
            if at >= len(tokens) or tokens[at] != ("sign", closing):
                raise TemplateError(f"missing {closing!r} in {quoted(template)}")
            at += 1
            items.append(inner if text == "(" else Opt(inner))
    if not items:
        raise TemplateError(f"an alternative is empty in {quoted(template)}: write [optional] for what may be left out")
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


def lists_of(node: Node) -> list[str]:
    """Names of the lists a template mentions itself."""
    return list(dict.fromkeys(part.name for part in walk(node) if isinstance(part, ListRef)))


def slots_of(node: Node, lists: Mapping[str, Node]) -> list[str]:
    """Names of the slots a template mentions, through its lists, in order of appearance."""
    found: dict[str, None] = {}
    seen: set[str] = set()  # a list is looked into once, however often and on however many ways it is mentioned

    def look(node: Node) -> None:
        for part in walk(node):
            if isinstance(part, SlotRef):
                found[part.name] = None
            elif isinstance(part, ListRef) and part.name in lists and part.name not in seen:
                seen.add(part.name)
                look(lists[part.name])

    look(node)
    return list(found)


def nullable(node: Node, lists: Mapping[str, bool]) -> bool:
    """Whether a template can be nothing at all. ``lists``: whether each list can."""
    if isinstance(node, Text | SlotRef):
        return False
    if isinstance(node, ListRef):
        return lists.get(node.name, False)
    if isinstance(node, Alt):
        return any(nullable(item, lists) for item in node.items)
    if isinstance(node, Seq):
        return all(nullable(item, lists) for item in node.items)
    return True


@dataclass(frozen=True)
class Size:
    """How much a template is, counted without making any of it."""

    sentences: int
    """Ways to say it, equal ones counted each."""
    words: int
    """Words of all of them together."""
    arcs: int
    """Arcs of its word graph, as :class:`parley.bot.grammar.Grammar` builds it."""
    depth: int
    """Calls within calls of what walks down through its lists."""


def size_of(node: Node, lists: Mapping[str, Size], slots: Mapping[str, Size]) -> Size:
    """The size of a template. ``lists`` and ``slots``: the sizes of what it mentions; what is not known counts as a
    word.
    """
    if isinstance(node, Text):
        return _WORD
    if isinstance(node, SlotRef | ListRef):
        found = (slots if isinstance(node, SlotRef) else lists).get(node.name, _WORD)
        return _sized(found.sentences, found.words, found.arcs, [found])
    if isinstance(node, Opt):
        return _either([_NOTHING, size_of(node.item, lists, slots)])
    sizes = [size_of(item, lists, slots) for item in node.items]
    if isinstance(node, Alt):
        return _either(sizes)
    if isinstance(node, Seq):
        return _both(sizes)
    if isinstance(node, AnyOrder):
        return _any_order(sizes)
    assert_never(node)


_WORD, _NOTHING = Size(1, 1, 1, 1), Size(1, 0, 1, 1)
COUNTED = 10**12
"""Counts end here: lists within lists multiply to numbers that would take long to write."""


def _sized(sentences: int, words: int, arcs: int, parts: list[Size]) -> Size:
    depth = 1 + max((part.depth for part in parts), default=0)
    return Size(min(max(sentences, 1), COUNTED), min(words, COUNTED), min(arcs, COUNTED), min(depth, COUNTED))


def _either(sizes: list[Size]) -> Size:
    return _sized(sum(s.sentences for s in sizes), sum(s.words for s in sizes), sum(s.arcs for s in sizes), sizes)


def _both(sizes: list[Size]) -> Size:
    sentences = math.prod(s.sentences for s in sizes)
    # Each part's words come once with every way to say the others.
    words = sum(s.words * (sentences // s.sentences) for s in sizes)
    return _sized(sentences, words, sum(s.arcs for s in sizes), sizes)


def _any_order(sizes: list[Size]) -> Size:
    subsets = 1 << len(sizes)
    arcs = subsets + subsets // 2 * sum(s.arcs for s in sizes)
    orders = math.factorial(len(sizes)) * math.prod(s.sentences + 1 for s in sizes)  # at most
    return _sized(orders, orders * sum(s.words for s in sizes), arcs, sizes)
