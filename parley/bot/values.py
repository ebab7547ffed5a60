"""Lists and slot values of a bot file, before its types are checked: bounded, then written out.

`values: [phrase, ...]` becomes `{expansion: [expansion]}`: the words said are the value. What a phrase expands to is
counted before any of it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from parley.bot import template
from parley.bot.problems import Problem
from parley.bot.template import Alt, ListRef, Node, Opt, Seq, Size, TemplateError, Text
from parley.errors import ParleyError
from parley.language import DEFAULT, language_of
from parley.language.letters import Letters
from parley.yaml_text import Path_, spelt

MOST_WORDS = 50_000
"""Words of all values of a slot together."""
DEEPEST = 100
"""Brackets and lists within one another, through all lists."""
_ONLY = "a slot value may use words, (a|b), [optional] and <lists> of words only"
STAND_IN = {"x": ["x"]}
"""Values in place of those that cannot be read, so that the rest of the file can."""


def expected_text(path: Path_, value: Any) -> Problem:
    """A value that should be text, with the usual reason why it is none."""
    if value is None:
        mend = 'write the text; the word itself stands in quotes: "null"'
    elif isinstance(value, dict) and len(value) == 1 and next(iter(value.values())) is None:
        mend = f'put it in quotes: "{spelt(value).replace(": null", "")}"'
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        mend = f'put it in quotes: "{spelt(value)}"'
    else:
        mend = "write a text; in quotes, if it holds one of : # { } [ ] , & * ! | > % @"
    return Problem(path, f"expected text, got {spelt(value)}", mend)


def write_out(data: dict[str, Any]) -> tuple[list[Problem], set[str]]:
    """Replace every slot's list of phrases by what it expands to, in place; by `STAND_IN` where it cannot be.

    Returns:
        What is wrong with them, and the lists that they are made of.
    """
    slots = data.get("slots")
    if not isinstance(slots, dict):
        return [], set()
    lists, letters = data.get("lists"), _letters(data)
    nodes, sizes = word_lists(lists if isinstance(lists, dict) else {}, letters)
    problems: list[Problem] = []
    used: set[str] = set()
    for slot, spec in slots.items():
        if isinstance(spec, dict) and isinstance(spec.get("values"), list):
            path = ("slots", slot, "values")
            spec["values"], found = _values(spec["values"], path, letters, nodes, sizes, used)
            problems += found
            if found:
                spec["values"] = dict(STAND_IN)
    return problems, used


def _letters(data: Mapping[str, Any]) -> Letters:
    """Those of the file's language; where there is no such language, which is said elsewhere, those of the default."""
    try:
        return language_of(str(data.get("language"))).letters
    except ParleyError:
        return language_of(DEFAULT).letters


def word_lists(lists: Mapping[str, Any], letters: Letters) -> tuple[dict[str, Node], dict[str, Size]]:
    """The lists of phrases that can be read, and their sizes; without those that contain themselves."""
    nodes: dict[str, Node] = {}
    for name, items in lists.items():
        try:
            if isinstance(items, list) and items:
                nodes[name] = Alt(tuple(template.parse(_text(item), letters) for item in items))
        except TemplateError:
            continue  # said where the list stands
    sizes = sizes_of(nodes, {})
    return {name: nodes[name] for name in sizes}, sizes


def sizes_of(nodes: Mapping[str, Node], slots: Mapping[str, Size]) -> dict[str, Size]:
    """The size of each list, through the lists it mentions; not of one that contains itself, or is nested too deep."""
    sizes: dict[str, Size] = {}
    for name in innermost_first(nodes):
        if all(other in sizes or other not in nodes for other in template.lists_of(nodes[name])):
            size = template.size_of(nodes[name], sizes, slots)
            if size.depth <= DEEPEST:
                sizes[name] = size
    return sizes


def innermost_first(nodes: Mapping[str, Node]) -> list[str]:
    """The lists in an order in which each comes after those it mentions; without those that lead to a circle."""
    missing = {name: {n for n in template.lists_of(node) if n in nodes} for name, node in nodes.items()}
    users: dict[str, list[str]] = {name: [] for name in nodes}
    for name, mentioned in missing.items():
        for other in mentioned:
            users[other].append(name)
    order = [name for name, mentioned in missing.items() if not mentioned]
    for name in order:  # grows while it is walked
        for user in users[name]:
            missing[user].discard(name)
            if not missing[user]:
                order.append(user)
    return order


def circle(name: str, nodes: Mapping[str, Node]) -> list[str]:
    """The lists on a way from a list back to itself; empty where there is none."""
    came_from: dict[str, str] = {}
    todo = [name]
    while todo:
        at = todo.pop(0)
        for following in template.lists_of(nodes[at]):
            if following == name:
                way = [at]
                while way[-1] != name:
                    way.append(came_from[way[-1]])
                return [*reversed(way), name]
            if following in nodes and following not in came_from:
                came_from[following] = at
                todo.append(following)
    return []


def reached(node: Node, nodes: Mapping[str, Node]) -> set[str]:
    """The lists that a template mentions, itself and through them."""
    found: set[str] = set()
    todo = [node]
    while todo:
        for name in template.lists_of(todo.pop()):
            if name not in found:
                found.add(name)
                todo += [nodes[name]] if name in nodes else []
    return found


def expansions(node: Node, lists: Mapping[str, Node]) -> Iterator[tuple[str, ...]]:
    """Every word sequence of a template without slots."""
    if isinstance(node, Text):
        yield (node.text,)
    elif isinstance(node, Alt):
        for item in node.items:
            yield from expansions(item, lists)
    elif isinstance(node, Opt):
        yield ()
        yield from expansions(node.item, lists)
    elif isinstance(node, Seq):
        heads: list[tuple[str, ...]] = [()]
        for item in node.items:
            tails = list(expansions(item, lists))
            heads = [head + tail for head in heads for tail in tails]
        yield from heads
    elif isinstance(node, ListRef) and node.name in lists:
        yield from expansions(lists[node.name], lists)
    else:
        raise TemplateError(_ONLY)


def _values(
    phrases: list[Any], path: Path_, letters: Letters, nodes: Mapping[str, Node], sizes: Mapping[str, Size],
    used: set[str],
) -> tuple[dict[str, list[str]], list[Problem]]:  # fmt: skip
    """The values of a list of phrases, and what is wrong with it."""
    values: dict[str, list[str]] = {}
    problems: list[Problem] = []
    words = 0
    if not phrases:
        problems.append(Problem(path, "needs at least one value", "give it some, or remove the slot"))
    for place, phrase in enumerate(phrases):
        here = (*path, place)
        if not isinstance(phrase, str):
            problems.append(expected_text(here, phrase))
            continue
        try:
            node = template.parse(phrase, letters)
            used |= reached(node, nodes)
            _check_words_only(node, nodes, str(path[1]))
            size = template.size_of(node, sizes, {})
            words += size.words
            if words > MOST_WORDS:
                raise TemplateError(
                    f"gives {size.sentences:,} values, and {words:,} words with those before; {MOST_WORDS:,} is the "
                    "most: write fewer alternatives, or make several slots of it"
                )
            for said in expansions(node, nodes):
                values[" ".join(said)] = [" ".join(said)]
        except TemplateError as error:
            problems.append(Problem(here, str(error)))
    return values, problems


def _check_words_only(node: Node, nodes: Mapping[str, Node], slot: str) -> None:
    if held := template.slots_of(node, nodes):
        itself = f"the slot {{{slot}}} contains itself"
        raise TemplateError(itself if slot in held else f"{_ONLY}; this holds {{{held[0]}}}")
    for name in template.lists_of(node):
        if name not in nodes:
            raise TemplateError(f"{_ONLY}; <{name}> is no list of words: it is missing or broken, or contains itself")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError("no text")
    return value
