"""Dates and times of day: as ISO, the United States, the Continent and clocks write them."""

from __future__ import annotations

import re

from parley.language.english import abbreviations as table
from parley.language.english import spoken_numbers as say
from parley.language.english.written import Place

_DATE = re.compile(r"(\d{4})([-/.])(\d\d?)\2(\d\d?)|(\d\d?)(?:([/.-])(\d\d?)\6|\.\s(\d\d?)\.\s)(\d{4}|\d\d)")
_NAMED = re.compile(r"(\d\d?)[-.]([A-Za-z]{3,9})[-.]?(\d{4}|\d\d)?")
_MONTH_OF = re.compile(r"((?:19|20)\d\d)-(0[1-9]|1[0-2])|(0?[1-9]|1[0-2])/((?:19|20)\d\d)")
_STAMP = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d(?::\d\d)?)(?:[.,]\d+)?([Zz]|[+-]\d\d(?::?\d\d)?)?")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?\s?([ap])?(?:(?<=[ap])\.?m)?", re.IGNORECASE)
_HOUR = re.compile(r"(\d{1,2})(?:\.(\d\d))?([ap])\.?m", re.IGNORECASE)
_MONTHS = {*say.MONTHS, *say.MONTHS_SHORT, "Sept"}


def read_stamp(place: Place, body: str) -> str:
    """``2024-12-25T10:30:00Z``: the day, the time, the zone; seconds where they are not nought."""
    found = _STAMP.fullmatch(body)
    if not found or "." in body or "," in body:
        return ""
    day, clock, zone = found.groups()
    said_day, said_clock = read_date(place, day), read_clock(place.instead(clock), clock.removesuffix(":00"))
    if not said_day or not said_clock:
        return ""
    return f"{said_day} , at {said_clock}{_zone(zone or '')}"


def _zone(zone: str) -> str:
    if not zone:
        return ""
    if zone in "Zz":
        return " U T C"
    hours, minutes = zone[1:3], zone[3:].lstrip(":")
    said = f" U T C {'plus' if zone[0] == '+' else 'minus'} {say.cardinal(hours)}"
    return f"{said} {say.cardinal(minutes)}" if minutes.strip("0") else said


def read_date(place: Place, body: str) -> str:
    """A day, with its year: 3/4/2024 as in the United States unless only the other way round is a day."""
    named = _NAMED.fullmatch(body)
    if named:
        return _named(*named.groups())
    month_of = _MONTH_OF.fullmatch(body)
    if month_of:
        month, in_year = month_of.group(2) or month_of.group(3), month_of.group(1) or month_of.group(4)
        return f"{say.MONTHS[int(month) - 1].lower()} {say.year(in_year)}"
    found = _DATE.fullmatch(body)
    if not found:
        return ""
    if found.group(1):
        in_year, month, day = found.group(1), int(found.group(3)), int(found.group(4))
    else:
        month, day, in_year = int(found.group(5)), int(found.group(7) or found.group(8)), found.group(9)
        if month > 12 or found.group(6) != "/" and found.group(6) != "-":  # 14/3/2024, and 3.4.2024 as on the Continent
            month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return ""
    return say.date(month, day, _century(in_year))


def _century(in_year: str) -> str:
    if len(in_year) != 2:
        return in_year
    return ("20" if int(in_year) < 70 else "19") + in_year


def _named(day: str, month: str, in_year: str | None) -> str:
    found = next((n for n, name in enumerate(say.MONTHS, 1) if name.lower().startswith(month.lower()[:3])), 0)
    whole = month.capitalize() in _MONTHS
    return say.date(found, int(day), _century(in_year or "")) if whole and 1 <= int(day) <= 31 else ""


def read_clock(place: Place, body: str) -> str:
    """A time of day, or a ratio."""
    found = _CLOCK.fullmatch(body)
    if found and int(found.group(1)) <= 24 and int(found.group(2)) < 60 and int(found.group(3) or 0) < 60:
        hour, minute, second, half = found.groups()
        half_day = bool(half) or place.beside(1).lower().replace(".", "") in ("am", "pm")
        said = say.clock(hour, minute, half_day=half_day)
        said += f" and {say.cardinal(second)} seconds" if second else ""
        return f"{said} {half.upper()} M" if half else said
    found = _HOUR.fullmatch(body)
    if found and int(found.group(1)) <= 12 and int(found.group(2) or 0) < 60:
        hour, minute, half = found.groups()
        return f"{say.clock(hour, minute or '0', half_day=True)} {half.upper()} M"
    ratio = re.fullmatch(r"(\d{1,3}):(\d{1,3})", body)
    return f"{say.cardinal(ratio.group(1))} to {say.cardinal(ratio.group(2))}" if ratio else ""


def read_day_or_year(place: Place, number: str) -> str:
    """A number beside a month, or four figures where a year is meant."""
    before, following = place.beside(-1), place.beside(1)
    if len(number) <= 2 and 1 <= int(number) <= 31:
        to_a_day = before in ("-", "to") and place.beside(-2).isdigit() and place.beside(-3) in _MONTHS
        if before in _MONTHS or to_a_day:
            return say.ordinal(number)
        if following in _MONTHS and not place.tail:
            return f"{'' if before.lower() == 'the' else 'the '}{say.ordinal(number)} of"
    if len(number) != 4 or not 1100 <= int(number) < 2100:
        return ""
    if before in _MONTHS or place.beside(-2) in _MONTHS and before[:1].isdigit() or re.fullmatch("Q[1-4]", before):
        return say.year(number)
    recent, alone = int(number) >= 1900, bool(place.tail) or place.ends or following.lower() in table.FUNCTION_WORDS
    if before.lower() in table.YEAR_WORDS and (recent or alone):
        return say.year(number)
    return say.year(number) if before.lower() in table.NEAR_YEAR_WORDS and recent and alone else ""
