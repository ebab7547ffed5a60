"""Slot values: from what was said to the canonical value, and back."""

from __future__ import annotations

import random

from parley.bot.spec import SlotSpec

DIGIT_WORDS: dict[str, str] = {
    "zero": "0", "oh": "0", "one": "1", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6",
    "seven": "7", "eight": "8", "nine": "9",
}  # fmt: skip
_WORD_OF_DIGIT = {digit: word for word, digit in reversed(DIGIT_WORDS.items())}


def canonicalise(spec: SlotSpec, spoken: str) -> str | None:
    """The canonical value of spoken words, or None when they are no value of the slot.

    >>> canonicalise(SlotSpec(type="digits", digits_min=3, digits_max=3), "four oh two")
    '402'
    """
    spoken = " ".join(spoken.lower().split())
    if spec.type == "digits":
        digits = [DIGIT_WORDS.get(word, word if word.isdigit() else None) for word in spoken.split()]
        if not digits or None in digits:
            return None
        joined = "".join(d for d in digits if d)
        return joined if spec.digits_min <= len(joined) <= spec.digits_max else None
    if spoken in spec.values:
        return spoken
    return next((value for value, variants in spec.values.items() if spoken in variants), None)


def spoken_form(spec: SlotSpec, value: str, rng: random.Random | None = None) -> str:
    """Words that say a canonical value: a drawn variant, the first one without ``rng``."""
    if spec.type == "digits":
        words = [_WORD_OF_DIGIT[d] for d in value]
        if rng:
            words = ["oh" if w == "zero" and rng.random() < 0.5 else w for w in words]
        return " ".join(words)
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
            hit = next(((n, v) for n, s in slots.items() if n not in found and (v := canonicalise(s, spoken))), None)
            if hit:
                found[hit[0]] = hit[1]
                at += length - 1
                break
        at += 1
    return found
