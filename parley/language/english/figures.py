"""Written words with figures in them: each rule knows one shape, reads the whole word or refuses it.

The rules look at neighbours through :class:`~parley.language.english.written.Place`: "5" is a day beside "March", a
price's number before "million", one figure of several after "code".
"""

from __future__ import annotations

import re
from collections.abc import Callable

from parley.language.english import abbreviations as table
from parley.language.english import spoken_numbers as say
from parley.language.english.dates import read_clock, read_date, read_day_or_year, read_stamp
from parley.language.english.money import read_money
from parley.language.english.numbers_to_dial import read_code, read_phone
from parley.language.english.quantities import read_decade, read_duration, read_feet, read_unit, unit_name
from parley.language.english.spoken_numbers import ENGLISH_NUMBER, NUMBER
from parley.language.english.written import PART, Place, Written

_RANGE = re.compile(r"(\d[\d:.,]*(?:[ap]\.?m)?[%°]?)-(\d[^-]*)", re.IGNORECASE)
_PER = re.compile(r"(.*\d.*)/([A-Za-z]+)")
_ORDINAL = re.compile(r"(\d{1,3}(?:,\d{3})+|\d{1,9})(?:st|nd|rd|th)", re.IGNORECASE)
_FRACTION = re.compile(r"(\d{1,3})/(\d{1,3})")
_MIXED = re.compile(rf"(\d*){PART}(\d+)/(\d+)([A-Za-z°%]+)?")
_VERSION = re.compile(r"\d+(?:\.\d+){2,}")
_ADDRESS_OF_A_MACHINE = re.compile(r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?!$)|$)){4}")
_POWER = re.compile(rf"({ENGLISH_NUMBER})\^([-+]?)(\d+)")
_SCIENTIFIC = re.compile(rf"({ENGLISH_NUMBER})[eE]([-+]?)(\d{{1,3}})")
_ROUND = re.compile(r"\d{1,3}(?:(?:\.\d{3}){2,}|(?:'\d{3})+)")
_SIGNS = {"-": "minus ", "+": "plus "}


def read_figures(place: Place) -> str:
    """What a word with figures in it says; empty where no rule knows its shape."""
    rules: tuple[Callable[[Place, str], str], ...] = (
        read_phone, read_stamp, read_date, read_money, read_clock, _range, read_feet, read_duration, _mixed, _fraction,
        _power, read_unit, _ordinal, read_decade, _per, _whole,
    )  # fmt: skip
    for rule in rules:
        said = rule(place, place.body)
        if said:
            return said
    return ""


def _range(place: Place, body: str) -> str:
    found = _RANGE.fullmatch(body)
    if not found:
        return ""
    low, high = found.groups()
    if re.fullmatch(r"\d{4}", low) and re.fullmatch(r"\d{4}", high) and 1100 <= int(low) <= int(high) < 2100:
        return f"{say.year(low)} to {say.year(high)}"
    if len(low) > 4 and low.isdigit():  # a postcode or an account, not the beginning of a range
        return ""
    start = read_figures(place.instead(low)) if place.beside(-1)[:3] in say.MONTHS_SHORT else _alone(low)
    end = read_figures(place.instead(high))
    return f"{start} to {end}" if start and end else ""


def _alone(body: str) -> str:
    return read_figures(Place([Written(body, "")], 0))


def _mixed(place: Place, body: str) -> str:
    found = _MIXED.fullmatch(body)
    if not found or int(found.group(3)) == 0:
        return ""
    whole, above, below, written = found.groups()
    unit = unit_name(written, one=not whole) if written else ""
    if written and not unit:
        return ""
    part = f"{say.fraction(above, below)} {unit}".strip()
    joined = _after_and(part)
    if whole:
        return f"{say.cardinal(whole)} and {joined}"
    return f"and {joined}" if place.beside(-1).isdigit() and not place.words[place.index - 1].tail else part


def _after_and(part: str) -> str:
    return re.sub("^one ", "an " if part.startswith("one eight") else "a ", part)


def _fraction(place: Place, body: str) -> str:
    found = _FRACTION.fullmatch(body)
    if not found:
        return ""
    above, below = (int(part) for part in found.groups())
    if place.beside(-1).lower() in table.EXPIRY_WORDS and 1 <= above <= 12 and len(found.group(2)) == 2:
        return f"{say.MONTHS[above - 1].lower()} {say.year('20' + found.group(2))}"
    dated = place.beside(-1).lower() in table.DATE_WORDS
    if below in (2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 100) and 0 < above < below and not dated:
        said = say.fraction(str(above), str(below))
        whole = place.beside(-1).isdigit() and not place.words[place.index - 1].tail
        return f"and {_after_and(said)}" if whole else said
    if 1 <= above <= 12 and 1 <= below <= 31:
        return say.date(above, below)
    return f"{say.cardinal(str(above))} over {say.cardinal(str(below))}"


def _power(place: Place, body: str) -> str:
    found, scientific = _POWER.fullmatch(body), _SCIENTIFIC.fullmatch(body)
    if found:
        base, sign, exponent = found.groups()
        return f"{say.cardinal(base)} {say.power(sign, exponent)}"
    if scientific:
        base, sign, exponent = scientific.groups()
        return f"{say.cardinal(base)} times ten to the {_SIGNS.get(sign, '')}{say.ordinal(exponent)}"
    return ""


def _ordinal(place: Place, body: str) -> str:
    found = _ORDINAL.fullmatch(body)
    if not found:
        return ""
    if place.beside(1) in say.MONTHS and not place.tail:
        return f"{'' if place.beside(-1).lower() == 'the' else 'the '}{say.ordinal(found.group(1))} of"
    return say.ordinal(found.group(1))


def _per(place: Place, body: str) -> str:
    """``$5/month``, ``60km/hr``."""
    found = _PER.fullmatch(body) if "/" in body else None
    if not found:
        return ""
    what, unit = found.groups()
    said = _alone(what)
    return f"{said} per {unit_name(unit, one=True) or unit.lower()}" if said else ""


def _whole(place: Place, body: str) -> str:
    """A number by itself: a day of a month, a year, a code, or just a number."""
    sign = _SIGNS.get(body[0], "")
    number = body[1:] if sign else body
    if _ADDRESS_OF_A_MACHINE.fullmatch(number):
        return " dot ".join(say.digits(part) for part in number.split("."))
    if _ROUND.fullmatch(number):
        return sign + say.cardinal(number)
    if _VERSION.fullmatch(number):
        return " point ".join(say.cardinal(part) for part in number.split("."))
    comma = re.fullmatch(r"(\d+),(\d{1,2})", number)
    if comma and (place.beside(1).lower() in table.UNITS and not place.tail):
        return sign + say.cardinal(number)
    if comma:
        return f"{sign}{say.cardinal(comma.group(1))} comma {say.digits(comma.group(2))}"
    if not re.fullmatch(ENGLISH_NUMBER, number) and not re.fullmatch(rf"{NUMBER}(?<=\s\d\d\d)", number):
        return ""
    if number.isdigit():
        return sign + (read_day_or_year(place, number) or read_code(place, number) or say.cardinal(number))
    return sign + say.cardinal(number)
