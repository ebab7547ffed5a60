"""What the types of :mod:`parley.bot.spec` cannot say about a bot file, every complaint of it.

Names that lead nowhere, phrases that do not parse or are too large, acts without a reply (``broken``); what is empty or
ambiguous (``refused``); what is probably not meant (``warning``).
"""

from __future__ import annotations

import difflib
import itertools
import math
from collections.abc import Collection, Iterator, Mapping

from parley import names
from parley.bot import template
from parley.bot.grammar import BOUNDS, GraphBounds, TooLarge, digits_arcs, shared_sentences
from parley.bot.problems import Problem, joined
from parley.bot.replies import ANSWER, acts, unanswerable, unknown_marks
from parley.bot.slots import canonicalise
from parley.bot.spec import PARTS, AnyOrderList, Bot, SlotSpec
from parley.bot.template import Alt, AnyOrder, ListRef, Node, Opt, Seq, Size, SlotRef, TemplateError, Text
from parley.bot.values import DEEPEST, circle, innermost_first, reached, sizes_of
from parley.language.digits import DigitWords
from parley.language.letters import Letters
from parley.yaml_text import Path_, quoted, spelt

MOST_ARCS = 200_000
"""Arcs of all phrases' word graph before it is made; the coffee bar has 3,000."""
MOST_LEFT_OUT = 10
"""Slots that one act's replies may leave out: the NLG learns every subset of them."""
LONGEST_VALUE = 100
_OUT_OF_SCOPE = "out_of_scope"
MOST_ANSWERS = 5_000
"""Entries of one table of answers."""
_NAMED = 6


def problems(bot: Bot, used: Collection[str] = ()) -> Iterator[Problem]:
    """Everything that is wrong with a bot whose types are right.

    ``used``: the lists that its slots' values were made of.
    """
    yield from _identity(bot)
    phrases = [*_lists(bot), *_phrases(bot)]
    yield from phrases
    yield from _slots(bot)
    replies = list(_replies(bot))
    yield from replies
    yield from _dialogue(bot)
    yield from _acts(bot, whole=not any(p.kind == "broken" for p in replies))
    if not any(p.kind == "broken" for p in phrases):
        yield from grammar_problems(bot)
        yield from _unused(bot, used)


def _identity(bot: Bot) -> Iterator[Problem]:
    if not names.is_bot(bot.name):
        yield Problem(("name",), f"{names.BOT_RULE}; got {quoted(bot.name)}", "models are named after it", "refused")


# --- what callers say -------------------------------------------------------------------------------------------


def _lists(bot: Bot) -> Iterator[Problem]:
    nodes: dict[str, Node] = {}
    for name, entry in bot.lists.items():
        any_order = isinstance(entry, AnyOrderList)
        items = entry.any_order if isinstance(entry, AnyOrderList) else entry
        path: Path_ = ("lists", name, "any_order") if any_order else ("lists", name)
        if not items:
            yield Problem(path, "the list is empty", "give it a phrase, or remove it", "refused")
        parsed = []
        for place, item in enumerate(items):
            node, found = _parsed(item, (*path, place), bot, words=True)
            yield from found
            parsed += [node] if node is not None else []
        nodes[name] = AnyOrder(tuple(parsed)) if any_order else Alt(tuple(parsed))
    yield from _nesting(nodes)


def _nesting(nodes: Mapping[str, Node]) -> Iterator[Problem]:
    """Lists that contain themselves, or are nested too deep."""
    sizes, order = sizes_of(nodes, {}), innermost_first(nodes)
    # What only leads to a circle, or to what is too deep, is right as soon as that is.
    looped = {name: nodes[name] for name in nodes.keys() - set(order)}
    for name in nodes:
        if name in looped and (way := circle(name, looped)):
            told = " -> ".join(f"<{step}>" for step in (way if len(way) < 9 else [*way[:7], "…", way[-1]]))
            yield Problem(("lists", name), f"the list contains itself: {told}", "leave one of them out")
        mentioned = template.lists_of(nodes[name])
        if name not in sizes and name in order and all(other in sizes or other not in nodes for other in mentioned):
            what = f"nested more than {DEEPEST} deep, through the lists in it"
            yield Problem(("lists", name), what, "write it flat")


def _slots(bot: Bot) -> Iterator[Problem]:
    for slot, spec in bot.slots.items():
        path: Path_ = ("slots", slot)
        if slot == ANSWER:
            yield Problem(path, "{answer} is a task's fixed answer", "call the slot something else", "refused")
        for value, variants in spec.values.items():
            yield from _value((*path, "values", value), value, variants, bot.speech.letters)
        yield from _said_twice((*path, "values"), spec)


def _value(path: Path_, value: str, variants: list[str], letters: Letters) -> Iterator[Problem]:
    if not value.strip():
        yield Problem(path, "a value may be empty", "let every way to say it have a word", "refused")
    elif value != value.strip() or not value.isprintable() or len(value) > LONGEST_VALUE:
        what = f"a value is one line without spaces at its ends, {LONGEST_VALUE} letters at most; got {quoted(value)}"
        yield Problem(path, what, "it is what replies say and answers are looked up by", "refused")
    if not variants:
        yield Problem(path, "no way to say it", "give its spoken variants, or remove it", "refused")
    for variant in variants:
        if not letters.is_phrase(variant) and (variant or value):
            what = f"expected lower-case words, one space between them, got {quoted(variant)}"
            yield Problem(path, what, "write it as it is spoken: nine, not 9")
    for variant in sorted({v for v in variants if variants.count(v) > 1}):
        yield Problem(path, f"{quoted(variant)} stands twice", "remove one", "warning")


def _said_twice(path: Path_, spec: SlotSpec) -> Iterator[Problem]:
    """Two values of one slot that are said alike."""
    owner: dict[str, str] = {}
    for value, variants in spec.values.items():
        for variant in dict.fromkeys(variants):
            if variant in owner:
                what = f"{quoted(variant)} means {quoted(owner[variant])} already"
                yield Problem((*path, value), what, "let every way to say something mean one value", "refused")
            owner.setdefault(variant, value)
    for value in spec.values:
        if owner.get(value, value) != value:
            what = f"the value is how {quoted(owner[value])} is said"
            yield Problem((*path, value), what, "let every way to say something mean one value", "refused")


def _phrases(bot: Bot) -> Iterator[Problem]:
    for intent, spec in bot.intents.items():
        if intent == _OUT_OF_SCOPE:
            yield Problem(("intents", intent), "this is what nothing of the bot is called", "rename it", "refused")
        for place, phrase in enumerate(spec.phrases):
            yield from _parsed(phrase, ("intents", intent, "phrases", place), bot, words=True)[1]


def _parsed(phrase: str, path: Path_, bot: Bot, *, words: bool) -> tuple[Node | None, list[Problem]]:
    """A phrase's tree, where it has one, and what is wrong with it."""
    try:
        node = template.parse(phrase, bot.speech.letters if words else None)
    except TemplateError as error:
        return None, [Problem(path, str(error))]
    found = []
    for part in template.walk(node):
        if isinstance(part, SlotRef) and part.name not in bot.slots and not (part.name == ANSWER and not words):
            found.append(Problem(path, f"unknown slot {{{part.name}}}; known slots: {joined(bot.slots)}"))
        if isinstance(part, ListRef) and (part.name not in bot.lists or not words):
            known = joined(bot.lists) if words else "none in replies"
            found.append(Problem(path, f"unknown list <{part.name}>; known lists: {known}"))
    return node, list(dict.fromkeys(found))


def grammar_problems(bot: Bot, bounds: GraphBounds = BOUNDS) -> Iterator[Problem]:
    """All phrases together: how large, whether one can be nothing, whether two intents share a sentence."""
    slots = {name: _slot_size(spec, bot.speech.digits) for name, spec in bot.slots.items()}
    sizes = sizes_of(bot.list_nodes, slots)
    arcs = 0
    empty = _nullable_lists(bot.list_nodes)
    too_large = False
    for intent, nodes in bot.phrase_nodes.items():
        for place, node in enumerate(nodes):
            path: Path_ = ("intents", intent, "phrases", place)
            arcs += template.size_of(node, sizes, slots).arcs
            if arcs > MOST_ARCS and not too_large:
                too_large = True
                what = f"the phrases up to here make a word graph of {arcs:,} arcs, {MOST_ARCS:,} is the most"
                yield Problem(path, what, "let fewer lists stand in lists, and large slots in fewer phrases")
            if template.nullable(node, empty):
                yield Problem(path, "the phrase may be empty", "let one word of it stand outside [ ]", "refused")
    if too_large:
        return
    try:
        shared = shared_sentences(bot, bounds)
    except TooLarge as error:
        mend = "have fewer [optional] parts, alternatives and lists in one phrase"
        yield Problem(_too_large(bot, bounds), f"{error}, so intents cannot be compared", mend)
        return
    for sentence, (first, _), (intent, place) in shared:
        if sentence:
            what = f"{quoted(sentence)} is a sentence of the intent {first} too"
            yield Problem(("intents", intent, "phrases", place), what, "let it mean one thing", "refused")


def _too_large(bot: Bot, bounds: GraphBounds) -> Path_:
    """The place of the first phrase that is too large on its own; else that of all."""
    for intent, spec in bot.intents.items():
        for place, phrase in enumerate(spec.phrases):
            alone = bot.model_copy(update={"intents": {intent: spec.model_copy(update={"phrases": [phrase]})}})
            try:
                shared_sentences(alone, bounds)
            except TooLarge:
                return ("intents", intent, "phrases", place)
    return ("intents",)


def _nullable_lists(nodes: Mapping[str, Node]) -> dict[str, bool]:
    """Whether each list can be nothing."""
    found = dict.fromkeys(nodes, False)
    while grown := [n for n, node in nodes.items() if not found[n] and template.nullable(node, found)]:
        found.update(dict.fromkeys(grown, True))
    return found


def _slot_size(spec: SlotSpec, words: DigitWords) -> Size:
    if spec.type == "digits":
        arcs = (spec.digits_max + 1) * digits_arcs(words)
        return Size(template.COUNTED, template.COUNTED, arcs, 1)
    variants = [variant for said in spec.values.values() for variant in said]
    length = sum(len(variant.split()) for variant in variants)
    return Size(len(variants), length, length, 1)


def _unused(bot: Bot, used_by_slots: Collection[str]) -> Iterator[Problem]:
    used = set(used_by_slots)
    for intent in bot.intents:
        for node in bot.phrase_nodes[intent]:
            used |= reached(node, bot.list_nodes)
    said = {slot for intent in bot.intents for slot in bot.intent_slots(intent)}
    for name in bot.lists:
        if name not in used:
            yield Problem(("lists", name), "nothing uses this list", "remove it", "warning")
    asked = {slot: task for task, spec in bot.dialogue.tasks.items() for slot in spec.required}
    for slot in bot.slots:
        if slot not in said:
            what = f"no phrase can fill this slot{', which a task asks for' if slot in asked else ''}"
            yield Problem(("slots", slot), what, "use it in a phrase, or remove it", "warning")
    for intent in bot.intents:
        yield from _said_alike(bot, intent)


def _said_alike(bot: Bot, intent: str) -> Iterator[Problem]:
    """Two slots of one intent with a value that is said alike."""
    slots = bot.intent_slots(intent)
    digits = [slot for slot in slots if bot.slots[slot].type == "digits"]
    owner: dict[str, str] = {}
    found: dict[tuple[str, str], str] = {}
    for slot in slots:
        for variant in dict.fromkeys(v for variants in bot.slots[slot].values.values() for v in variants):
            number = next((d for d in digits if canonicalise(bot.slots[d], variant, bot.speech)), slot)
            for other in (owner.setdefault(variant, slot), number):
                if other != slot:
                    found.setdefault((other, slot), variant)
    for (other, slot), variant in found.items():
        what = f"{quoted(variant)} may be {{{other}}} or {{{slot}}}"
        yield Problem(("intents", intent), what, "the NLU tells by the words around it, if it can", "warning")


# --- what the bot says and does ---------------------------------------------------------------------------------


def _replies(bot: Bot) -> Iterator[Problem]:
    for act, replies in bot.replies.items():
        for place, reply in enumerate(replies):
            path: Path_ = ("replies", act, place)
            node, found = _parsed(reply, path, bot, words=False)
            yield from found
            if node is not None and _silent(node):
                yield Problem(path, "the reply may be nothing", "let a word of it stand outside [ ]", "refused")
            if node is not None and not found and (marks := unknown_marks(bot, act, reply)):
                what = f"the language has no form for {', '.join(map(quoted, marks[:_NAMED]))}: said as written"
                yield Problem(path, what, "leave the ~ out, or mark a word that the language knows", "warning")
        if len(set(replies)) < len(replies):
            yield Problem(("replies", act), "a reply stands twice", "remove one", "warning")


def _silent(node: Node) -> bool:
    """Whether a reply may say nothing."""
    if isinstance(node, Text):
        return not node.text.strip()
    if isinstance(node, Seq):
        return all(_silent(item) for item in node.items)
    if isinstance(node, Alt):
        return any(_silent(item) for item in node.items)
    return isinstance(node, Opt)


def _dialogue(bot: Bot) -> Iterator[Problem]:
    dialogue = bot.dialogue
    for task, spec in dialogue.tasks.items():
        where: Path_ = ("dialogue", "tasks", task)
        if task not in bot.intents:
            what = f"a task is opened by an intent of its name; known intents: {joined(bot.intents)}"
            yield Problem(where, what)
        by = spec.answer.by if spec.answer else []
        for slot in dict.fromkeys([*spec.required, *by]):
            if slot not in bot.slots:
                yield Problem(where, f"unknown slot {slot!r}; known slots: {joined(bot.slots)}")
        if len(set(spec.required)) < len(spec.required):
            yield Problem((*where, "required"), "a slot stands twice", "remove one", "refused")
        if spec.answer and all(slot in bot.slots for slot in by):
            yield from _answers(bot, task, where)
    plays: dict[str, str] = dict.fromkeys(dialogue.tasks, "tasks")
    for part in PARTS:
        for intent in getattr(dialogue, part):
            path: Path_ = ("dialogue", part)
            if intent not in bot.intents:
                yield Problem(path, f"unknown intent {intent!r}; known intents: {joined(bot.intents)}")
            elif plays.setdefault(intent, part) != part:
                what = f"the intent {intent} stands under {plays[intent]} too"
                yield Problem(path, what, "let every intent play one part", "refused")
    for intent in bot.intents:
        if not dialogue.part_of(intent):
            what = "the dialogue gives this intent no part; name it under dialogue"
            yield Problem(("intents", intent), what)


def _acts(bot: Bot, *, whole: bool) -> Iterator[Problem]:
    """Acts and replies that do not belong together. ``whole``: every reply can be read."""
    needed = bot.required_acts()
    for act in needed:
        if act not in bot.replies:
            yield Problem(("replies",), f"no reply for act {act!r}, which the dialogue needs", f"add {act}: under it")
    for act in bot.replies:
        if act not in needed:
            yield Problem(("replies", act), f"the dialogue never uses this act; it uses: {joined(needed)}")
    if whole:
        for act, complaint in unanswerable(bot):
            yield Problem(("replies", act), f"{complaint}; add it to the task's required, or put it in [brackets]")
        for spec in acts(bot):
            if len(spec.optional) > MOST_LEFT_OUT:
                what = f"{len(spec.optional)} slots may be left out, {MOST_LEFT_OUT} is the most"
                yield Problem(("replies", spec.act), what, "say them in two turns", "refused")
    discloses = bot.speech.disclosure
    for place, reply in enumerate(bot.replies.get("greet", [])):
        if not discloses.is_in(reply):
            what = "the greeting must say that the caller talks to an AI (EU AI Act, Art. 50)"
            mend = f"say it in every greeting, for example: {discloses.sentence}"
            yield Problem(("replies", "greet", place), what, mend, "refused")


def _answers(bot: Bot, task: str, where: Path_) -> Iterator[Problem]:
    """A table of answers has one for every mix of the values it is looked up by, and no other."""
    spec = bot.dialogue.tasks[task]
    assert spec.answer is not None
    path, by, values = (*where, "answer"), spec.answer.by, spec.answer.values
    unasked = [slot for slot in by if slot not in spec.required]
    digits = [slot for slot in by if bot.slots[slot].type == "digits"]
    slashed = [v for slot in by for v in bot.slots[slot].values if "/" in v and len(by) > 1]
    count = math.prod(len(bot.slots[slot].values) for slot in by if slot not in digits)
    for key, answer in values.items():
        if not answer.strip():
            yield Problem((*path, "values", key), "the answer is empty", "write what is to be said", "refused")
    if unasked:
        what = f"the task does not ask for {', '.join(unasked)}"
        yield Problem((*path, "by"), what, "name it under required", "refused")
    if len(set(by)) < len(by):
        yield Problem((*path, "by"), "a slot stands twice", "remove one", "refused")
    elif digits:
        what = f"{digits[0]} is of the type digits: no table can hold every number"
        yield Problem((*path, "by"), what, "look answers up by slots of values", "refused")
    elif slashed:
        what = f"the value {quoted(slashed[0])} holds the / that parts the values of a key"
        yield Problem((*path, "by"), what, "write the value without it", "refused")
    elif count > MOST_ANSWERS:
        what = f"a table of {count:,} answers, {MOST_ANSWERS:,} is the most"
        yield Problem((*path, "by"), what, "look it up by fewer slots", "refused")
    else:
        keys = ["/".join(mix) for mix in itertools.product(*(bot.slots[slot].values for slot in by))]
        yield from _table((*path, "values"), keys, list(values), "/".join(by))


def _table(path: Path_, wanted: list[str], given: list[str], shape: str) -> Iterator[Problem]:
    lacking = [key for key in wanted if key not in set(given)]
    for key in given:
        if key not in set(wanted):
            near = difflib.get_close_matches(key, lacking or wanted, 1)
            mend = f"did you mean {near[0]}?" if near else f"keys are {shape}, as in {spelt(wanted[0])}"
            yield Problem((*path, key), f"{quoted(key)} is no {shape}, so it is never said", mend, "refused")
    if lacking:
        more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
        what = f"no answer for {', '.join(map(spelt, lacking[:_NAMED]))}{more}"
        yield Problem(path, what, "a caller may ask for it: add it", "refused")
