"""Rows to train a corpus's network on: meanings with delexicalised texts, and values swapped with their phrases."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from models.nlg.corpora import Meaning, Reference, parse_meaning
from models.nlg.delexicalise import delexicalise, foreign_words, words_of
from models.nlg.prompts import slot_keys
from models.nlg.realisations import Patterns
from parley.errors import ParleyError
from parley.files import write_atomic
from parley.text_files import split_lines

_ALIKE: tuple[tuple[str, dict[str, str], str], ...] = (
    # Phrases that stay good sentences when one value's takes another's place: slot, value to phrase, what follows.
    ("customer rating", {"1 out of 5": "1", "3 out of 5": "3", "5 out of 5": "5"}, r"(?= out of 5)"),
    ("customer rating", {"1 out of 5": "one", "3 out of 5": "three", "5 out of 5": "five"}, r"(?= out of five| star)"),
    ("customer rating", {"low": "low", "average": "average", "high": "high"}, r"(?= (?:customer )?rating)"),
    ("priceRange", {"less than £20": "less than £20", "£20-25": "£20-25", "more than £30": "more than £30"}, ""),
    ("priceRange", {"cheap": "low", "moderate": "moderate", "high": "high"}, r"(?= price)"),
    ("area", {"city centre": "city centre", "riverside": "riverside"}, r"(?= area|\.)"),
)


@dataclass(frozen=True)
class Row:
    """A meaning and one way to say it, with placeholders."""

    meaning: Meaning
    text: str
    style: int = 0


def rows_of(references: Sequence[Reference], patterns: Patterns) -> list[Row]:
    """References that can be delexicalised, without those that misspell a name or say what the prompt cannot hold."""
    rows = []
    for reference in references:
        text = delexicalise(reference.text, reference.meaning, patterns)
        if text is not None and slot_keys(reference.meaning) is not None:
            rows.append(Row(reference.meaning, text))
    foreign = foreign_words([row.text for row in rows], [row.meaning for row in rows])
    return [row for row in rows if not foreign & set(words_of(re.sub(r"\{.*?\}", "", row.text)))]


def swapped(row: Row, patterns: Patterns, rng: random.Random, share: float) -> Row:
    """The row with some values swapped for others of their kind, in meaning and text; only if it says exactly that."""
    for slot, phrases, after in _ALIKE:
        values = [value for of, value in row.meaning if of == slot]
        if len(values) != 1 or values[0] not in phrases or rng.random() >= share:
            continue
        value = rng.choice(sorted(set(phrases) - {values[0]}))
        expression = rf"(?<!\w)(an? )?{re.escape(phrases[values[0]])}(?!\w){after}"
        text, count = re.subn(expression, partial(_with_article, phrases[value]), row.text)
        meaning = tuple((of, value if of == slot else was) for of, was in row.meaning)
        if count == 1 and not patterns.errors(text, [p for p in meaning if p[0] in patterns.spec["slots"]
                                                     and p[0] not in ("food", "eatType")]).errors:  # fmt: skip
            row = replace(row, meaning=meaning, text=text)
    return row


def _with_article(phrase: str, match: re.Match[str]) -> str:
    if not match[1]:
        return phrase
    return f"{'an' if phrase[0] in 'aeiou' else 'a'} {phrase}"


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows, a JSON object a line."""
    lines = [
        json.dumps({"mr": ", ".join(f"{slot}[{value}]" for slot, value in row.meaning), "text": row.text,
                    "style": row.style}, ensure_ascii=False)
        for row in rows
    ]  # fmt: skip
    write_atomic(path, "\n".join([*lines, ""]))


def read_rows(path: Path) -> list[Row]:
    """Read what :func:`write_rows` wrote.

    Raises:
        ParleyError: there is no such file, or a line of it is not a row.
    """
    try:
        records = [json.loads(line) for line in split_lines(path.read_text(encoding="utf-8"))]
        return [Row(parse_meaning(r["mr"]), r["text"], int(r["style"])) for r in records]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        raise ParleyError("no taught rows", where=str(path), mend="run python -m models.nlg.teach") from None
