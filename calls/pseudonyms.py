"""The unit of every experiment: a keyed pseudonym of the caller, never the number itself.

Phone numbers can be enumerated, so a plain hash would give them away; HMAC-SHA256 with a secret key does not.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
import stat
import unicodedata
from pathlib import Path

from calls.callers import caller_form
from parley.errors import ParleyError
from parley.names import is_pseudonym
from parley.settings import Settings

KEY_FILE = "pseudonym.key"
_KEY_BYTES = 32

_log = logging.getLogger(__name__)


def pseudonym(caller: str, key: str | bytes) -> str:
    """HMAC-SHA256 of the caller's NFC form in UTF-8, as 64 hex digits.

    Raises:
        ParleyError: there is no key or no caller (a shared pseudonym would put all withheld numbers into one arm), or
            the caller is not valid Unicode.
    """
    secret = key.encode() if isinstance(key, str) else key
    if not secret:
        raise ParleyError("no key for pseudonyms", where="PARLEY_PSEUDONYM_KEY", mend="use pseudonym_key(settings)")
    if not caller:
        raise ParleyError("no caller to make a pseudonym of", mend="use unit_of_call, which takes the call's id then")
    try:
        message = unicodedata.normalize("NFC", caller).encode()
    except UnicodeEncodeError:
        raise ParleyError("the caller's id is not valid Unicode", mend="give ids as UTF-8 text") from None
    return hmac.new(secret, message, hashlib.sha256).hexdigest()


def unit_of_call(caller: str, call_id: str, key: str | bytes, region: str = "") -> str:
    """The unit of a call: the caller's pseudonym, or the call's own where the number is withheld.

    Args:
        region: of callers whose number names no country (`calls.callers`).
    """
    known = caller_form(caller, region)
    return pseudonym(f"call:{call_id}" if known is None else known, key)


def unit_of_id(text: str, key: str | bytes, region: str = "") -> str | None:
    """The unit of an id from outside: a pseudonym in its one form (lower case), anything else as a caller.

    None where a withheld number is meant: each of its calls is another unit.
    """
    given = text.strip()
    if is_pseudonym(given.lower()):
        return given.lower()
    known = caller_form(given, region)
    return None if known is None else pseudonym(known, key)


def pseudonym_key(settings: Settings, *, make: bool = True) -> bytes:
    """The key of this installation: ``PARLEY_PSEUDONYM_KEY``, else the one kept in the state directory.

    The file is made once with 32 random bytes (hex) and mode 0600; replicas that start together agree on one.

    Args:
        settings: of the installation.
        make: the file, where there is none; who only looks changes nothing.

    Raises:
        ParleyError: the file cannot be made, is not there or holds no key.
    """
    if given := settings.read_secrets().pseudonym_key:
        return given.encode()
    path = settings.state_dir / KEY_FILE
    try:
        if make and not path.exists():
            _make_key(path)
        if make and stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)
            _log.warning("the pseudonym key could be read by others: its mode is 0600 again")
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        detail = error.strerror if isinstance(error, OSError) else "not text"
        raise ParleyError(
            f"cannot keep a pseudonym key: {detail}",
            where=str(path),
            mend="make the folder writable or set PARLEY_PSEUDONYM_KEY",
        ) from None
    if len(key) < 2 * _KEY_BYTES:
        raise ParleyError(
            "the pseudonym key is damaged", where=str(path), mend="restore it; removing it gives every caller a new arm"
        )
    return key.encode()


def _make_key(path: Path) -> None:
    """Write a key beside ``path`` and link it there: of several processes the first wins, and none sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(secrets.token_hex(_KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return
    finally:
        draft.unlink(missing_ok=True)
