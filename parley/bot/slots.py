"""Slot values: from what was said to the canonical value, and back, by the words of a language."""

from __future__ import annotations

import random

from parley.bot.spec import SlotSpec
from parley.language import Language


def canonicalise(spec: SlotSpec, spoken: str, language: Language) -> str | None:
    """The canonical value of spoken words, or None when they are no value of the slot.

    >>> canonicalise(SlotSpec(type="digits", digits_min=3, digits_max=3), "four oh two", language_of("en-US"))
    '402'
    """
    spoken = " ".join(language.letters.fold(spoken).split())
    if spec.type == "digits":
        digits = language.digits.digits_of(spoken.split())
        return digits if digits and spec.digits_min <= len(digits) <= spec.digits_max else None
    if spoken in spec.values:
        return spoken
    return next((value for value, variants in spec.values.items() if spoken in variants), None)


def is_value(spec: SlotSpec, value: str) -> bool:
    """Whether this is a canonical value of the slot."""
    if spec.type == "digits":
        return value.isascii() and value.isdigit() and spec.digits_min <= len(value) <= spec.digits_max
    return value in spec.values


def spoken_form(spec: SlotSpec, value: str, language: Language, rng: random.Random | None = None) -> str:
    """Words that say a canonical value: a drawn variant, the first one without ``rng``."""
    if spec.type == "digits":
        return " ".join(language.digits.words_of(value, rng))
    variants = spec.values.get(value) or [value]
    return rng.choice(variants) if rng else variants[0]


def draw_value(spec: SlotSpec, rng: random.Random) -> str:
    """A canonical value, uniformly over values (or over lengths and digits)."""
    if spec.type == "digits":
        return "".join(rng.choice("0123456789") for _ in range(rng.randint(spec.digits_min, spec.digits_max)))
    return rng.choice(list(spec.values))


def spot(slots: dict[str, SlotSpec], text: str, language: Language) -> dict[str, str]:
    """Slots of a sentence by looking for their values: the longest value at the earliest word wins, each slot once.

    A plain reading of a transcript, to judge an STT without an NLU.

    >>> drinks = SlotSpec(values={"mocha": ["mocha"], "iced mocha": ["iced mocha"]})
    >>> spot({"drink": drinks}, "an iced mocha please", language_of("en-US"))
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
            beside = (*words[at - 1 : at], *words[at + length : at + length + 1])
            part = any(map(language.digits.says, beside))
            free = {n: spec for n, spec in slots.items() if n not in found and not (part and spec.type == "digits")}
            hit = next(((n, v) for n, spec in free.items() if (v := canonicalise(spec, spoken, language))), None)
            if hit:
                found[hit[0]] = hit[1]
                at += length - 1
                break
        at += 1
    return found
