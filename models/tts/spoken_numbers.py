"""Figures in words: numbers, ordinals, years, prices, times, dates. `num2words` counts; what it says is said here.

Every function takes figures as they are written (ASCII) and gives words parted by spaces, without hyphens or commas of
`num2words`. A lone ``,`` among them is a short pause: a telephone number is read in groups.

>>> money("$", "4.50")
'four dollars and fifty cents'
>>> clock("9", "05")
'nine oh five'
"""

from __future__ import annotations

import re

from num2words import num2words

MONTHS: tuple[str, ...] = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
CURRENCIES: dict[str, tuple[str, str, str, str]] = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
}
"""One and many of the unit, one and many of its hundredth."""
MAGNITUDES = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion", "tn": "trillion"}
_DENOMINATORS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
_LONGEST_CARDINAL = 15
"""Beyond trillions nobody follows a cardinal; digits are what a person would read out."""


def _plain(words: str) -> str:
    return " ".join(re.sub(r"[-,]", " ", words).split())


def digits(written: str) -> str:
    """Figure by figure; other characters are left out."""
    return " ".join(num2words(int(d)) for d in written if d.isdigit())


def grouped(written: str) -> str:
    """A telephone or card number, a pause between its groups: those written, or 3-3-4, 3-4, fours and threes.

    >>> grouped("555-0123")
    'five five five , zero one two three'
    """
    groups = [g for g in re.split(r"\D+", written) if g]
    if len(groups) == 1:
        n = len(groups[0])
        sizes = {7: [3, 4], 10: [3, 3, 4], 11: [1, 3, 3, 4]}.get(n) or ([n] if n < 7 else [4 if n % 4 == 0 else 3] * n)
        row, groups = groups[0], []
        for size in sizes:
            if row:
                groups.append(row[:size])
                row = row[size:]
    return " , ".join(digits(g) for g in groups)


def cardinal(written: str) -> str:
    """A number with commas or a decimal point; the places after the point one by one, as written."""
    whole, point, places = written.replace(",", "").partition(".")
    if len(whole) > _LONGEST_CARDINAL:
        said = digits(whole)
    else:
        said = _plain(num2words(int(whole))) if whole else ""
    return f"{said} point {digits(places)}".strip() if point and places else said


def ordinal(written: str) -> str:
    """``3`` as "third"."""
    return _plain(num2words(int(written), to="ordinal"))


def year(written: str) -> str:
    """``1999`` as "nineteen ninety nine", ``2005`` as "two thousand and five"."""
    return _plain(num2words(int(written), to="year"))


def decade(written: str) -> str:
    """``1990`` or ``90`` as "nineteen nineties", "nineties"."""
    said = year(written) if len(written) == 4 else cardinal(written)
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


def money(sign: str, amount: str, magnitude: str = "") -> str:
    """A price: units and hundredths; with a magnitude ("million") the number as it is."""
    one, many, cent, cents = CURRENCIES[sign]
    if magnitude:
        return f"{cardinal(amount)} {magnitude} {many}"
    whole, _, places = amount.replace(",", "").partition(".")
    if len(places) > 2 or len(whole) > _LONGEST_CARDINAL:
        return f"{cardinal(amount)} {many}"
    small = int(places.ljust(2, "0") or 0)
    units = int(whole or 0)
    large_words = f"{cardinal(whole or '0')} {one if units == 1 else many}"
    small_words = f"{cardinal(str(small))} {cent if small == 1 else cents}"
    if not small:
        return large_words
    return f"{large_words} and {small_words}" if units else small_words


def clock(hour: str, minute: str, *, half_day: bool = False) -> str:
    """A time of day. ``half_day``: "a.m." or "p.m." follows, so that ten is "ten" and not "ten o'clock"."""
    hours, minutes = int(hour), int(minute)
    if minutes:
        return f"{cardinal(str(hours))} {'oh ' if minutes < 10 else ''}{cardinal(str(minutes))}"
    if half_day:
        return cardinal(str(hours))
    if hours == 0:
        return "midnight"
    return f"{cardinal(str(hours))} o'clock" if hours <= 12 else f"{cardinal(str(hours))} hundred"


def date(month: int, day: int, in_year: str = "") -> str:
    """``3, 14, "2024"`` as "march fourteenth , twenty twenty four"."""
    said = f"{MONTHS[month - 1].lower()} {ordinal(str(day))}"
    return f"{said} , {year(in_year)}" if in_year else said


def fraction(above: str, below: str) -> str:
    """``3/4`` as "three quarters"."""
    one, many = _DENOMINATORS.get(int(below)) or (ordinal(below), ordinal(below) + "s")
    return f"{cardinal(above)} {one if int(above) == 1 else many}"
