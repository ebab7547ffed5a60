"""Text normalisation: what a person would say for each written word, decided with the words beside it in view.

Numbers, ordinals, prices, times, dates, years, telephone numbers and codes, units, fractions, ranges, abbreviations,
addresses of mail and web. One written word stays one written word, whatever it takes to say it, and words keep their
order; so the time at which a word ends is the time at which that word of the reply was heard. The language is English;
3/4/2024 is read as in the United States, prices and units by their own signs.

>>> [r.spoken for r in read([Written("Dr", "."), Written("Lee", ","), Written("$5", ""), Written("million", ".")])]
['doctor', 'lee', 'five', 'million dollars']
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from models.tts import abbreviations as table
from models.tts import spoken_numbers as say
from models.tts.figures import NUMBER, beside_figures, read_figures
from models.tts.written import Place, Written, is_address

_DOTTED_LETTERS = re.compile(r"[A-Za-z](?:\.[A-Za-z])+")
_ADDRESS_SIGNS = {".": "dot", "@": "at", "/": "slash", "-": "dash", "_": "underscore", ":": "colon", "+": "plus"}
_SIGNS = {"&": "and", "%": "percent", "+": "plus", "@": "at", "=": "equals", "#": "number", "°": "degrees"}


@dataclass(frozen=True)
class Reading:
    """Words that say a written word, parted by blanks: lower case, letters to be spelled as single capitals, a lone
    ``,`` for a short pause. ``owns_dot``: the full stop after it belongs to the abbreviation."""

    spoken: str
    owns_dot: bool = False


def read(words: Sequence[Written]) -> list[Reading]:
    """What is said for each word; an empty reading where there is nothing to say."""
    return [_read(Place(words, index)) for index in range(len(words))]


def _read(place: Place) -> Reading:
    if is_address(place.body):
        return Reading(_address(place.body))
    short = _abbreviation(place)
    if short:
        return short
    if any(c.isdigit() for c in place.body):
        return Reading(read_figures(place) or _parts(place.body))
    unit = beside_figures(place)
    return Reading(unit, owns_dot=_goes_on(place)) if unit else Reading(_plain(place.body))


def _address(body: str) -> str:
    body = re.sub(r"^https?://", "", body).rstrip("/")
    said = []
    for part in re.findall(r"[A-Za-z]+|\d+|[.@/_:+-]", body):
        if part in _ADDRESS_SIGNS:
            said.append(_ADDRESS_SIGNS[part])
        elif part.isdigit():
            said.append(say.digits(part))
        else:
            # Nobody can say "www", "uk" or "ny" as a word.
            spelled = not re.search("[aeiouy]", part.lower()) or (
                len(part) <= 2 and part.lower() not in table.FUNCTION_WORDS
            )
            said.append(" ".join(part.upper()) if spelled else part.lower())
    return " ".join(said).replace("C O dot U K", "co dot U K")


# --- abbreviations ----------------------------------------------------------------------------------------------


def _abbreviation(place: Place) -> Reading | None:
    low, dotted = place.body.lower(), place.tail.startswith(".")
    if low in table.TITLES and place.body[:1].isupper() and (dotted or place.before_name):
        return Reading(table.TITLES[low], owns_dot=dotted)
    if low in ("st", "dr") and place.body[:1].isupper() and (dotted or place.before_name or place.after_name):
        return _saint_or_street(place, low)
    if low in table.BEFORE_NUMBER and dotted and place.beside(1)[:1].isdigit():
        return Reading(table.BEFORE_NUMBER[low], owns_dot=True)
    calendar = _short_day_or_month(place, low, dotted)
    if calendar:
        return calendar
    if dotted and low in table.DOTTED:
        return Reading(table.DOTTED[low], owns_dot=_goes_on(place))
    if low in table.BARE or low in table.DOTTED and "." in low:
        return Reading(table.BARE.get(low) or table.DOTTED[low], owns_dot=_goes_on(place))
    if _DOTTED_LETTERS.fullmatch(place.body):
        return Reading(" ".join(place.body.replace(".", "").upper()), owns_dot=_goes_on(place))
    return None


def _saint_or_street(place: Place, low: str) -> Reading:
    """A saint or doctor stands before a name, a street or drive after one."""
    dotted = place.tail.startswith(".")
    if place.before_name and not place.after_name:
        return Reading({"st": "saint", "dr": "doctor"}[low], owns_dot=dotted)
    return Reading({"st": "street", "dr": "drive"}[low], owns_dot=_goes_on(place))


def _goes_on(place: Place) -> bool:
    """Whether the sentence goes on after an abbreviation's full stop."""
    following = place.beside(1)
    named = following in say.MONTHS or following in table.DAYS
    lower = bool(following) and (not following[:1].isupper() or named)
    return place.tail.startswith(".") and (len(place.tail) > 1 or lower)


def _short_day_or_month(place: Place, low: str, dotted: bool) -> Reading | None:
    if not place.body[:1].isupper() or place.body.isupper():
        return None
    first, *rest = low.split("-")
    if rest and {first, *rest} <= set(table.DAY_SHORT):
        return Reading(" to ".join(table.DAY_SHORT[day] for day in (first, *rest)), owns_dot=_goes_on(place))
    if low in table.MONTH_SHORT and low != "may":
        figure = place.beside(1)[:1].isdigit() or place.beside(-1)[:1].isdigit()
        if figure or dotted and low != "mar":
            return Reading(table.MONTH_SHORT[low], owns_dot=dotted and (figure or _goes_on(place)))
    if low in table.DAY_SHORT and (dotted or low not in ("sun", "sat", "wed")):
        return Reading(table.DAY_SHORT[low], owns_dot=_goes_on(place))
    return None


def _parts(body: str) -> str:
    """Letters and figures mixed: parts between hyphens, letters spelled, figures as a number when they are few."""
    if re.search(r"[-/]", body.strip("-/")):
        halves = [part for part in re.split(r"[-/]", body) if part]
        readings = read([Written(part, "") for part in halves])
        return " ".join(r.spoken for r in readings)
    by = re.fullmatch(r"(\d+)x(\d+)", body)
    if by:
        return f"{say.cardinal(by.group(1))} by {say.cardinal(by.group(2))}"
    runs = re.findall(rf"[A-Za-z']+|{NUMBER}|[&%+@=#°]", body)
    code = len(runs) > 2 or any(run.isdigit() and len(run) > 2 for run in runs) and len(runs) > 1
    said = []
    for run in runs:
        if run[0].isdigit() or run[0] == ".":
            said.append(say.digits(run) if code and run.isdigit() else say.cardinal(run))
        elif code and len(run) <= 4 and run.isalpha():
            said.append(" ".join(run.upper()))
        else:
            said.append(_plain(run))
    return " ".join(part for part in said if part)


# --- words ------------------------------------------------------------------------------------------------------


def _plain(body: str) -> str:
    """A word without figures: letters of an abbreviation as single capitals, other words as they are."""
    for sign, words in _SIGNS.items():
        body = body.replace(sign, f" {words} ")
    said: list[str] = []
    for part in re.findall(r"[A-Za-z']+", body):
        bare = part.strip("'")
        # "AI's" is spelled; "I" and "A" alone are words; capitals longer than four are emphasis.
        stem, apostrophe, rest = bare.partition("'")
        letter = len(stem) == 1 and stem.isupper() and stem not in "AI" and rest in ("", "s")
        initials = 2 <= len(stem) <= 4 and stem.isupper() and stem not in table.SHOUTED | table.ACRONYMS
        if letter or initials:
            said += list(stem)
            if apostrophe:
                said[-1] += "'s"
        elif bare:
            said.append(bare.lower())
    return " ".join(said)
