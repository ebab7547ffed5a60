"""One form for a caller, however a gateway writes the number; and which callers have none.

    caller_form("0049 (30) 123-456", "DE")     # '+4930123456'
    caller_form("sip:anonymous@anonymous.invalid")     # None: withheld

Numbers become E.164 (ITU-T) with Google's libphonenumber; one without a country needs the site's region. What is no
number, a user of a SIP address or a softphone's name, is taken as it is, in NFC; schemes and hosts in lower case.
Withheld numbers come as words, as their spelling on a telephone's keys (Twilio: `+266696687` is ANONYMOUS), or as the
address of RFC 3323. They say nothing about who calls.
"""

from __future__ import annotations

import re
import unicodedata

import phonenumbers

from parley.errors import ParleyError

LONGEST = 256
"""Characters of an identifier; what is longer names nobody."""
_WORDS = (
    "anonymous", "unknown", "restricted", "private", "unavailable", "withheld", "blocked", "hidden", "invalid", "none",
    "null", "privatenumber", "nocallerid", "unknowncaller", "notavailable", "nonpub", "asserted",
)  # fmt: skip
_KEYS = str.maketrans("abcdefghijklmnopqrstuvwxyz", "22233344455566677778889999")
_SPELLED = frozenset(word.translate(_KEYS) for word in _WORDS if len(word) >= 7)
_ADDRESS = re.compile(r"(?:.*<)?\s*(?P<scheme>sips?|tel|client)\s*:(?P<rest>[^<>]*)>?.*", re.IGNORECASE | re.DOTALL)
_DIALLED = re.compile(r"[+0-9(][0-9 ().\-/\u00a0\u2010-\u2015]*")
_MOST_DIGITS, _FEWEST_DIGITS = 15, 3
"""Of an E.164 number; and of an extension that is worth the name."""


def caller_form(text: str, region: str = "") -> str | None:
    """The one form of a caller; None where the number is withheld, or the text names nobody.

    Args:
        text: as the gateway gives it.
        region: of numbers without a country code: two letters of ISO 3166, ``DE``. Empty: they are only their digits.
    """
    known = unicodedata.normalize("NFKC", text).strip() if _is_text(text) else ""
    if not known or len(known) > LONGEST:
        return None
    user, host = _user_of(known)
    if _withheld(user) or host.rpartition(".")[2] == "invalid":
        return None
    if _DIALLED.fullmatch(user):
        return _number(user, region)
    scheme = known.partition(":")[0].lower() if ":" in known and _ADDRESS.fullmatch(known) else ""
    return f"sip:{user}@{host}" if host else f"client:{user}" if scheme == "client" else user


def digits_of(text: str) -> set[str]:
    """The digits of a caller's number, as it is written and in its one form; what else stands in an address is none of
    it: name, extension, host, port, parameters."""
    user, _ = _user_of(unicodedata.normalize("NFKC", text).strip())
    written = _DIALLED.findall(user)
    return {re.sub(r"[^0-9]", "", form) for each in written for form in (each, caller_form(each) or "")}


def check_region(region: str) -> str:
    """The region of a site, or none.

    Raises:
        ParleyError: no country has this code.
    """
    if region and region not in phonenumbers.SUPPORTED_REGIONS:
        raise ParleyError(
            f"{region!r} is no region", where="PARLEY_REGION", mend="two letters of ISO 3166: DE, US; or unset it"
        )
    return region


def _is_text(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _user_of(known: str) -> tuple[str, str]:
    """User and host of an address; of anything else the whole, and no host."""
    found = _ADDRESS.fullmatch(known)
    address = found["rest"] if found else known
    if not found and not re.fullmatch(r"[^@\s]+@[^@\s]+", known):
        number = known.partition(";")[0].strip()
        return number if _DIALLED.fullmatch(number) else known, ""
    user, _, host = address.rpartition("@")
    if not user:
        user, host = host, ""
    user = re.split(r"[;?]", user)[0].strip()
    return user, re.split(r"[;?:>]", host)[0].strip().lower()


def _withheld(user: str) -> bool:
    letters = "".join(letter for letter in user.casefold() if letter.isalpha())
    digits = re.sub(r"\D", "", user)
    if not letters:
        return not digits.strip("0") or digits in _SPELLED or digits.removeprefix("1") in _SPELLED
    return not digits and letters in _WORDS


def _number(dialled: str, region: str) -> str | None:
    """E.164 where that can be told, else the digits alone."""
    digits = re.sub(r"[^0-9]", "", dialled)
    if not _FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS + 4:  # an international prefix may stand before it
        return digits or None
    readings = [_reading(dialled, region)]
    if digits.startswith("00") and not dialled.startswith("+"):
        # Gateways write 00 for + in every country, also where a telephone's prefix is another, or 00 and a carrier's.
        abroad = _reading(f"+{digits[2:]}", "")
        readings = [*readings, abroad] if _has_own_prefix(digits, region) else [abroad, *readings]
    for is_good in (phonenumbers.is_valid_number, phonenumbers.is_possible_number):
        for number in readings:
            if number is not None and is_good(number):
                return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    return f"+{digits}" if dialled.startswith("+") else digits


def _reading(text: str, region: str) -> phonenumbers.PhoneNumber | None:
    try:
        return phonenumbers.parse(text, region or None)
    except phonenumbers.NumberParseException:
        return None


def _has_own_prefix(digits: str, region: str) -> bool:
    """Whether they begin with what a telephone of the region dials for ``+``, where that is 00 and more (AU: 0011)."""
    metadata = phonenumbers.PhoneMetadata.metadata_for_region(region)
    prefix = (metadata.preferred_international_prefix if metadata else None) or ""
    return len(prefix) > len("00") and digits.startswith(prefix)
