"""Figures with units, magnitudes and letters after them: what a suffix means is for its neighbours to say.

"12B" is a seat, "$12B" a sum and "5B people" a number; "5m" is minutes beside "ago" and meters beside "cable".
"""

from __future__ import annotations

import re

from parley.language.english import abbreviations as table
from parley.language.english import spoken_numbers as say
from parley.language.english.money import currency_of
from parley.language.english.spoken_numbers import NUMBER
from parley.language.english.written import PART, Place

_UNIT = re.compile(rf"([-+]?)({NUMBER})-?([A-Za-z%‰°¢µΩ][A-Za-z%°/Ωµ]*)(?:\^([23]))?")
_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)(?:m|min))?(?:(\d+)s)?")
_HOURS = re.compile(r"(\d{1,2})h(\d\d)")
_FEET = re.compile(r"(\d+)'\s?(?:(\d+)(?:\"|''))?|(\d+)(?:\"|'')")
_TIMED = re.compile(r"\d+(?:d|h|m|s|min|hr)")
_DECADE = re.compile(r"'?(\d{3}0|\d0)'?s")
_POWERS = {"2": "square", "3": "cubic"}


def read_feet(place: Place, body: str) -> str:
    """``5'10"`` as "five feet ten inches"."""
    found = _FEET.fullmatch(body)
    if not found or '"' not in body and "''" not in body and not _FEET.fullmatch(place.beside(1)):
        return ""
    feet, inches, only = found.groups()
    if only:
        return f"{say.cardinal(only)} {'inch' if only == '1' else 'inches'}"
    high = f"{say.cardinal(feet)} {'foot' if feet == '1' else 'feet'}"
    return f"{high} {say.cardinal(inches)} {'inch' if inches == '1' else 'inches'}" if inches else high


def read_duration(place: Place, body: str) -> str:
    """``1h30m``, ``17h30``."""
    hours = _HOURS.fullmatch(body)
    if hours:
        return f"{_counted(hours.group(1), 'hour')} {say.cardinal(hours.group(2))}"
    found = _DURATION.fullmatch(body)
    if not found or len([part for part in found.groups() if part]) < 2:
        return ""
    names = ("day", "hour", "minute", "second")
    return " ".join(_counted(n, name) for n, name in zip(found.groups(), names, strict=True) if n)


def _counted(number: str, name: str) -> str:
    return f"{say.cardinal(number)} {name}{'' if number == '1' else 's'}"


def read_unit(place: Place, body: str) -> str:
    """A number and what stands at it: a unit, a magnitude, "times", or a letter of its own."""
    found = _UNIT.fullmatch(body)
    if not found:
        return ""
    mark, number, unit, power = found.groups()
    sign = {"-": "minus ", "+": "plus "}.get(mark, "")
    count = sign + say.cardinal(number)
    if len(unit) == 1 and unit.isalpha() and number.isdigit() and not power and _is_a_letter(place, unit):
        return f"{_place_number(number)} {unit.upper()}"
    if unit == "s" and _DECADE.fullmatch(body) and (len(number) == 4 or _in_a_decade(place)):
        return ""
    if unit in ("x", "X"):
        return f"{count} times"
    if unit in ("k", "bn", "tn") or unit in ("K", "M", "B", "mn"):
        return f"{count} {say.MAGNITUDES[unit.lower()]}"
    if unit == "m" and not power and _timed(place):
        return f"{count} {'minute' if number == '1' else 'minutes'}"
    name = unit_name(unit, one=number == "1" or _describes(place), power=power or "")
    return f"{count} {name}" if name else ""


def _is_a_letter(place: Place, unit: str) -> bool:
    """Whether a letter after figures is only that: in a seat's or a room's number, or a capital that is no unit."""
    before = place.beside(-1).lower()
    if before in table.SEAT_WORDS and (unit not in "dghklmsx" or before in table.SEATS):
        return True
    if unit in "KMB":
        return not (place.beside(1).lower() in table.COUNTED and not place.tail)
    return unit.isupper() and unit not in "LVWXΩ"


def _place_number(number: str) -> str:
    """The figures of a seat, a room or a house: from three on they are said one by one."""
    return say.cardinal(number) if len(number) < 3 else say.digits(number)


def _in_a_decade(place: Place) -> bool:
    return place.beside(-1).lower() in ("the", "his", "her", "their", "my", "your", "our", "early", "mid", "late", "in")


def _timed(place: Place) -> bool:
    """Whether "5m" is minutes: beside another duration, or beside what is said of time."""
    before, after = place.beside(-1), place.beside(1).lower() if not place.tail else ""
    beside = _TIMED.fullmatch(before) or _TIMED.fullmatch(place.beside(1))
    return bool(beside) or after in table.MINUTES_AFTER or before.lower() in table.MINUTES_BEFORE


def _describes(place: Place) -> bool:
    """ "a twelve ounce cup", but "I need twelve ounces"."""
    follows = bool(place.beside(1)) and place.beside(1)[:1].isalpha() and place.tail in ("", ".")
    return place.beside(-1).lower() in ("a", "an") and follows


def unit_name(written: str, *, one: bool, power: str = "") -> str:
    """A unit's name; single letters only as they are written (m, not M); powers and "per" of known units."""
    low = written.lower()
    if low in table.UNITS and not (len(low) == 1 and written.isupper() and written not in "LVWΩ"):
        name = table.UNITS[low][0 if one else 1]
        return f"{_POWERS[power]} {name}" if power else name
    above, per, below = written.partition("/")
    if per and above.lower() in table.UNITS:
        name = table.UNITS[above.lower()][0 if one else 1]
        return f"{name} per {unit_name(below, one=True) or below.lower()}" if below.isalpha() else ""
    return ""


def read_decade(place: Place, body: str) -> str:
    """``1990s``, ``'80s``."""
    found = _DECADE.fullmatch(body)
    return say.decade(found.group(1)) if found else ""


def beside_figures(place: Place) -> str:
    """A unit, a magnitude or half a day after a number; empty where the word is none of these."""
    before, low = place.beside(-1), place.body.lower()
    if not before[-1:].isdigit() or place.index == 0 or place.words[place.index - 1].tail:
        return ""
    if low in ("am", "pm"):
        return " ".join(low.upper())
    if low in say.MAGNITUDES.values():
        currency = currency_of(before)
        return f"{low} {currency}" if currency else ""
    # In "12 in. wide" the dot tells the unit from the word.
    if low == "in" and not place.tail.startswith(".") or low in ("d", "mo", "pt", "s") and place.tail[:1] != ".":
        return ""
    describes = place.beside(-2).lower() in ("a", "an") and bool(place.beside(1)) and place.tail in ("", ".")
    unit, _, power = place.body.partition("^")
    if power not in ("", "2", "3"):
        return ""
    part = re.fullmatch(rf"{PART}?1/\d+", before) and not place.beside(-2).isdigit()
    return unit_name(unit, one=before == "1" or describes or bool(part), power=power)
