"""What a synthesiser's voice reads to us: the bot's replies above all, and enough English for words nobody foresaw."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from num2words import num2words

from models.tts.abbreviations import DAYS, vocabulary
from models.tts.spoken_numbers import MONTHS
from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.bot.replies import acts, realise
from parley.bot.slots import draw_value
from parley.errors import ParleyError
from parley.text_files import json_objects, read_lines

_SENTENCES = Path(__file__).with_name("sentences.txt")
_QUESTION = re.compile(
    r"(?i)(how|what|when|where|which|who|whose|why|is|are|am|was|were|do|does|did|can|could|will|would|should|may|has|have)\b"
)


def sentences(bot: Bot, count: int, rng: random.Random) -> list[str]:
    """What the voice says: the bot's replies above all, then numbers, prices and days, orders, and plain English.

    Different sentences, at most ``count`` of them; each kind takes its share of what is then missing.
    """
    found: dict[str, None] = {}
    for spec in acts(bot):
        required_only = {s: _a_value(bot, s, rng) for s in spec.required}
        found[realise(bot, spec.act, required_only)] = None
    found.update(dict.fromkeys(line for line in _SENTENCES.read_text(encoding="utf-8").splitlines() if line))
    found.update(dict.fromkeys(_coverage(bot)))
    draws: list[tuple[float, Callable[[], str]]] = [
        (0.5, lambda: drawn_reply(bot, rng)),
        (0.3, lambda: drawn_figures(rng)),
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


def read_texts(path: Path) -> list[str]:
    """Sentences of a text file, one a line, or of JSON lines with ``text``: 4 to 22 words, made to begin with a
    capital and to end with a mark, so that the voice hears questions and statements.

    Raises:
        ParleyError: the file is missing or is not such a file.
    """
    rows = [_text_of(*row) for row in json_objects(path)] if path.suffix == ".jsonl" else read_lines(path)
    found: dict[str, None] = {}
    for row in (" ".join(row.split()) for row in rows):
        if 4 <= len(row.split()) <= 22 and row.isascii():
            mark = "" if row[-1] in ".?!" else "?" if _QUESTION.match(row) else "."
            found[row[:1].upper() + row[1:] + mark] = None
    return list(found)


def _a_value(bot: Bot, slot: str, rng: random.Random) -> str:
    return draw_value(bot.slots[slot], rng) if slot in bot.slots else drawn_figures(rng).rstrip(".?").lower()


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


def drawn_figures(rng: random.Random) -> str:
    """A sentence with a price, a time, a date, digits or a day in it."""
    amount = f"${rng.randint(1, 2500)}.{rng.randint(1, 99):02d}"
    forms = [
        f"That will be {amount}, please.",
        f"Your balance is {amount}.",
        f"A payment of £{rng.randint(1, 400)} was made on {rng.choice(DAYS)}.",
        f"Your number is {' '.join(num2words(rng.randint(0, 9)) for _ in range(rng.randint(3, 8)))}.",
        f"We open at {rng.randint(6, 11)}:{rng.choice(('00', '15', '30', '45'))} on {rng.choice(DAYS)}.",
        f"It is the {num2words(rng.randint(1, 31), to='ordinal')} of {rng.choice(MONTHS)}.",
        f"Is {rng.choice(DAYS)} at {rng.randint(1, 12)} all right for you?",
        f"There are {rng.randint(2, 9999)} people in line, and {rng.randint(20, 99)} percent are new.",
    ]
    return rng.choice(forms)


def _coverage(bot: Bot) -> Iterator[str]:
    """Short lists that bring every value, number below a hundred and letter into the lexicon."""
    listed = [v for spec in bot.slots.values() for variants in spec.values.values() for v in variants]
    listed += [num2words(n).replace("-", " ") for n in range(100)]
    listed += [chr(c) for c in range(ord("A"), ord("Z") + 1)]
    listed += vocabulary()
    for start in range(0, len(listed), 5):
        yield ", ".join(listed[start : start + 5]) + "."
    for task in bot.dialogue.tasks.values():
        if task.answer:
            yield from task.answer.values.values()
