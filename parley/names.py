"""What may be called how: one rule for bots, for the models named after them, for digests and pseudonyms.

A bot's name becomes a folder, a part of its models' names in the server's repository, and a key in archives and shared
stores, so it has what all of these can carry.
"""

from __future__ import annotations

import re

BOT = r"[a-z][a-z0-9_]{0,63}"
"""A bot."""
MODEL = r"[a-z][a-z0-9_]{0,127}"
"""A model: ``<bot>_<family>``."""
BOT_RULE = "a bot's name begins with a letter and has lower-case letters a to z, digits and _, 64 at most"
_BOT, _MODEL, _SHA256 = re.compile(BOT), re.compile(MODEL), re.compile(r"[0-9a-f]{64}")


def is_bot(name: str) -> bool:
    """Whether a bot may be called so."""
    return _BOT.fullmatch(name) is not None


def is_model(name: str) -> bool:
    """Whether a model may be called so."""
    return _MODEL.fullmatch(name) is not None


def is_sha256(text: str) -> bool:
    """Whether a text has the form of a SHA-256: 64 hex digits, lower case."""
    return _SHA256.fullmatch(text) is not None


def is_pseudonym(text: str) -> bool:
    """Whether a text has the form of a caller's pseudonym (HMAC-SHA256): no telephone number has."""
    return is_sha256(text)
