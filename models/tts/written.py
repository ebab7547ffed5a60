"""Written words: their characters folded to what can be read, and each word among its neighbours."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

_ADDRESS = re.compile(
    r"(?:https?://|www\.)\S+|\S+@\S+\.\S+|[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|edu|gov|info|io|app|dev)(?:\.[a-z]{2}|/\S*)?"
)
_VULGAR = {"½": "~1/2", "¼": "~1/4", "¾": "~3/4", "⅓": "~1/3", "⅔": "~2/3"}
_LETTERS = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ð": "d", "þ": "th", "ı": "i"}
_LETTERS |= {low.upper(): high.capitalize() for low, high in _LETTERS.items() if len(low.upper()) == 1}
_TYPOGRAPHY = {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "−": "-", "…": "."}
_KEPT = frozenset("$£€°¢~")


def fold(text: str) -> str:
    """Letters without their accents, plain quotes and hyphens, ASCII figures; what has none of these is a blank.

    >>> fold("Café “Zoë” – 2½ €")
    'Cafe "Zoe" - 2~1/2 €'
    """
    out = []
    for char in text:
        char = _VULGAR.get(char) or _TYPOGRAPHY.get(char) or _LETTERS.get(char) or char
        if char.isascii() or char in _KEPT:
            out.append(char)
            continue
        plain = "".join(c for c in unicodedata.normalize("NFKD", char) if not unicodedata.combining(c))
        figures = "".join(str(unicodedata.digit(c)) if c.isdigit() else c for c in plain)
        out.append(figures if figures.isascii() else _LETTERS.get(figures, " "))
    return "".join(out)


def fold_each(text: str) -> str:
    """:func:`fold` with one character for each, so that places stay what they are."""
    return "".join("1" if c in _VULGAR else fold(c)[:1] or " " for c in text)


def is_address(body: str) -> bool:
    """Whether a written word is an address of mail or web: its dots end no sentence."""
    return _ADDRESS.fullmatch(body) is not None


@dataclass(frozen=True)
class Written:
    """A written word between blanks: what is read of it, and the marks after it."""

    body: str
    tail: str


@dataclass(frozen=True)
class Place:
    """A word among its neighbours."""

    words: Sequence[Written]
    index: int

    @property
    def body(self) -> str:
        """The word itself."""
        return self.words[self.index].body

    @property
    def tail(self) -> str:
        """The marks after it."""
        return self.words[self.index].tail

    def beside(self, step: int) -> str:
        """The body ``step`` words on; empty beyond the text or where a full stop lies between."""
        at = self.index + step
        if not 0 <= at < len(self.words):
            return ""
        between = self.words[min(at, self.index) : max(at, self.index)]
        return "" if any(set(w.tail) & set("!?") for w in between) else self.words[at].body

    @property
    def ends(self) -> bool:
        """Whether this is the text's last word."""
        return self.index + 1 == len(self.words)

    @property
    def after_name(self) -> bool:
        """Whether a capitalised word that begins no sentence, or a house's number and a name, stand before."""
        if self.index == 0 or self.words[self.index - 1].tail or not self.words[self.index - 1].body[:1].isupper():
            return False
        return self.index > 1 and not set(self.words[self.index - 2].tail) & set(".!?")

    @property
    def before_name(self) -> bool:
        """Whether a capitalised word follows."""
        return self.beside(1)[:1].isupper() and not set(self.tail[1:]) & set(",;:!?")
