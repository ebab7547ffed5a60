"""Numbers as people type them: one rule for the numbers of versions and releases, and one for counts.

    parser.add_argument("number", type=version_number)
    parser.add_argument("--lines", type=count)

Python's `int` takes what nobody means by a number (" 3", "1_000", "٣"), and what it makes of a long one no database
takes.
"""

from __future__ import annotations

import re

from parley.errors import ParleyError

LARGEST = 2**31 - 1
"""What an INTEGER of every database holds."""
_NUMBER = re.compile(r"0|[1-9][0-9]*")
_SPAN, _LONGEST_DAYS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,9})?"), 100_000


def is_number(text: str, least: int = 1) -> bool:
    """Whether ``text`` is a whole number from ``least`` on, in plain digits, that every database can hold."""
    return _NUMBER.fullmatch(text) is not None and len(text) <= len(str(LARGEST)) and least <= int(text) <= LARGEST


def version_number(text: str) -> int:
    """The number of a version or a release.

    Raises:
        ParleyError: it is none.
    """
    return _number(text, 1, "a number of a version or release")


def count(text: str) -> int:
    """How many, from none on.

    Raises:
        ParleyError: it is no count.
    """
    return _number(text, 0, "a count")


def days(text: str) -> float:
    """A span in days, parts of them too.

    Raises:
        ParleyError: it is none, or longer than a calendar.
    """
    if _SPAN.fullmatch(text) is None or float(text) > _LONGEST_DAYS:
        raise ParleyError(
            f"{text[:40]!r} is no number of days", mend=f"give one from 0 to {_LONGEST_DAYS}, like 30 or 0.5"
        )
    return float(text)


def _number(text: str, least: int, what: str) -> int:
    if not is_number(text, least):
        raise ParleyError(f"{text[:40]!r} is not {what}", mend=f"give a whole number from {least} to {LARGEST}")
    return int(text)
