"""How a language is written: its letters, what is a word, and what is the same word written otherwise."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Letters:
    """The letters of a language.

    >>> LATIN = Letters("abcdefghijklmnopqrstuvwxyz", inner="'")
    >>> LATIN.is_phrase("i'd like"), LATIN.is_phrase("I'd"), LATIN.plain("An ICED mocha, please")
    (True, False, 'an iced mocha please')
    """

    small: str
    """Every letter of a word in a phrase, in the alphabet's order. A script without capitals has these alone."""
    inner: str = ""
    """Marks that belong to a word after its first letter: an apostrophe, a hyphen."""
    silent: str = ""
    """Characters that change no word, such as stress marks; taken out before anything is compared."""
    drops_accents: bool = True
    """Whether the NLU reads a letter with an accent as the letter without ("café" as "cafe"). Not where accents make
    other letters, which then stand in ``small``."""

    @cached_property
    def word(self) -> str:
        """Pattern of a word of a phrase, for :mod:`re` and for the tokenizers' Oniguruma."""
        small, inner = re.escape(self.small), re.escape(self.inner)
        return f"[{small}][{small}{inner}]*"

    @cached_property
    def signs(self) -> str:
        """What may stand in a word of a reply, figures included, as the inside of a character class."""
        both = dict.fromkeys(self.small + self.small.upper())
        return f"{re.escape(''.join(both))}0-9{re.escape(self.inner + self.silent)}"

    def is_phrase(self, text: str) -> bool:
        """Whether a text is lower-case words with one blank between them."""
        return re.fullmatch(f"{self.word}(?: {self.word})*", text) is not None

    def fold(self, text: str) -> str:
        """A text in small letters, composed (NFC), without what changes no word."""
        kept = "".join(c for c in text if c not in self.silent) if self.silent else text
        return unicodedata.normalize("NFC", kept).lower()

    def capital(self, text: str) -> str:
        """A text as a sentence begins. A script without capitals keeps its letters: its title letters are its own."""
        return text[:1].title() + text[1:]

    def plain(self, text: str) -> str:
        """The words of a text alone: small letters and figures, one blank between; any other sign parts words."""
        return " ".join(re.sub(f"[^{re.escape(self.small)}0-9 ]", " ", self.fold(text)).split())
