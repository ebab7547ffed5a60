"""Text normalisation: what a person would say for each written word, decided with the words beside it in view.

Numbers, ordinals, prices, times, dates, years, telephone numbers and codes, units, fractions, ranges, abbreviations,
addresses of mail and web. One written word stays one written word, whatever it takes to say it, and words keep their
order; so the time at which a word ends is the time at which that word of the reply was heard. The language is English;
3/4/2024 is read as in the United States, prices and units by their own signs.

A reading is whole. Each rule reads all of a word or refuses it; what none reads is taken apart and said letter by
letter, figure by figure, sign by name, and counted in :attr:`Reading.spelled`. Only marks that make pauses are silent.

>>> [r.spoken for r in read([Written("Dr", "."), Written("Lee", ","), Written("$5", ""), Written("million", ".")])]
['doctor', 'lee', 'five', 'million dollars']
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from parley.language.english import spoken_numbers as say
from parley.language.english import symbols
from parley.language.english.addresses import read_address
from parley.language.english.capitals import is_shouted, is_spelled, roman
from parley.language.english.figures import read_figures
from parley.language.english.quantities import beside_figures
from parley.language.english.shortened import read_short
from parley.language.english.written import PART, Place, Written, is_address

_SILENT = ".,;:!?'\"()[]{}"
"""Marks of pauses and quotes."""
_ALIASES = {
    "->": "→",
    "=>": "⇒",
    "<-": "←",
    ">=": "≥",
    "<=": "≤",
    "!=": "≠",
    "+/-": "±",
}
_SIGN = re.compile(rf"({PART}\d+/\d+|\+/-|->|=>|<-|>=|<=|!=|[^\w\s.,;:!?'\"()\[\]{{}}/-]|_)")
_JOINED = re.compile(r"[-/]")
_RUNS = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*|\d+(?:[.,]\d+)*|[^\sA-Za-z0-9]|\w")
_IDENTIFIER = re.compile(r"[A-Z]+\d[A-Z0-9]*|\d+[A-Z][A-Z0-9]*|[A-Za-z]+\d{1,2}|[a-z]\d+[a-z0-9]*|\d{1,2}[A-Za-z]+")
"""Letters and figures as codes, gates and products have them: said without doubt."""
_POWER = re.compile(r"([^\s^]+)\^([-+]?)(\d+)")
_BY = re.compile(r"(\d+)[xX](\d+)(?:[xX](\d+))?")


@dataclass(frozen=True)
class Reading:
    """Words that say a written word, parted by blanks: lower case, letters to be spelled as single capitals, a lone
    ``,`` for a short pause. ``owns_dot``: the full stop after it belongs to the abbreviation. ``spelled``: the parts
    that no rule knew, which are said letter by letter, figure by figure, or by the name of their sign."""

    spoken: str
    owns_dot: bool = False
    spelled: tuple[str, ...] = ()


def read(words: Sequence[Written]) -> list[Reading]:
    """What is said for each word; an empty reading where there are only marks of a pause."""
    shouted = is_shouted(words)
    return [_read(Place(words, index, shouted)) for index in range(len(words))]


def _read(place: Place) -> Reading:
    body = place.body
    if not body.strip("-"):
        return Reading(_dash(place) if body else "")
    if is_address(body):
        return Reading(read_address(body))
    short = read_short(place)
    if short:
        return Reading(*short)
    if any(c.isdigit() for c in body):
        said = read_figures(place)
        if said:
            return Reading(said)
    said = beside_figures(place)
    if said:
        return Reading(said, owns_dot=place.goes_on)
    return _without_rule(place)


def _dash(place: Place) -> str:
    """A dash by itself is "to" between figures, "minus" in a sum, and else a pause."""
    if place.index and place.words[place.index - 1].tail not in ("", "."):
        return ""
    before, after = place.beside(-1), place.beside(1)
    if not any(c.isdigit() for c in before + place.beside(-2)) or not any(c.isdigit() for c in after + place.beside(2)):
        return ""
    if place.beside(2) == "=" or place.beside(-2) in ("=", "+", "×", "÷"):
        return "minus"
    whole = re.compile(r"[$£€]?\d.*|[AaPp]\.?[Mm]|.*\d")
    month = before in say.MONTHS or after in say.MONTHS or after in say.MONTHS_SHORT
    return "to" if month or whole.fullmatch(before) and whole.fullmatch(after) else ""


def _without_rule(place: Place) -> Reading:
    """A word that no rule reads as a whole: a Roman numeral, a plain word, or parts with signs between them."""
    numeral = roman(place)
    if numeral:
        return Reading(numeral)
    power = _POWER.fullmatch(place.body)
    if power:
        base, sign, exponent = power.groups()
        said = _read(place.instead(base))
        note = base.isalpha() and len(base) > 2
        return replace(said, spoken=f"{said.spoken} {say.cardinal(exponent) if note else say.power(sign, exponent)}")
    by = _BY.fullmatch(place.body)
    if by:
        return Reading(" by ".join(say.cardinal(part) for part in by.groups() if part))
    if _SIGN.search(place.body):
        return _apart(place, _SIGN, _sign)
    if _JOINED.search(place.body.strip("-/")) or place.body[:1] in "-/" or place.body[-1:] in "-/":
        return _apart(place, re.compile(r"([-/])"), _joint)
    return _runs(place)


def _apart(place: Place, mark: re.Pattern[str], name: Callable[[Place], Reading]) -> Reading:
    """Parts of a word between marks, each read with the others beside it."""
    parts = [part for part in mark.split(place.body) if part]
    first, last = max(0, place.index - 6), place.index + 7
    before, after = place.words[first : place.index], place.words[place.index + 1 : last]
    written = [Written(*_with_its_marks(part), glued=n > 0) for n, part in enumerate(parts)]
    written[-1] = replace(written[-1], tail=written[-1].tail + place.tail)
    words = [*before, *written, *after]
    said: list[str] = []
    spelled: list[str] = []
    for n, part in enumerate(parts):
        at = Place(words, len(before) + n, place.shouted)
        reading = name(at) if mark.fullmatch(part) else _read(at)
        said.append(reading.spoken)
        spelled += reading.spelled
    return Reading(" ".join(s for s in said if s), spelled=tuple(spelled))


def _with_its_marks(part: str) -> tuple[str, str]:
    body = part.rstrip(".,;:!?") or part
    return body, part[len(body) :]


def _sign(place: Place) -> Reading:
    """What a sign is called where it stands."""
    sign = _ALIASES.get(place.body, place.body)
    if sign.startswith(PART):
        return Reading(say.fraction(*sign[1:].split("/")))
    before, after = place.beside(-1), place.beside(1)
    figure_before, figure_after = before[-1:].isdigit(), after[:1].isdigit()
    special = ""
    if sign == "#":
        glued = place.inside(1)
        if re.fullmatch("[A-G]", before) and place.inside(-1) and not glued:
            special = "sharp"
        elif after[:1].isalpha() and not any(c.isdigit() for c in after) and glued:
            special = "hashtag" if after.islower() or len(after) > 3 else "number"
        elif not figure_after and (not after or not glued):
            special = "pound"
    elif sign == "*" and figure_before and figure_after and place.inside(-1):
        special = "times"
    elif sign == "~" and figure_after:
        special = "about"
    elif sign == "→" and not before and not after:
        special = "arrow"
    if special:
        return Reading(special)
    called, known = symbols.name(sign)
    return Reading(called, spelled=() if known else (sign,))


def _joint(place: Place) -> Reading:
    """A hyphen joins what it stands between; a slash too, unless figures are beside it."""
    figures = any(c.isdigit() for c in place.beside(-1)[-1:] + place.beside(1)[:1])
    return Reading("slash" if place.body == "/" and figures else "")


def _runs(place: Place) -> Reading:
    """Letters and figures mixed, or letters alone; figures as a number when they are few, letters of codes spelled."""
    body = place.body
    runs = _RUNS.findall(body)
    mixed = any(c.isdigit() for c in body)
    figures = [run for run in runs if run[0].isdigit()]
    code = mixed and (len(runs) > 2 or any(len(run) > 2 for run in figures) and len(runs) > 1)
    said, unread = [], mixed and len(runs) > 1 and not _IDENTIFIER.fullmatch(body)
    spelled = [body] if unread else []
    for n, run in enumerate(runs):
        if run[0].isdigit() and run.isascii():
            said.append(say.digits(run) if code and run.isdigit() or len(run) > 4 else _number(run))
        elif code and len(run) <= 4 and run.isascii() and run.isalpha():
            said.append(" ".join(run.upper()))
        elif run[0].isascii() and run[0].isalpha():
            said.append(_word(run, place))
        elif run in _SILENT:
            said.append(_inner(run, runs[n - 1] if n else "", runs[n + 1] if n + 1 < len(runs) else ""))
        else:
            called, known = symbols.name(run)
            said.append(called)
            spelled += [] if known else [run]
    return Reading(" ".join(part for part in said if part), spelled=tuple(spelled))


def _number(run: str) -> str:
    if run.replace(",", "").replace(".", "", 1).isdigit() and "," not in run:
        return say.cardinal(run)
    return " , ".join(say.cardinal(part) for part in re.split("[.,]", run))


def _inner(mark: str, before: str, after: str) -> str:
    """A mark inside a word: a full stop is a dot, quotes and brackets are nothing, the others are a pause."""
    if mark == ".":
        return "dot" if before and after else ""
    return "," if mark in ",;:!?" and before and after else ""


def _word(run: str, place: Place) -> str:
    """A word of letters as it is, or its letters as single capitals: "AI's" is spelled, "I" and "A" alone are words."""
    if len(run) == 1 and run not in "aiAI":
        return run.upper()
    stem, apostrophe, rest = run.partition("'")
    plural = re.fullmatch(r"([A-Z]{2,5})s", stem)
    if plural and is_spelled(plural.group(1), replace(place, shouted=False)):
        stem, apostrophe, rest = plural.group(1), "'", "s"
    if stem.isupper() and rest in ("", "s", "S") and is_spelled(stem, place) and not run.startswith("'"):
        letters = list(stem)
        if apostrophe:
            letters[-1] += "'s"
        return " ".join(letters)
    return run.lower().strip("'")
