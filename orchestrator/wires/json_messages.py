"""JSON from a peer that nobody knows: bounded work, and texts that can be written down anywhere. For all wires."""

from __future__ import annotations

import json
import re
from typing import Any

from orchestrator.wires.contract import WireError
from orchestrator.wires.line import MAX_MESSAGE_BYTES

_FLAT = "send flat JSON objects"
_MAX_NUMBER = 10**20
_WHOLE = re.compile(r"\s*([0-9]{1,20})(?:\.([0-9]{0,20}))?\s*")
_SURROGATES = re.compile("[\ud800-\udfff]")
_MAX_PARTS = 2000


def json_object(message: str | bytes) -> dict[str, Any]:
    """The fields of a message.

    Raises:
        WireError: it is too long, has too many parts, or is no JSON object.
    """
    # A character is at least one byte, so this bounds the work for text and bytes alike.
    if len(message) > MAX_MESSAGE_BYTES:
        raise WireError(f"message of {len(message)} bytes", mend=f"send at most {MAX_MESSAGE_BYTES}")
    # Each part becomes an object: thirty thousand empty lists take longer to read than a minute of audio.
    if _parts(message) > _MAX_PARTS:
        raise WireError("message is nested too deeply or has too many parts", mend=_FLAT)
    try:
        fields = json.loads(message)
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else "cannot be read"
        raise WireError(f"message is not JSON: {detail}", mend="send one JSON object as text") from None
    if not isinstance(fields, dict):
        raise WireError("message is not a JSON object", mend=_FLAT)
    return fields


def _parts(message: str | bytes) -> int:
    if isinstance(message, str):
        return sum(message.count(mark) for mark in "[{,:")
    return sum(message.count(mark) for mark in b"[{,:")


def object_in(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """An object within.

    Raises:
        WireError: there is none.
    """
    value = fields.get(name)
    if not isinstance(value, dict):
        raise WireError("expected an object", where=name, mend=_FLAT)
    return value


def text_in(fields: dict[str, Any], name: str, where: str, default: str | None = None, longest: int = 1 << 16) -> str:
    """A text; null is as if it were left out.

    Raises:
        WireError: it is none, too long, or left out and has no ``default``.
    """
    value = fields.get(name)
    value = default if value is None else value
    if not isinstance(value, str) or (default is None and not value):
        raise WireError("expected a text", where=f"{where}.{name}" if where else name)
    if len(value) > longest:
        raise WireError(f"text of {len(value)} characters", where=name, mend=f"send at most {longest}")
    return writable(value)


def writable(text: str) -> str:
    """The text without halves of surrogate pairs: JSON can write them, nothing that is written down can."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def count_in(fields: dict[str, Any], name: str, where: str, *, fraction: bool = False) -> int | None:
    """A whole number, 0 or more, written as a number or, as Twilio does, as a text. None when it is left out or null.

    ``20.0`` is whole.

    Args:
        fraction: whether one is cut off instead of refused: of a time in milliseconds.

    Raises:
        WireError: it is none.
    """
    value = fields.get(name)
    if value is None or value == "":
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _MAX_NUMBER
    if number and (fraction or value == int(value)):
        return int(value)
    found = _WHOLE.fullmatch(value) if isinstance(value, str) else None
    if found is None or not (fraction or not (found[2] or "").strip("0")):
        raise WireError("expected a whole number, 0 or more", where=f"{where}.{name}" if where else name)
    return int(found[1])
