"""Capitals with their neighbours in view: stress, an abbreviation that is spelled, a Roman numeral.

"YOUR CARD WAS SENT" are words, "an ATM" is spelled; "World War II" is two, "Henry VIII" the eighth and "I" a word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from parley.language.english import abbreviations as table
from parley.language.english import spoken_numbers as say
from parley.language.english.written import Place, Written

_ROMAN = re.compile(r"(?=[IVXLC])(C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})")
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100}
_NO_VOWEL = re.compile(r"[^AEIOUYaeiouy]+")


def is_shouted(words: Sequence[Written]) -> bool:
    """Whether a text is in capitals throughout: then they stress and abbreviate nothing."""
    bodies = [re.sub("[^A-Za-z]", "", w.body) for w in words if not any(c.isdigit() for c in w.body)]
    long = [body for body in bodies if len(body) >= 2]
    capital = sum(body.isupper() for body in long)
    return capital >= 2 and capital >= 0.75 * len(long) and any(len(body) > 2 for body in long)


def is_spelled(word: str, place: Place) -> bool:
    """Whether the letters of a word in capitals (without apostrophes) are said one by one."""
    if len(word) == 1:
        return word not in "AI"
    if word in table.SPELLED or word == "IT" and place.beside(1).lower() in table.AFTER_IT:
        return True
    if _NO_VOWEL.fullmatch(word):
        return len(word) <= 6
    if len(word) > 4 or word in table.ACRONYMS:
        return False
    initials = any(place.beside(step) == "&" and place.inside(step) for step in (-1, 1))
    return initials or not (place.shouted or word in table.SHOUTED)


def roman(place: Place) -> str:
    """A Roman numeral as a number, where what stands before it is counted so; empty otherwise."""
    body, owner, _ = place.body.partition("'s")
    if owner:
        said = roman(place.instead(body))
        return f"{said}'s" if said else ""
    before = place.beside(-1)
    if not _ROMAN.fullmatch(body) or place.index == 0 or place.words[place.index - 1].tail:
        return ""
    counted = before.capitalize() in table.COUNTED_IN_ROMAN and (before[:1].isupper() or len(body) > 1)
    number = str(value(body))
    if counted and (len(body) > 1 or body in "IVX"):
        return say.cardinal(number)
    if len(body) == 1 or not before[:1].isupper() or before.isupper() and not place.shouted:
        return ""
    if before in table.NAMES_OF_RULERS or place.beside(-2) in table.RULERS:
        return f"the {say.ordinal(number)}"
    return say.cardinal(number) if set(body) <= set("IVX") and not before.endswith("'s") else ""


def value(numeral: str) -> int:
    """What a Roman numeral counts.

    >>> value("XIV")
    14
    """
    found = [_VALUES[c] for c in numeral]
    return sum(-n if n < after else n for n, after in zip(found, [*found[1:], 0], strict=True))
