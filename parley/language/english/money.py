"""Amounts of money: signs and codes of many currencies, before or after the figures, negative, in brackets, in ranges.

>>> amount("$-12.50"), amount("12,50 €"), amount("US$20"), amount("£1m")
('minus twelve dollars and fifty cents', 'twelve euros and fifty cents', 'twenty U S dollars', 'one million pounds')
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from parley.language.english import spoken_numbers as say
from parley.language.english.spoken_numbers import MAGNITUDES, NUMBER
from parley.language.english.written import Place

_Names = tuple[str, str, str, str]
_CENT = ("cent", "cents")
_DOLLAR: _Names = ("dollar", "dollars", *_CENT)
_KRONE: _Names = ("krone", "kroner", "ore", "ore")
_KRONA: _Names = ("krona", "kronor", "ore", "ore")


def _dollar(whose: str) -> _Names:
    return (f"{whose} dollar", f"{whose} dollars", *_CENT)


_SIGNS: dict[str, _Names] = {
    "$": _DOLLAR, "£": ("pound", "pounds", "penny", "pence"), "€": ("euro", "euros", *_CENT),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"), "₨": ("rupee", "rupees", "paisa", "paise"), "₩": ("won", "won", "", ""),
    "₽": ("ruble", "rubles", "kopeck", "kopecks"), "₺": ("lira", "lira", "kurus", "kurus"),
    "₪": ("shekel", "shekels", "agora", "agorot"), "฿": ("baht", "baht", "satang", "satang"),
    "₫": ("dong", "dong", "", ""), "₦": ("naira", "naira", "kobo", "kobo"), "₿": ("bitcoin", "bitcoins", "", ""),
    "₴": ("hryvnia", "hryvnias", "kopiyka", "kopiykas"), "₱": ("peso", "pesos", "centavo", "centavos"),
    "₡": ("colon", "colones", "centimo", "centimos"), "₵": ("cedi", "cedis", "pesewa", "pesewas"),
    "₸": ("tenge", "tenge", "", ""), "₾": ("lari", "lari", "tetri", "tetri"), "¢": ("cent", "cents", "", ""),
    "₣": ("franc", "francs", "centime", "centimes"), "₲": ("guarani", "guaranies", "", ""),
}  # fmt: skip
"""One and many of a unit, one and many of its hundredth; no hundredth: places are said after a point."""
_CODES: dict[str, _Names] = {
    "USD": _dollar("U S"), "US$": _dollar("U S"), "CAD": _dollar("canadian"), "CA$": _dollar("canadian"),
    "C$": _dollar("canadian"), "AUD": _dollar("australian"), "AU$": _dollar("australian"), "A$": _dollar("australian"),
    "NZD": _dollar("new zealand"), "NZ$": _dollar("new zealand"), "HKD": _dollar("hong kong"),
    "HK$": _dollar("hong kong"), "SGD": _dollar("singapore"), "S$": _dollar("singapore"), "NT$": _dollar("taiwan"),
    "EUR": _SIGNS["€"], "GBP": _SIGNS["£"], "JPY": _SIGNS["¥"], "CNY": ("yuan", "yuan", "fen", "fen"),
    "RMB": ("yuan", "yuan", "fen", "fen"), "INR": _SIGNS["₹"], "Rs": _SIGNS["₹"], "Rs.": _SIGNS["₹"],
    "KRW": _SIGNS["₩"], "RUB": _SIGNS["₽"], "TRY": _SIGNS["₺"], "ILS": _SIGNS["₪"], "THB": _SIGNS["฿"],
    "NGN": _SIGNS["₦"], "CHF": ("swiss franc", "swiss francs", "rappen", "rappen"), "SEK": _KRONA, "NOK": _KRONE,
    "DKK": _KRONE, "kr": _KRONE, "kr.": _KRONE, "PLN": ("zloty", "zlotys", "grosz", "groszy"),
    "zł": ("zloty", "zlotys", "grosz", "groszy"), "zl": ("zloty", "zlotys", "grosz", "groszy"),
    "CZK": ("czech crown", "czech crowns", "heller", "hellers"), "HUF": ("forint", "forints", "", ""),
    "BRL": ("real", "reais", "centavo", "centavos"), "R$": ("real", "reais", "centavo", "centavos"),
    "MXN": ("mexican peso", "mexican pesos", "centavo", "centavos"), "MX$": ("mexican peso", "mexican pesos", "", ""),
    "ZAR": ("rand", "rand", *_CENT), "AED": ("dirham", "dirhams", "", ""), "SAR": ("riyal", "riyals", "", ""),
    "BTC": _SIGNS["₿"], "PHP": _SIGNS["₱"], "UAH": _SIGNS["₴"],
}  # fmt: skip
_CODE = "|".join(re.escape(code) for code in sorted(_CODES, key=len, reverse=True))
CURRENCY = rf"(?:(?<![A-Za-z])(?:{_CODE})|[$£€¢¥\u0e3f\u20a0-\u20cf])"
_SHORT = "(?i:" + "|".join(sorted(MAGNITUDES, key=len, reverse=True)) + ")"
_BEFORE = re.compile(rf"([-+]?)({CURRENCY})\s?([-+]?)({NUMBER})(?:\s?({_SHORT})(?![A-Za-z]))?")
_AFTER = re.compile(rf"([-+]?)({NUMBER})\s?(?:({_SHORT})\s?)?({CURRENCY})")
_RANGE = re.compile(rf"({CURRENCY})?\s?({NUMBER})({_SHORT})?-({CURRENCY})?\s?({NUMBER})({_SHORT})?(?:\s?({CURRENCY}))?")
_ACCOUNTING = frozenset(
    [
        "is",
        "was",
        "are",
        "of",
        "balance",
        "total",
        "loss",
        "net",
        "amount",
        "change",
        "credit",
        "debit",
        "profit",
        "result",
        "deficit",
        "shortfall",
        "adjustment",
    ]
)
"""After these an amount in brackets is a negative one, as in accounts; elsewhere it is an aside."""


@lru_cache(maxsize=256)
def _names(currency: str) -> _Names | None:
    found = _SIGNS.get(currency) or _CODES.get(currency)
    if found or len(currency) > 1:
        return found
    called = unicodedata.name(currency, "").lower().removesuffix(" sign")
    return (called, called, "", "") if called else None


def _said(names: _Names, written: str, magnitude: str = "", *, one: bool = False) -> str:
    """Units and hundredths; with a magnitude ("million") the number as it is. ``one``: "a five dollar bill"."""
    single, many, cent, cents = names
    if magnitude:
        return f"{say.cardinal(written)} {magnitude} {single if one else many}"
    whole, _, places = say.plain(written).partition(".")
    if len(places) > 2 or len(whole) > say.LONGEST_CARDINAL or places and not cent:
        return f"{say.cardinal(written)} {many}"
    small = int(places.ljust(2, "0") or 0)
    units = int(whole or 0)
    large_words = f"{say.cardinal(whole or '0')} {single if units == 1 or one else many}"
    if not small:
        return large_words
    small_words = f"{say.cardinal(str(small))} {cent if small == 1 else cents}"
    return f"{large_words} and {small_words}" if units else small_words


def amount(body: str, *, one: bool = False, bare: bool = False) -> str:
    """What an amount says; empty where the word is none. ``bare``: without its currency, which the next word says."""
    before, after = _BEFORE.fullmatch(body), _AFTER.fullmatch(body)
    if before:
        sign, currency, inner, written, short = before.groups()
        sign = sign or inner
    elif after:
        sign, written, short, currency = after.groups()
    else:
        return ""
    names = _names(currency)
    if not names:
        return ""
    if currency in "€" and re.fullmatch(r"\d{1,3}(?:\.\d{3})+", written):
        written = written.replace(".", "")
    minus = {"-": "minus ", "+": "plus "}.get(sign, "")
    said = say.cardinal(written) if bare else _said(names, written, MAGNITUDES.get((short or "").lower(), ""), one=one)
    return minus + said


def currency_of(body: str) -> str:
    """The units, in the plural, of an amount whose currency stands before it; empty where the word is none."""
    found = _BEFORE.fullmatch(body)
    names = _names(found.group(2)) if found and not found.group(5) else None
    return names[1] if names else ""


def read_money(place: Place, body: str) -> str:
    """An amount or a range of amounts with its neighbours: "$5" before "million", "(5 €)" in accounts."""
    said = _range(body)
    if said:
        return said
    following = place.beside(1).lower()
    magnitude = not place.tail and following in MAGNITUDES.values() and bool(currency_of(body))
    one = place.beside(-1).lower() in ("a", "an") and following[:1].isalpha() and not place.tail
    said = amount(body, one=one, bare=magnitude)
    return f"minus {said}" if said and _in_brackets(place) else said


def _range(body: str) -> str:
    found = _RANGE.fullmatch(body)
    if not found:
        return ""
    first, low, low_short, second, high, high_short, last = found.groups()
    currency = first or second or last
    names = _names(currency) if currency else None
    if not names or second and first and second != first:
        return ""
    magnitude = MAGNITUDES.get((high_short or low_short or "").lower(), "")
    if low_short and low_short != high_short:
        return f"{_said(names, low, MAGNITUDES[low_short.lower()])} to {_said(names, high, magnitude)}"
    start = _said(names, low) if "." in low or "," in low and not magnitude else say.cardinal(low)
    return f"{start} to {_said(names, high, magnitude)}"


def _in_brackets(place: Place) -> bool:
    """Whether brackets around an amount make it negative: where no sentence is around it, or it ends one."""
    if not place.head.endswith("(") or not place.tail.startswith(")"):
        return False
    before = place.beside(-1).lower()
    colon = place.index > 0 and ":" in place.words[place.index - 1].tail
    return not before and (place.ends or not place.beside(1)) or colon or before in _ACCOUNTING
