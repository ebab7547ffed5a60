"""What abbreviations and units stand for, in English. Tables only; `models.tts.normalise` says when they apply."""

from __future__ import annotations

from models.tts.spoken_numbers import MONTHS

DAYS: tuple[str, ...] = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

TITLES = {"mr": "mister", "mrs": "missus", "ms": "miz", "prof": "professor", "rev": "reverend", "gen": "general"}
"""Before a name, with or without a dot; the dot ends no sentence. `Dr` and `St` depend on their place."""

DOTTED = {
    "e.g": "for example", "i.e": "that is", "a.k.a": "also known as", "etc": "et cetera", "vs": "versus",
    "approx": "approximately", "dept": "department", "apt": "apartment", "ave": "avenue", "rd": "road",
    "blvd": "boulevard", "sq": "square", "mt": "mount", "jr": "junior", "sr": "senior", "inc": "incorporated",
    "ltd": "limited", "corp": "corporation", "co": "company", "max": "maximum", "min": "minimum", "misc":
    "miscellaneous", "incl": "including", "excl": "excluding", "est": "established", "ext": "extension",
    "tel": "telephone", "acct": "account", "appt": "appointment", "govt": "government", "hrs": "hours",
    "fig": "figure", "vol": "volume", "ref": "reference", "qty": "quantity", "temp": "temperature",
}  # fmt: skip
"""Only with their dot: without it most of them are, or could be, other words."""
BEFORE_NUMBER = {"no": "number", "nos": "numbers", "p": "page", "pp": "pages", "ch": "chapter", "art": "article"}
"""Only with a dot and a number after them."""
BARE = {"etc": "et cetera", "vs": "versus", "ok": "okay", "ext": "extension", "24/7": "twenty four seven"}
"""Without a dot too."""

MONTH_SHORT = {m[:3].lower(): m.lower() for m in MONTHS} | {"sept": "september"}
DAY_SHORT = {d[:3].lower(): d.lower() for d in DAYS} | {
    "tues": "tuesday", "weds": "wednesday", "thur": "thursday", "thurs": "thursday",
}  # fmt: skip

UNITS: dict[str, tuple[str, str]] = {
    "%": ("percent", "percent"), "°": ("degree", "degrees"), "°c": ("degree celsius", "degrees celsius"),
    "°f": ("degree fahrenheit", "degrees fahrenheit"), "¢": ("cent", "cents"),
    "mm": ("millimeter", "millimeters"), "cm": ("centimeter", "centimeters"), "m": ("meter", "meters"),
    "km": ("kilometer", "kilometers"), "ft": ("foot", "feet"), "yd": ("yard", "yards"), "mi": ("mile", "miles"),
    "mg": ("milligram", "milligrams"), "g": ("gram", "grams"), "kg": ("kilogram", "kilograms"),
    "oz": ("ounce", "ounces"), "lb": ("pound", "pounds"), "lbs": ("pound", "pounds"),
    "ml": ("milliliter", "milliliters"), "cl": ("centiliter", "centiliters"), "l": ("liter", "liters"),
    "mph": ("mile per hour", "miles per hour"), "km/h": ("kilometer per hour", "kilometers per hour"),
    "ms": ("millisecond", "milliseconds"), "s": ("second", "seconds"), "sec": ("second", "seconds"),
    "secs": ("second", "seconds"), "min": ("minute", "minutes"), "mins": ("minute", "minutes"),
    "h": ("hour", "hours"), "hr": ("hour", "hours"), "hrs": ("hour", "hours"), "yr": ("year", "years"),
    "yrs": ("year", "years"), "kb": ("kilobyte", "kilobytes"), "mb": ("megabyte", "megabytes"),
    "gb": ("gigabyte", "gigabytes"), "tb": ("terabyte", "terabytes"), "hz": ("hertz", "hertz"),
    "khz": ("kilohertz", "kilohertz"), "kw": ("kilowatt", "kilowatts"), "kwh": ("kilowatt hour", "kilowatt hours"),
    "v": ("volt", "volts"), "w": ("watt", "watts"), "usd": ("U S dollar", "U S dollars"), "eur": ("euro", "euros"),
    "gbp": ("pound", "pounds"),
}  # fmt: skip
"""One and many, after a number."""


def _words(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


CODE_WORDS = _words(
    "account card code pin digits ending extension flight number passcode password postcode reference room ticket "
    "tracking zip"
)
"""After these, perhaps with "is" or "in" between, three figures and more are read one by one."""
YEAR_WORDS = _words("in since year circa during")
NEAR_YEAR_WORDS = _words("by from of until till before after to and")
"""Before a year of the last or this century."""
FUNCTION_WORDS = _words(
    "a an and as at but by for he her his i in is it my of on or our she so that the their there they this to was we "
    "were when with you"
)
"""A year is followed by one of these, a number by what it counts."""
DATE_WORDS = _words("on by until till since from before after due")
"""After these 1/2 is a day."""
ACRONYMS = _words("PIN SIM ZIP RAM GIF LAN NASA NATO COVID")
"""Said as words."""
SHOUTED = _words(
    "ALL AND ANY ARE BUT CALL CAN DO DOWN FOR FREE FULL GO HELP HERE HOLD IN IS IT LAST MUST NEW NEXT NO NOT NOW OF "
    "OFF ON ONE ONLY OPEN OR OUT OVER PAID PAY SAY SHUT STAY STOP THAT THE THIS TO TOO TWO UP VERY WAIT WE WILL WITH "
    "YES YOU YOUR"
)
"""Short words that capitals only stress; other runs of two to four capitals are spelled."""


def vocabulary() -> list[str]:
    """Every word that reading may say beyond those written: a voice's lexicon is to hold them."""
    values = [*TITLES.values(), *DOTTED.values(), *BEFORE_NUMBER.values(), *BARE.values(), *MONTH_SHORT.values()]
    values += [*DAY_SHORT.values(), *(word for pair in UNITS.values() for word in pair)]
    values += ["doctor", "drive", "saint", "street", "at", "dot", "slash", "dash", "underscore", "plus", "minus", "per"]
    values += ["thousand million billion trillion", "dollar dollars pound pounds euro euros penny pence cent cents"]
    values += ["half halves quarter quarters third thirds fifth fifths midnight o'clock oh hundred point to by times"]
    return sorted({word for value in values for word in value.split() if not (len(word) == 1 and word.isupper())})
