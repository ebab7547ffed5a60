"""Figures that are said one by one: telephone numbers, keys, codes, accounts."""

from __future__ import annotations

import re

from parley.language.english import abbreviations as table
from parley.language.english import spoken_numbers as say
from parley.language.english.written import Place, Written

_PHONE = re.compile(r"\+?\d{3}[-.]\d{4}|\+?\d+(?:[-.]\d{2,}){2,}|\+\d{4,}|\d{5}-\d{4}|\d(?:-\d){2,}")
_LETTERED = re.compile(r"\+?\d(?:-\d{3})?(?:-(?:[A-Z]{2,}|\d+))*-[A-Z]{2,}(?:-(?:[A-Z]+|\d+))*|\d{3}-[A-Z]{3,}")
_VERSION = re.compile(r"\d+(?:\.\d+){2,}")
_DATE = re.compile(r"\d{4}-\d\d?-\d\d?|(\d\d?)([/.-])(\d\d?)\2(\d{4}|\d\d)")
_GROUP = re.compile(r"\+?\(?\d[\d()-]*")
_MOST_GROUPS = 10
"""A telephone or account number has fewer; so that a row of numbers without end is not looked through for each."""


def read_phone(place: Place, body: str) -> str:
    """A telephone number in one word, with letters perhaps, or in groups with blanks between them."""
    plus = "plus " if body.startswith("+") else ""
    if _LETTERED.fullmatch(body):
        return plus + " , ".join(_lettered(part) for part in body.lstrip("+").split("-"))
    if _PHONE.fullmatch(body) and not (_VERSION.fullmatch(body) and len(body) < 10) and not _DATE.fullmatch(body):
        quads = re.fullmatch(r"\d{1,3}(?:\.\d{1,3}){3}|\d{1,3}(?:\.\d{3}){2,}", body)
        return "" if quads and not re.fullmatch(r"\d{3}\.\d{3}\.\d{4}", body) else plus + say.grouped(body)
    if _GROUP.fullmatch(body):
        chain = _chain(place)
        if len(chain) > 1 and sum(c.isdigit() for word in chain for c in word) >= 7:
            goes_on = chain[-1] is not body and not place.tail
            return plus + say.grouped(body) + (" ," if goes_on else "")
    extension = re.fullmatch(r"x(\d{1,6})", body)
    if extension and place.beside(-1)[-1:].isdigit():
        return f"extension {say.digits(extension.group(1))}"
    return ""


def _lettered(part: str) -> str:
    if part.isdigit():
        return say.digits(part)
    return part.lower() if re.search("[AEIOUY]", part) else " ".join(part)


def _joined(word: Written) -> bool:
    return word.tail in ("", ")", "-") and _GROUP.fullmatch(word.body) is not None


def _chain(place: Place) -> list[str]:
    """Groups of figures that stand side by side, this one among them: a telephone number with blanks."""
    first = last = place.index
    words = place.words
    while first > 0 and place.index - first < _MOST_GROUPS and _joined(words[first - 1]):
        first -= 1
    while (
        last + 1 < len(words)
        and last - place.index < _MOST_GROUPS
        and _joined(words[last])
        and _GROUP.fullmatch(words[last + 1].body)
    ):
        last += 1
    return [word.body for word in words[first : last + 1]]


def read_code(place: Place, number: str) -> str:
    """Figures one by one: after "code", "ending in", "#", "call"; with a leading nought; where they are many and not
    round; empty for a number that counts."""
    before = place.beside(-1).lower()
    named = before in table.CODE_WORDS or before in ("*", "#", "-") and place.inside(-1)
    named |= (
        before in ("is", "in", "was", "with", "number", "no", "to") and place.beside(-2).lower() in table.CODE_WORDS
    )
    leading = len(number) > 1 and number.startswith("0")
    many = len(number) >= 5 and not (number.endswith("00") and len(number) <= 9)
    if leading or many or named and len(number) >= 3 or _dialled(place, number):
        return say.grouped(number)
    return ""


def _dialled(place: Place, number: str) -> bool:
    """ "Call 911" and "Call 999 or 112", not "call 200 people"."""
    if not 3 <= len(number) <= 4:
        return False
    after = place.beside(1).lower()
    counts = bool(after) and not place.tail and after not in table.FUNCTION_WORDS | table.AFTER_DIALLING
    before = place.beside(-1).lower()
    if before in ("or", "and") and re.fullmatch(r"\d{3,4}", place.beside(-2)):
        before = place.beside(-3).lower()
    if before in ("at", "to", "on") and place.beside(-2).lower() in table.DIAL_WORDS:
        before = "call"
    return before in table.DIAL_WORDS and not counts or number == "911" and not counts
