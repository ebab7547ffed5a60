"""Reading other people's text files: UTF-8 whatever the locale, lines that end where editors say, errors with a place.

    for number, entry in json_lines(manifest):
        ...

A file may begin with a byte order mark. Only a line feed ends a line (with the carriage return before it, if any): the
other separators that Unicode knows, U+2028 for one, may stand in a text.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from parley.errors import ParleyError
from parley.files import open_regular

LARGEST_BYTES = 256 << 20
"""Largest file that is read: a manifest of a million utterances is about this large."""


def read_text(path: Path | str, *, largest: int = LARGEST_BYTES) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises:
        ParleyError: it cannot be read, is larger than ``largest`` bytes, or is not UTF-8; names line and byte.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            data = file.read(largest + 1)
    except FileNotFoundError:
        raise ParleyError("no such file", where=str(path), mend="check the path") from None
    except OSError as error:
        raise ParleyError(f"cannot be read: {error.strerror}", where=str(path), mend="name a readable file") from None
    if len(data) > largest:
        raise ParleyError(f"larger than {largest} bytes", where=str(path), mend="split it")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        raise ParleyError(
            f"byte {column} of the line, 0x{data[error.start]:02x}, is not UTF-8",
            where=f"{path}:{line}",
            mend="save the file as UTF-8",
        ) from None


def split_lines(text: str) -> list[str]:
    """The lines of a text, without their ends; nothing after a last line feed is no line."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    return lines[:-1] if not lines[-1] else lines


def read_lines(path: Path | str) -> list[str]:
    """The lines of a UTF-8 file. Raises as `read_text`."""
    return split_lines(read_text(path))


def parse_json(text: str, where: str, *, finite: bool = True) -> Any:
    """A JSON value, strictly.

    Args:
        text: of it.
        where: names the place.
        finite: NaN, infinity and numbers beyond a double are refused. Our own files may hold them.

    Raises:
        ParleyError: not JSON, a key twice in one object, such a number, nested too deep, or half of a character.
    """
    numbers: dict[str, Any] = {"parse_constant": _no_number, "parse_float": _finite} if finite else {}
    try:
        value = json.loads(text, object_pairs_hook=_once, **numbers)
    except RecursionError:
        raise ParleyError("nested too deep", where=where, mend="write it flat") from None
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise ParleyError(
            f"not JSON: {error.msg} ({line}column {error.colno})", where=where, mend="correct it there"
        ) from None
    except ValueError as error:
        raise ParleyError(f"not JSON: {error}", where=where, mend="correct it there") from None
    # Python takes "\ud800" for a text, which nobody can write into a file.
    if "\\ud" in text.lower() and any("\ud800" <= letter <= "\udfff" for letter in _letters(value)):
        raise ParleyError("half of a character (a lone surrogate)", where=where, mend="write the character itself")
    return value


def read_json(path: Path | str, *, finite: bool = True) -> Any:
    """The JSON value of a UTF-8 file. Raises as `read_text` and `parse_json`."""
    return parse_json(read_text(path), str(path), finite=finite)


def read_json_object(path: Path | str) -> dict[str, Any]:
    """The JSON object that `parley.files.write_json` wrote: infinity comes back as it was.

    Raises:
        ParleyError: as `read_json`, and where it is another value.
    """
    value = read_json(path, finite=False)
    if not isinstance(value, dict):
        raise ParleyError("expected an object", where=str(path), mend='write {"key": value, …}')
    return value


def json_lines(path: Path | str) -> Iterator[tuple[str, Any]]:
    """The JSON values of a file, one a line, empty lines left out; each with its place, ``file:line``.

    Raises:
        ParleyError: as `read_text` and `parse_json`, at the line in question.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if line.strip():
            where = f"{path}:{number}"
            yield where, parse_json(line, where)


def json_objects(path: Path | str) -> Iterator[tuple[str, dict[str, Any]]]:
    """As `json_lines`, of a file whose every line is an object.

    Raises:
        ParleyError: also where a line is another value.
    """
    for where, value in json_lines(path):
        if not isinstance(value, dict):
            raise ParleyError("expected an object", where=where, mend='one {"key": value, …} a line')
        yield where, value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _letters(value: Any) -> Iterator[str]:
    """Every letter of a JSON value."""
    yield from json.dumps(value, ensure_ascii=False)
