"""Slot values: from what was said to the canonical value, and back."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

from parley.bot.spec import SlotSpec

DIGIT_WORDS: dict[str, str] = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
REPEATS: dict[str, int] = {"double": 2, "triple": 3}
"""Words before a digit that say it several times: "double three" is 33."""
_FIGURES = re.compile(r"\s*[0-9]+\s*")
_WORD_OF_DIGIT = {digit: word for word, digit in reversed(DIGIT_WORDS.items())}


def digits_of(words: Sequence[str]) -> str | None:
    """The digits that words say, or None when a word is none. Figures count as what they show.

    >>> digits_of(["four", "oh", "double", "three"])
    '4033'
    """
    said, times = "", 1
    for word in words:
        if word in REPEATS and times == 1:
            times = REPEATS[word]
            continue
        digits = DIGIT_WORDS.get(word, word if word.isascii() and word.isdigit() else "")
        if not digits or (times > 1 and len(digits) > 1):
            return None
        said, times = said + digits * times, 1
    return said if said and times == 1 else None


def says_digits(word: str) -> bool:
    """Whether a word says digits, or how often the next one is said."""
    return word in REPEATS or word in DIGIT_WORDS or (word.isascii() and word.isdigit())


def figures_as_words(text: str) -> str:
    """A sentence with its figures as words, one a digit.

    >>> figures_as_words("it is 402")
    'it is four zero two'
    """
    return _FIGURES.sub(lambda match: f" {' '.join(words_of(match[0].strip()))} ", text).strip()


def words_of(digits: str, rng: random.Random | None = None) -> list[str]:
    """Words that say digits one by one; with ``rng`` also "oh" for zero, and "double" and "triple" as callers do."""
    words: list[str] = []
    at = 0
    while at < len(digits):
        run = len(digits) - at - len(digits[at:].lstrip(digits[at]))
        possible = [word for word, times in REPEATS.items() if times <= run]
        repeat = rng.choice(possible) if rng and possible and rng.random() < 0.5 else ""
        said = _WORD_OF_DIGIT[digits[at]]
        if rng and said == "zero" and rng.random() < 0.5:
            said = "oh"
        words += [repeat, said] if repeat else [said]
        at += REPEATS.get(repeat, 1)
    return words


def canonicalise(spec: SlotSpec, spoken: str) -> str | None:
    """The canonical value of spoken words, or None when they are no value of the slot.

    >>> canonicalise(SlotSpec(type="digits", digits_min=3, digits_max=3), "four oh two")
    '402'
    """
    spoken = " ".join(spoken.lower().split())
    if spec.type == "digits":
        digits = digits_of(spoken.split())
        return digits if digits and spec.digits_min <= len(digits) <= spec.digits_max else None
    if spoken in spec.values:
        return spoken
    return next((value for value, variants in spec.values.items() if spoken in variants), None)


def is_value(spec: SlotSpec, value: str) -> bool:
    """Whether this is a canonical value of the slot."""
    if spec.type == "digits":
        return value.isascii() and value.isdigit() and spec.digits_min <= len(value) <= spec.digits_max
    return value in spec.values


def spoken_form(spec: SlotSpec, value: str, rng: random.Random | None = None) -> str:
    """Words that say a canonical value: a drawn variant, the first one without ``rng``."""
    if spec.type == "digits":
        return " ".join(words_of(value, rng))
    variants = spec.values.get(value) or [value]
    return rng.choice(variants) if rng else variants[0]


def draw_value(spec: SlotSpec, rng: random.Random) -> str:
    """A canonical value, uniformly over values (or over lengths and digits)."""
    if spec.type == "digits":
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(spec.digits_min, spec.digits_max)))
    return rng.choice(list(spec.values))


def spot(slots: dict[str, SlotSpec], text: str) -> dict[str, str]:
    """Slots of a sentence by looking for their values: the longest value at the earliest word wins, each slot once.

    A plain reading of a transcript, to judge an STT without an NLU.

    >>> spot({"drink": SlotSpec(values={"mocha": ["mocha"], "iced mocha": ["iced mocha"]})}, "an iced mocha please")
    {'drink': 'iced mocha'}
    """
    words = text.split()
    longest = max((len(v.split()) for s in slots.values() for vs in s.values.values() for v in vs), default=1)
    longest = max(longest, *(s.digits_max for s in slots.values() if s.type == "digits"), 1)
    found: dict[str, str] = {}
    at = 0
    while at < len(words):
        for length in range(min(longest, len(words) - at), 0, -1):
            spoken = " ".join(words[at : at + length])
            # A part of a number is another number.
            part = any(says_digits(word) for word in (*words[at - 1 : at], *words[at + length : at + length + 1]))
            free = {n: spec for n, spec in slots.items() if n not in found and not (part and spec.type == "digits")}
            hit = next(((n, v) for n, spec in free.items() if (v := canonicalise(spec, spoken))), None)
            if hit:
                found[hit[0]] = hit[1]
                at += length - 1
                break
        at += 1
    return found
