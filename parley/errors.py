"""The one error a user sees: what is wrong, where, and how to mend it."""

from __future__ import annotations


class ParleyError(Exception):
    """An expected failure, worded for the person who has to act on it.

    The command line prints it in one line and exits with 2; an API answers it as problem+json.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what = what
        self.where = where
        self.mend = mend
        super().__init__(str(self))

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text} - {self.mend}" if self.mend else text
