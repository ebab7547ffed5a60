"""What a synthesiser's voice reads to us: the bot's replies above all, and enough of its language for words nobody
foresaw."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.bot.replies import acts, realise
from parley.bot.slots import draw_value
from parley.errors import ParleyError
from parley.language import Language
from parley.text_files import json_objects, read_lines


def sentences(bot: Bot, count: int, rng: random.Random) -> list[str]:
    """What the voice says: the bot's replies above all, then numbers, prices and days, orders, and plain English.

    Different sentences, at most ``count`` of them; each kind takes its share of what is then missing.
    """
    found: dict[str, None] = {}
    script = bot.speech.script()
    for spec in acts(bot):
        required_only = {s: _a_value(bot, s, rng) for s in spec.required}
        found[realise(bot, spec.act, required_only)] = None
    found.update(dict.fromkeys(script.sentences()))
    found.update(dict.fromkeys(_coverage(bot)))
    draws: list[tuple[float, Callable[[], str]]] = [
        (0.5, lambda: drawn_reply(bot, rng)),
        (0.3, lambda: script.figures(rng)),
        (0.2, lambda: Grammar(bot).sample(rng).text.capitalize() + rng.choice(".?")),
    ]
    for share, draw in draws:
        wanted = len(found) + round(share * max(0, count - len(found)))
        for _ in range(20 * count):  # a small bot runs out of new sentences: then fewer are made
            if len(found) >= wanted:
                break
            found[draw()] = None
    return list(found)


def _text_of(where: str, row: dict[str, Any]) -> str:
    if not isinstance(row.get("text"), str):
        raise ParleyError("text: expected a sentence", where=where, mend='give {"text": "…"} a line')
    return str(row["text"])


def read_texts(path: Path, language: Language) -> list[str]:
    """Sentences of a text file, one a line, or of JSON lines with ``text``: 4 to 22 words, made to begin with a
    capital and to end with a mark, so that the voice hears questions and statements.

    Raises:
        ParleyError: the file is missing or is not such a file.
    """
    rows = [_text_of(*row) for row in json_objects(path)] if path.suffix == ".jsonl" else read_lines(path)
    found: dict[str, None] = {}
    for row in (" ".join(row.split()) for row in rows):
        if 4 <= len(row.split()) <= 22 and _is_written_in(language, row):
            found[language.letters.capital(row) + _mark_for(language, row)] = None
    return list(found)


def _is_written_in(language: Language, text: str) -> bool:
    """Whether a text has letters of the language alone, beside figures and the signs of any script: « », –, №, €."""
    small, silent = frozenset(language.letters.small), language.letters.silent
    return all(c.lower() in small if c.isalpha() else c in silent or _is_sign(c) for c in text)


def _is_sign(character: str) -> bool:
    """Punctuation, a blank, a figure or a symbol, by Unicode's general category."""
    return unicodedata.category(character)[0] in "PZNS"


def _mark_for(language: Language, text: str) -> str:
    """The mark that a sentence lacks at its end; one within closing quotation marks is its end too."""
    if text.rstrip("»”’").endswith((".", "?", "!")):
        return ""
    return "?" if language.script().is_question(text) else "."


def _a_value(bot: Bot, slot: str, rng: random.Random) -> str:
    if slot in bot.slots:
        return draw_value(bot.slots[slot], rng)
    return bot.speech.script().figures(rng).rstrip(".?").lower()


def drawn_reply(bot: Bot, rng: random.Random) -> str:
    """A reply that takes slots, with values drawn from the bot."""
    spec = rng.choice([s for s in acts(bot) if s.required or s.optional] or acts(bot))
    optional = [s for s in spec.optional if rng.random() < 0.4]
    for chosen in (optional, []):
        try:
            return realise(bot, spec.act, {s: _a_value(bot, s, rng) for s in (*spec.required, *chosen)}, rng)
        except ParleyError:  # no template says exactly this combination
            continue
    return realise(bot, "goodbye", {}, rng)


def _coverage(bot: Bot) -> Iterator[str]:
    """Short lists that bring every value, number below a hundred and letter into the lexicon."""
    listed = [v for spec in bot.slots.values() for variants in spec.values.values() for v in variants]
    listed += bot.speech.script().listed()
    for start in range(0, len(listed), 5):
        yield ", ".join(listed[start : start + 5]) + "."
    for task in bot.dialogue.tasks.values():
        if task.answer:
            yield from task.answer.values.values()
