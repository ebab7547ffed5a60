"""What is wrong with a bot file: one value for every complaint, whoever makes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from parley.yaml_text import Path_

Kind = Literal["broken", "refused", "warning"]
MEND = "see docs/bots.md"


@dataclass(frozen=True)
class Problem:
    """One complaint."""

    path: Path_
    """Where in the file: keys and places in lists."""
    what: str
    mend: str = MEND
    kind: Kind = "broken"
    """``broken``: no code could work with it. ``refused``: not taken in, but a release that holds it goes on answering.
    ``warning``: taken in, probably not meant."""


@dataclass(frozen=True)
class Placed:
    """A complaint and its line, as `parley check` shows it."""

    file: str
    line: int
    key: str
    what: str
    mend: str
    kind: Kind

    @property
    def where(self) -> str:
        """``file:line``"""
        return f"{self.file}:{self.line}" if self.line else self.file

    @property
    def complaint(self) -> str:
        """Key, what is wrong, and how to mend it."""
        return f"{self.key}: {self.what} - {self.mend}" if self.key else f"{self.what} - {self.mend}"

    def __str__(self) -> str:
        return f"{self.where}: {self.complaint}"


def joined(names: object) -> str:
    """Names for a sentence, sorted."""
    return ", ".join(sorted(map(str, names))) or "none"  # type: ignore[call-overload]
