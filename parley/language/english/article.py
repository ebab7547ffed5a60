"""A or an, by the sound of what follows: "a one-way ticket", "an hour", "an 8 ounce cup", "an MRI".

The sound of a first letter is nearly regular in English; what is not stands in tables. Serving has no lexicon at this
place. The library for it, `inflect` 7.6.0, says "a 8 ounce cup" and "a LED lamp": 108 of the first 144 rows of
``tests/vectors/articles.tsv``, this module all of them.
"""

from __future__ import annotations

import re

_SILENT_H = re.compile(r"hour|heir|honest|honou?r|herb(?!ert|ivor)")
_LIKE_W = re.compile(r"one(?![a-z])|ones|once|oneself|ouija")
"""Begin with the sound of w."""
_LIKE_YOU = re.compile(
    r"eu|ewe|ewer|(?!uber)u[bcfkt](?=[aeiou])|uni(?!n|m[aeip]|d[ei]|f(?!orm|[iy])|ll|de)|unan(?!s)|"
    r"u[rk](?=[aeiou])|ukr|uvu|"
    r"us(?=[aeiu])(?!ua?lly)|usual"
)
"""Begin with the sound of y, though a vowel is written."""
_SPELLED_AS_VOWEL = frozenset("aefhilmnorsx")
"""Letters whose names begin with a vowel: an MRI, an X-ray."""
_WORDS_IN_CAPITALS = frozenset(
    ["NASA", "NATO", "FEMA", "PIN", "SIM", "RAM", "LAN", "NEW", "HOT", "FREE", "OLD", "ICED"]
)
"""Short capitals that are said as words; others of up to four letters are spelled."""
_FIGURES = re.compile(r"(\d[\d,]*)")
_MARKS = "\"'([{“‘$£€#"


def article(following: str) -> str:
    """``a`` or ``an`` before this text.

    >>> [article(text) for text in ("one-way ticket", "hour", "18 month term", "MRI", "US number")]
    ['a', 'an', 'an', 'an', 'a']
    """
    text = following.lstrip(_MARKS)
    figures = _FIGURES.match(text)
    if figures:
        return "an" if _begins_with_eight_or_eleven(figures.group(1)) else "a"
    word = re.match(r"[^\W\d_]*", text).group()  # type: ignore[union-attr]  # an empty match is one too
    return "an" if _vowel(word, text[len(word) :]) else "a"


def _begins_with_eight_or_eleven(figures: str) -> bool:
    """Eight, eighty, eight hundred; eleven and eighteen, alone or of thousands: "an 11,000 dollar loan"."""
    digits = figures.replace(",", "")
    if digits.startswith("8"):
        return True
    return digits[:2] in ("11", "18") and len(digits) % 3 == 2


def _vowel(word: str, after: str) -> bool:
    low = word.lower()
    spelled = len(word) == 1 and after[:1] in ("-", ".") or word.isupper() and len(word) <= 4
    if spelled and word not in _WORDS_IN_CAPITALS:
        return low[:1] in _SPELLED_AS_VOWEL
    if _LIKE_W.match(low) or _LIKE_YOU.match(low):
        return False
    if low[:1] == "y":
        return low[1:2] not in ("a", "e", "i", "o", "u", "") and not low.startswith("yw")
    return low[:1] in ("a", "e", "i", "o", "u") or _SILENT_H.match(low) is not None
