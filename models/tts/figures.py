"""Written words with figures in them: each rule knows one shape, and the first that does says it.

The rules look at neighbours through :class:`models.tts.written.Place`: "5" is a day beside "March", a price's number
before "million", one figure of several after "code".
"""

from __future__ import annotations

import re
from collections.abc import Callable

from models.tts import abbreviations as table
from models.tts import spoken_numbers as say
from models.tts.written import Place, Written

NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)"
_SIGN = r"[$£€]"
_MONEY = re.compile(rf"({_SIGN})\s?({NUMBER})(k|m|bn|b|tn)?", re.IGNORECASE)
_MONEY_AFTER = re.compile(rf"({NUMBER})({_SIGN})")
_CLOCK = re.compile(r"(\d{1,2}):(\d\d)(?::(\d\d))?\s?([ap])?(?:(?<=[ap])\.?m)?", re.IGNORECASE)
_HOUR = re.compile(r"(\d{1,2})(?:\.(\d\d))?([ap])\.?m", re.IGNORECASE)
_DATE = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)|(\d\d?)([/.-])(\d\d?)\5(\d{4}|\d\d)")
_PHONE = re.compile(r"\+?\d{3}[-.]\d{4}|\+?\d+(?:[-.]\d{2,}){2,}|\+\d{4,}|\d{3}-\d{3}-\d{4}")
_RANGE = re.compile(rf"({_SIGN}?\d[\d:.,]*(?:[ap]m)?)-({_SIGN}?\d.*)", re.IGNORECASE)
_PER = re.compile(r"(.*\d\S*)/([A-Za-z]+)")
_ORDINAL = re.compile(r"(\d{1,9})(?:st|nd|rd|th)", re.IGNORECASE)
_DECADE = re.compile(r"'?(\d{3}0|\d0)'?s")
_FRACTION = re.compile(r"(\d{1,3})/(\d{1,3})")
_MIXED = re.compile(r"(\d*)~(\d)/(\d)")
_UNIT = re.compile(rf"({NUMBER})([A-Za-z%°¢/]+)")
_VERSION = re.compile(r"\d+(?:\.\d+){2,}")


def read_figures(place: Place) -> str:
    """What a word with figures in it says; empty where no rule knows its shape."""
    rules: tuple[Callable[[Place, str], str], ...] = (
        _phone, _date, _money, _clock, _range, _mixed, _fraction, _percent_or_unit, _ordinal, _decade, _per, _whole,
    )  # fmt: skip
    body = place.body
    for rule in rules:
        said = rule(place, body)
        if said:
            return said
    return ""


def _phone(place: Place, body: str) -> str:
    plus = "plus " if body.startswith("+") else ""
    if _PHONE.fullmatch(body) and not (_VERSION.fullmatch(body) and len(body) < 10) and not _DATE.fullmatch(body):
        return plus + say.grouped(body)
    if re.fullmatch(r"\+?\d[\d-]*", body):
        chain = _chain(place)
        if len(chain) > 1 and sum(c.isdigit() for word in chain for c in word) >= 7:
            goes_on = chain[-1] is not body and not place.tail
            return plus + say.grouped(body) + (" ," if goes_on else "")
    return ""


def _joined(word: Written) -> bool:
    return word.tail in ("", ")", "-") and re.fullmatch(r"\+?\d[\d-]*", word.body) is not None


def _chain(place: Place) -> list[str]:
    """Groups of figures that stand side by side, this one among them: a telephone number with blanks."""
    first = last = place.index
    while first > 0 and _joined(place.words[first - 1]):
        first -= 1
    while last + 1 < len(place.words) and _joined(place.words[last]) and place.words[last + 1].body[:1].isdigit():
        last += 1
    return [word.body for word in place.words[first : last + 1]]


def _date(place: Place, body: str) -> str:
    found = _DATE.fullmatch(body)
    if not found:
        return ""
    if found.group(1):
        in_year, month, day = found.group(1), int(found.group(2)), int(found.group(3))
    else:
        month, day, in_year = int(found.group(4)), int(found.group(6)), found.group(7)
        if month > 12 or found.group(5) == ".":  # 14/3/2024, and 3.4.2024 as on the Continent
            month, day = day, month
    if not (1 <= month <= 12 and 1 <= day <= 31):
        return ""
    if len(in_year) == 2:
        in_year = ("20" if int(in_year) < 70 else "19") + in_year
    return say.date(month, day, in_year)


def _money(place: Place, body: str) -> str:
    minus = "minus " if body.startswith("-") else ""
    found, after = _MONEY.fullmatch(body.lstrip("-")), _MONEY_AFTER.fullmatch(body.lstrip("-"))
    if after:
        return minus + say.money(after.group(2), after.group(1))
    if not found:
        return ""
    sign, amount, short = found.groups()
    if short:
        return minus + say.money(sign, amount, say.MAGNITUDES[short.lower()])
    if not place.tail and place.beside(1).lower() in say.MAGNITUDES.values():
        return minus + say.cardinal(amount)  # "$5 million": the next word says what of
    return minus + say.money(sign, amount)


def _clock(place: Place, body: str) -> str:
    found = _CLOCK.fullmatch(body)
    if found and int(found.group(1)) <= 24 and int(found.group(2)) < 60:
        hour, minute, second, half = found.groups()
        half_day = bool(half) or place.beside(1).lower().replace(".", "") in ("am", "pm")
        said = say.clock(hour, minute, half_day=half_day)
        said += f" and {say.cardinal(second)} seconds" if second else ""
        return f"{said} {half.upper()} M" if half else said
    found = _HOUR.fullmatch(body)
    if found and int(found.group(1)) <= 12:
        hour, minute, half = found.groups()
        return f"{say.clock(hour, minute or '0', half_day=True)} {half.upper()} M"
    ratio = re.fullmatch(r"(\d{1,3}):(\d{1,3})", body)
    return f"{say.cardinal(ratio.group(1))} to {say.cardinal(ratio.group(2))}" if ratio else ""


def _range(place: Place, body: str) -> str:
    found = _RANGE.fullmatch(body)
    if not found:
        return ""
    low, high = found.groups()
    if low[0] in "$£€" and high[0] not in "$£€":
        low, high = low[1:], low[0] + high
    if re.fullmatch(r"\d{4}", low) and re.fullmatch(r"\d{4}", high) and 1100 <= int(low) <= int(high) < 2100:
        return f"{say.year(low)} to {say.year(high)}"
    end = read_figures(Place([*place.words[: place.index], Written(high, place.tail), *place.words[place.index + 1 :]],
                          place.index))  # fmt: skip
    return f"{read_figures(Place([Written(low, '')], 0))} to {end}"


def _mixed(place: Place, body: str) -> str:
    found = _MIXED.fullmatch(body)
    if not found:
        return ""
    whole, above, below = found.groups()
    part = say.fraction(above, below)
    return f"{say.cardinal(whole)} and {part.replace('one ', 'a ', 1)}" if whole else part


def _fraction(place: Place, body: str) -> str:
    found = _FRACTION.fullmatch(body)
    if not found:
        return ""
    above, below = (int(part) for part in found.groups())
    dated = place.beside(-1).lower() in table.DATE_WORDS
    if below in (2, 3, 4, 5, 6, 8, 10, 16) and 0 < above < below and not dated:
        said = say.fraction(str(above), str(below))
        whole = place.beside(-1).isdigit() and not place.words[place.index - 1].tail
        return f"and {said.replace('one ', 'a ', 1)}" if whole else said
    if 1 <= above <= 12 and 1 <= below <= 31:
        return say.date(above, below)
    return f"{say.cardinal(str(above))} over {say.cardinal(str(below))}"


def _percent_or_unit(place: Place, body: str) -> str:
    found = _UNIT.fullmatch(body.lstrip("-+"))
    if not found:
        return ""
    number, unit = found.groups()
    if unit == "s" and _DECADE.fullmatch(body) and (place.beside(-1).lower() == "the" or len(number) == 4):
        return ""
    sign = {"-": "minus ", "+": "plus "}.get(body[0], "")
    if unit in ("x", "X"):
        return f"{say.cardinal(number)} times"
    if unit in ("k", "K", "M", "bn", "B"):
        return f"{sign}{say.cardinal(number)} {say.MAGNITUDES[unit.lower()]}"
    name = _unit(unit, one=number == "1")
    return f"{sign}{say.cardinal(number)} {name}" if name else ""


def _ordinal(place: Place, body: str) -> str:
    found = _ORDINAL.fullmatch(body)
    if not found:
        return ""
    if place.beside(1) in say.MONTHS and not place.tail:
        return f"{'' if place.beside(-1).lower() == 'the' else 'the '}{say.ordinal(found.group(1))} of"
    return say.ordinal(found.group(1))


def _decade(place: Place, body: str) -> str:
    found = _DECADE.fullmatch(body)
    return say.decade(found.group(1)) if found else ""


def _per(place: Place, body: str) -> str:
    """``$5/month``, ``60km/hr``."""
    found = _PER.fullmatch(body)
    if not found:
        return ""
    what, unit = found.groups()
    return f"{read_figures(Place([Written(what, '')], 0))} per {_unit(unit, one=True) or unit.lower()}"


def _whole(place: Place, body: str) -> str:
    """A number by itself: a day of a month, a year, a code, or just a number."""
    sign = {"-": "minus ", "+": "plus ", "#": "number "}.get(body[0], "")
    number = body[1:] if sign else body
    if _VERSION.fullmatch(number):
        return " point ".join(say.cardinal(part) for part in number.split("."))
    if not re.fullmatch(NUMBER, number):
        return ""
    if number.isdigit():
        return sign + (_day_or_year(place, number) or _code(place, number, sign) or say.cardinal(number))
    return sign + say.cardinal(number)


def _day_or_year(place: Place, number: str) -> str:
    before, following = place.beside(-1), place.beside(1)
    months = {*say.MONTHS, *(m[:3] for m in say.MONTHS), "Sept"}
    if len(number) <= 2 and 1 <= int(number) <= 31:
        if before in months:
            return say.ordinal(number)
        if following in months and not place.tail:
            return f"{'' if before.lower() == 'the' else 'the '}{say.ordinal(number)} of"
    if len(number) != 4 or not 1100 <= int(number) < 2100:
        return ""
    if before in months or place.beside(-2) in months and before[:1].isdigit():
        return say.year(number)
    recent, alone = int(number) >= 1900, bool(place.tail) or place.ends or following.lower() in table.FUNCTION_WORDS
    if before.lower() in table.YEAR_WORDS and (recent or alone):
        return say.year(number)
    return say.year(number) if before.lower() in table.NEAR_YEAR_WORDS and recent and alone else ""


def _code(place: Place, number: str, sign: str) -> str:
    """Figures one by one: after "code", "ending in", "#"; with a leading nought; where they are many and not round."""
    before = place.beside(-1).lower()
    named = before in table.CODE_WORDS
    named |= before in ("is", "in", "was", "with") and place.beside(-2).lower() in table.CODE_WORDS
    leading = len(number) > 1 and number.startswith("0")
    many = len(number) >= 5 and not (number.endswith("00") and len(number) <= 9)
    if leading or many or (named or sign == "number ") and len(number) >= 3:
        return say.grouped(number)
    return ""


def beside_figures(place: Place) -> str:
    """A unit, a magnitude or half a day after a number; empty where the word is none of these."""
    before, low = place.beside(-1), place.body.lower()
    if not before[-1:].isdigit() or place.index == 0 or place.words[place.index - 1].tail:
        return ""
    if low in ("am", "pm"):
        return " ".join(low.upper())
    money = _MONEY.fullmatch(before)
    if money:
        return f"{low} {say.CURRENCIES[money.group(1)][1]}" if low in say.MAGNITUDES.values() else ""
    # "a twelve ounce cup", but "I need twelve ounces".
    describes = place.beside(-2).lower() in ("a", "an") and bool(place.beside(1)) and place.tail in ("", ".")
    return _unit(place.body, one=before == "1" or describes)


def _unit(written: str, *, one: bool) -> str:
    """A unit's name; single letters only as they are written (m, not M)."""
    low = written.lower()
    if low not in table.UNITS or len(low) == 1 and written.isupper() and written not in "LVW":
        return ""
    return table.UNITS[low][0 if one else 1]
