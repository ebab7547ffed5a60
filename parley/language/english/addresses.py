"""Addresses of mail and web, names of files: every sign is said by its name."""

from __future__ import annotations

import re

from parley.language.english import abbreviations as table
from parley.language.english import spoken_numbers as say
from parley.language.english import symbols

_NAMES = {".": "dot", "-": "dash", ":": "colon", "?": "question mark", "!": "exclamation mark", ",": "comma"}
_WORDS = frozenset({"co", "me", "us", "go", "up", "do", "no", "hi", *table.FUNCTION_WORDS})
"""Short parts that are said as words; nobody can say "uk" or "ny" as one."""


def read_address(body: str) -> str:
    """What an address says: words, figures one by one, signs by name; "https://" goes without saying.

    >>> read_address("bob_9@example.co.uk")
    'bob underscore nine at example dot co dot U K'
    """
    said = []
    for part in re.findall(r"[A-Za-z]+|\d+|\S", re.sub(r"^https?://", "", body).rstrip("/") or body):
        if part.isdigit() and part.isascii():
            said.append(say.digits(part))
        elif part.isascii() and part.isalpha():
            low = part.lower()
            spelled = not re.search("[aeiouy]", low) or len(part) <= 2 and low not in _WORDS
            said.append(" ".join(part.upper()) if spelled else low)
        else:
            said.append(_NAMES.get(part) or symbols.name(part)[0])
    return " ".join(said)
