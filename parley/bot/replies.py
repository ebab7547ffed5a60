"""The bot's side: replies written as templates, for training the NLG and as its fallback.

A reply template keeps its spelling. ``[...]`` is said only when the slots in it are given, ``(a|b)`` are free
choices, a word before ``~`` takes the form that its language gives it: ``a~`` becomes "a" or "an" in English.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from parley.bot import template
from parley.bot.slots import spoken_form
from parley.bot.spec import ANSWER as ANSWER
from parley.bot.spec import Bot
from parley.bot.template import PLACEHOLDER, Alt, Node, Opt, Seq, SlotRef, Text
from parley.errors import ParleyError
from parley.language import Language

_PLACED = re.compile(PLACEHOLDER.pattern + r"(?:~([^\W\d_]+))?")
_MARK = re.compile(r"(\w+)~([^\W\d_]*)")
_MARKED = re.compile(_MARK.pattern + r"(?=\s+(\S.*)|)")


@dataclass(frozen=True)
class ActSpec:
    """A dialogue act and the slots its replies must and may say."""

    act: str
    required: tuple[str, ...]
    optional: tuple[str, ...]


def acts(bot: Bot) -> list[ActSpec]:
    """Every act of a bot, in the file's order."""
    out = []
    for act in bot.replies:
        nodes = _nodes(bot, act)
        mandatory = [set(_mandatory(node)) for node in nodes]
        required = set.intersection(*mandatory)
        mentioned = dict.fromkeys(slot for node in nodes for slot in template.slots_of(node, {}))
        optional = tuple(slot for slot in mentioned if slot not in required)
        out.append(ActSpec(act, tuple(s for s in mentioned if s in required), optional))
    return out


def unanswerable(bot: Bot) -> list[tuple[str, str]]:
    """(act, complaint) of replies that need a slot which their task does not ask for, and would break off."""
    known = {spec.act: spec for spec in acts(bot)}
    found = []
    for task, spec in bot.dialogue.tasks.items():
        asked = {*spec.required, *([ANSWER] if spec.answer else [])}
        for act in (f"confirm.{task}", f"done.{task}"):
            missing = set(known[act].required) - asked if act in known else set()
            if missing:
                found.append((act, f"needs {', '.join(sorted(missing))}, which the task {task} does not ask for"))
    return found


def delexicalised(bot: Bot, act: str, slots: dict[str, str] | set[str], rng: random.Random | None = None) -> str:
    """A reply with ``{slot}`` placeholders that says every slot of ``slots`` and no other.

    Raises:
        ParleyError: unknown act, or no reply of the act says exactly these slots.
    """
    if act not in bot.replies:
        raise ParleyError(f"unknown act {act!r}", where=f"bot {bot.name}", mend=f"acts: {', '.join(bot.replies)}")
    given = set(slots)
    fitting = []
    for node in _nodes(bot, act):
        choices = _variants(node, given, rng)
        if choices is not None and set(PLACEHOLDER.findall(choices)) == given:
            fitting.append(choices)
    if not fitting:
        said = ", ".join(sorted(given)) or "no slot"
        raise ParleyError(
            f"no reply of act {act!r} says exactly: {said}",
            where=f"bot {bot.name}",
            mend="add one under replies",
        )
    return rng.choice(fitting) if rng else fitting[0]


def realise(bot: Bot, act: str, slots: dict[str, str], rng: random.Random | None = None) -> str:
    """The reply to say: a template with its values. Without ``rng`` always the first that fits.

    Slots that the act cannot say are left out, so that a caller is always answered.

    Raises:
        ParleyError: unknown act, or a slot that every reply of the act needs is missing.
    """
    known = {slot for spec in acts(bot) if spec.act == act for slot in (*spec.required, *spec.optional)}
    said = {slot: value for slot, value in slots.items() if slot in known}
    return relexicalise(delexicalised(bot, act, said, rng), spoken_values(bot, said), bot.speech)


def spoken_values(bot: Bot, slots: dict[str, str]) -> dict[str, str]:
    """Canonical values as they are spoken (digits become words); unknown slots such as ``answer`` stay as they are."""
    digits = {name: spec for name, spec in bot.slots.items() if spec.type == "digits"}
    return {n: spoken_form(digits[n], value, bot.speech) if n in digits else value for n, value in slots.items()}


def relexicalise(text: str, slots: dict[str, str], language: Language) -> str:
    """Put values in place of placeholders, then settle forms and spaces.

    >>> relexicalise("One a~ {drink}, coming up.", {"drink": "iced mocha"}, language_of("en-US"))
    'One an iced mocha, coming up.'
    """

    def fill(match: re.Match[str]) -> str:
        value, form = slots.get(match[1]), match[2]
        if value is None or not form:
            return match[0] if value is None else value
        following = PLACEHOLDER.sub(lambda m: slots.get(m[1], m[0]), text[match.end() :]).lstrip()
        return language.inflection.agree(value, form, following) or f"{value}~{form}"

    filled = _PLACED.sub(fill, text)
    filled = _MARKED.sub(lambda m: language.inflection.agree(m[1], m[2], m[3] or "") or m[0], filled)
    filled = re.sub(r"\s+([,.?!])", r"\1", " ".join(filled.split()))
    return language.letters.capital(filled)


def unknown_marks(bot: Bot, act: str, reply: str) -> list[str]:
    """Marked words and values of a reply, as they are said, that the language has no form for: ``pizza~``.

    Every branch of the reply is looked at, with and without what may be left out, and every value of a marked slot.
    """
    if "~" not in reply:
        return []
    node = template.parse(reply, None)
    branches = max((len(part.items) for part in template.walk(node) if isinstance(part, Alt)), default=1)
    texts = {_branch(node, number, whole) for number in range(branches) for whole in (False, True)}
    slots = _values(bot, act, template.slots_of(node, {}))
    mixes = max(map(len, slots.values()), default=1) if "}~" in reply else 1
    said = [
        relexicalise(text, {slot: values[mix % len(values)] for slot, values in slots.items()}, bot.speech)
        for text in sorted(texts)
        for mix in range(mixes)
    ]
    return list(dict.fromkeys(match[0] for text in said for match in _MARK.finditer(text)))


def _values(bot: Bot, act: str, slots: list[str]) -> dict[str, list[str]]:
    """What the slots of an act's reply may be, as it is spoken; of numbers one."""
    task = bot.dialogue.tasks.get(act.partition(".")[2])
    answers = list(dict.fromkeys(task.answer.values.values())) if task and task.answer else []
    found = {}
    for slot in slots:
        spec = bot.slots.get(slot)
        values = list(spec.values) if spec else answers
        if spec and spec.type == "digits":
            values = [spoken_form(spec, "1" * spec.digits_min, bot.speech)]
        if values:
            found[slot] = values
    return found


def _branch(node: Node, number: int, whole: bool) -> str:
    """A reply with placeholders that takes one branch of every choice; ``whole``: with what may be left out."""
    if isinstance(node, Text):
        return node.text
    if isinstance(node, SlotRef):
        return f"{{{node.name}}}"
    if isinstance(node, Opt):
        return _branch(node.item, number, whole) if whole else ""
    if isinstance(node, Alt):
        return _branch(node.items[number % len(node.items)], number, whole)
    return "".join(_branch(item, number, whole) for item in template.children(node))


def says(text: str, slots: dict[str, str], language: Language) -> list[str]:
    """Names of the slots whose value is NOT in the text (as whole words, whatever the case), in none of its forms."""
    letters, forms = language.letters, language.inflection.forms
    said = f" {letters.plain(text)} "
    return [
        name for name, value in slots.items() if not any(f" {letters.plain(form)} " in said for form in forms(value))
    ]


def _nodes(bot: Bot, act: str) -> list[Node]:
    return [template.parse(reply, None) for reply in bot.replies[act]]


def _mandatory(node: Node) -> list[str]:
    """Slots said by every variant of a template."""
    if isinstance(node, SlotRef):
        return [node.name]
    if isinstance(node, Seq):
        return [slot for item in node.items for slot in _mandatory(item)]
    if isinstance(node, Alt):
        return list(set.intersection(*(set(_mandatory(item)) for item in node.items)))
    return []


def _variants(node: Node, given: set[str], rng: random.Random | None) -> str | None:
    """One variant of a template using only the given slots, None if it needs another."""
    if isinstance(node, Text):
        return node.text
    if isinstance(node, SlotRef):
        return f"{{{node.name}}}" if node.name in given else None
    if isinstance(node, Opt):
        mentioned = template.slots_of(node.item, {})
        if not mentioned:
            return _variants(node.item, given, rng) if rng and rng.random() < 0.5 else ""
        return _variants(node.item, given, rng) or ""
    if isinstance(node, Alt):
        options = [v for v in (_variants(item, given, rng) for item in node.items) if v is not None]
        return (rng.choice(options) if rng else options[0]) if options else None
    parts = [_variants(item, given, rng) for item in node.items] if isinstance(node, Seq) else []
    return None if None in parts else "".join(p for p in parts if p)
