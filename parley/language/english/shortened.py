"""Abbreviations where they stand: titles before names, streets after them, days, months, letters with dots."""

from __future__ import annotations

import re

from parley.language.english import abbreviations as table
from parley.language.english.written import Place

_DOTTED_LETTERS = re.compile(r"[A-Za-z](?:\.[A-Za-z])+")
_Short = tuple[str, bool]
"""What is said, and whether the full stop after it belongs to it."""


def read_short(place: Place) -> _Short | None:
    """What an abbreviation stands for; None for a word that is none."""
    low, dotted, capital = place.body.lower(), place.tail.startswith("."), place.body[:1].isupper()
    if low in table.TITLES and capital and (dotted or place.before_name):
        return table.TITLES[low], dotted
    if low in ("st", "dr") and capital and (dotted or place.before_name or place.after_name):
        return _saint_or_street(place, low)
    numbered = place.beside(1)[:1].isdigit()
    if low in table.BEFORE_NUMBER and dotted and numbered:
        return table.BEFORE_NUMBER[low], True
    if low in table.PLACE_BEFORE_NUMBER and capital and numbered and place.tail in ("", "."):
        return table.PLACE_BEFORE_NUMBER[low], dotted
    named = _near_a_name(place, low, dotted) if capital else None
    calendar = named or _short_day_or_month(place, low, dotted)
    if calendar:
        return calendar
    if dotted and low in table.DOTTED and not (low in table.UNITS and place.beside(-1)[-1:].isdigit()):
        return table.DOTTED[low], place.goes_on
    if low in table.BARE or low in table.DOTTED and "." in low:
        return table.BARE.get(low) or table.DOTTED[low], place.goes_on
    if _DOTTED_LETTERS.fullmatch(place.body):
        return " ".join(place.body.replace(".", "").upper()), place.goes_on
    return None


def _near_a_name(place: Place, low: str, dotted: bool) -> _Short | None:
    if low in table.BEFORE_NAME and dotted and place.before_name and not place.beside(-1)[-1:].isdigit():
        return table.BEFORE_NAME[low], True
    before = place.beside(-1)
    if low in table.STREETS and (place.after_name or before[:1].isupper() or before.endswith(("st", "nd", "rd", "th"))):
        return table.STREETS[low], place.goes_on
    if low in table.COMPASS and dotted and place.before_name and place.beside(2):
        return table.COMPASS[low], True
    return None


def _saint_or_street(place: Place, low: str) -> _Short:
    """A saint or doctor stands before a name, a street or drive after one."""
    if place.before_name and not place.after_name:
        return {"st": "saint", "dr": "doctor"}[low], place.tail.startswith(".")
    return {"st": "street", "dr": "drive"}[low], place.goes_on


def _short_day_or_month(place: Place, low: str, dotted: bool) -> _Short | None:
    if not place.body[:1].isupper() or place.body.isupper() and not place.shouted:
        return None
    first, *rest = low.split("-")
    if rest and {first, *rest} <= set(table.DAY_SHORT):
        return " to ".join(table.DAY_SHORT[day] for day in (first, *rest)), place.goes_on
    figure = place.beside(1)[:1].isdigit() or place.beside(-1)[:1].isdigit()
    if low in table.MONTH_SHORT and low != "may" and (figure or dotted and low != "mar"):
        return table.MONTH_SHORT[low], dotted and (figure or place.goes_on)
    timed = place.beside(1)[:1].isdigit() and place.body.istitle()
    if low in table.DAY_SHORT and (dotted or timed or low not in ("sun", "sat", "wed")):
        return table.DAY_SHORT[low], place.goes_on
    return None
