"""Figures in words: numbers, ordinals, years, times, dates. `num2words` counts; what it says is said here.

Every function takes figures as they are written (ASCII) and gives words parted by spaces, without hyphens or commas of
`num2words`. A lone ``,`` among them is a short pause: a telephone number is read in groups.

>>> cardinal("4.50")
'four point five zero'
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
MONTHS_SHORT = frozenset(month[:3] for month in MONTHS)
ENGLISH_NUMBER = r"(?:(?:\d{1,3}(?:,\d{3})+|\d\d?(?:,\d\d)+,\d{3}|\d{1,3}(?:'\d{3})+|\d+)(?:\.\d+)?|\.\d+)"
"""Thousands parted by commas (or by two and three, as in India) or by apostrophes, a point before places."""
NUMBER = (
    r"(?:\d{1,3}(?:[. ']\d{3})+,\d{1,2}|\d{1,3}(?:\.\d{3}){2,}|\d{1,3}(?: \d{3})+|\d+,\d{1,2}(?![\d,])|"
    rf"{ENGLISH_NUMBER})"
)
"""A number beside a unit or a currency, where a comma with one or two places is the Continent's point."""
MAGNITUDES = {
    "k": "thousand", "m": "million", "mn": "million", "mm": "million", "bn": "billion", "b": "billion",
    "tn": "trillion", "t": "trillion",
}  # fmt: skip
_DENOMINATORS = {2: ("half", "halves"), 4: ("quarter", "quarters")}
LONGEST_CARDINAL = 15
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


def plain(written: str) -> str:
    """A number without what parts its thousands, with a point before its places.

    >>> plain("1.234,5"), plain("1,234.50"), plain("1'000"), plain("1.000.000")
    ('1234.5', '1234.50', '1000', '1000000')
    """
    bare = re.sub(r"['\s]", "", written)
    if re.fullmatch(r"[\d.]*,\d{1,2}", bare):
        return bare.replace(".", "").replace(",", ".")
    bare = bare.replace(",", "")
    return bare.replace(".", "") if bare.count(".") > 1 else bare


def cardinal(written: str) -> str:
    """A number with commas or a decimal point; the places after the point one by one, as written."""
    whole, point, places = plain(written).partition(".")
    if len(whole) > LONGEST_CARDINAL:
        said = digits(whole)
    else:
        said = _plain(num2words(int(whole))) if whole else ""
    return f"{said} point {digits(places)}".strip() if point and places else said


def ordinal(written: str) -> str:
    """``3`` as "third"."""
    return _plain(num2words(int(plain(written)), to="ordinal"))


def year(written: str) -> str:
    """``1999`` as "nineteen ninety nine", ``2005`` as "two thousand and five"."""
    return _plain(num2words(int(written), to="year"))


def decade(written: str) -> str:
    """``1990`` or ``90`` as "nineteen nineties", "nineties"."""
    said = year(written) if len(written) == 4 else cardinal(written)
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


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


def power(sign: str, exponent: str) -> str:
    """``2`` as "squared", ``-3`` as "to the minus three", ``5`` as "to the fifth"."""
    if sign == "-":
        return f"to the minus {cardinal(exponent)}"
    if sign == "+":
        return f"to the plus {cardinal(exponent)}"
    return {"2": "squared", "3": "cubed"}.get(exponent) or f"to the {ordinal(exponent)}"


def _part(below: str) -> str:
    return ordinal(below).removeprefix("one ")


def fraction(above: str, below: str) -> str:
    """``3/4`` as "three quarters"."""
    one, many = _DENOMINATORS.get(int(below)) or (_part(below), _part(below) + "s")
    return f"{cardinal(above)} {one if int(above) == 1 else many}"
