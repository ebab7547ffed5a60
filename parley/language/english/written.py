"""Written words: their characters folded to what can be read, and each word among its neighbours."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from anyascii import anyascii

from parley.language.english.abbreviations import DAYS
from parley.language.english.spoken_numbers import MONTHS
from parley.language.english.symbols import LATIN, NAMES, TYPOGRAPHY, is_invisible

PART = "\u2064"
"""Stands before a fraction that was one character: "2½" is two and a half. No text has it: it is invisible."""
_LABEL = r"[A-Za-z0-9][\w-]*"
_ADDRESS = re.compile(
    rf"(?:https?://|www\.|mailto:)\S+"
    rf"|[^\s@]+@{_LABEL}(?:\.{_LABEL})+"
    rf"|(?!\d+\.[a-z]+$)(?:[\w-]+\.)+[a-z]{{2,}}(?::\d+)?(?:/\S*)?|(?:[A-Z0-9-]+\.)+[A-Z]{{2,}}"
    rf"|[A-Za-z]:\\\S*|(?:~|\.{{1,2}})?/[\w.-]+(?:/[\w.-]*)+"
)
"""Links, mail, what has dots between its letters and goes on small (a house of the web or a file: whatever its ending),
paths."""
_DOTTED_LETTERS = re.compile(r"(?:[A-Za-z]\.)+[A-Za-z]")
_EMPHASIS = re.compile(r"(?<![\w*])(\*{1,3}|_{1,3}|`{1,3})(?=[^\s*_`])([^*_`\n]*[^\s*_`])\1(?!\w)")
"""Marks of stress around words, as a chat has them: nothing is said for them."""
_PARTS_THOUSANDS = re.compile(r"[\u00a0\u202f\u2007\u2009]\d{3}(?!\d)")
_NAMED = frozenset("$£€°¢¥") | frozenset(NAMES)


@lru_cache(maxsize=4096)
def _fold_one(char: str) -> str:
    """What stands for a character: ASCII, or a sign that has a name; nothing for what nobody sees."""
    if char.isascii():
        return char if char.isprintable() else " "
    if char in TYPOGRAPHY:
        return TYPOGRAPHY[char]
    if char in LATIN:
        return LATIN[char]
    category = unicodedata.category(char)
    if category[0] == "Z" or category == "Cc":
        return " "
    if is_invisible(char):
        return ""
    if char in _NAMED and category[0] != "L" or char == "µ" or category == "Sc":
        return char
    spread = unicodedata.normalize("NFKC", char)
    if re.fullmatch("\\d+\u2044[1-9]\\d*", spread):  # ½
        return f"{PART}{spread.replace(chr(0x2044), '/')}"
    if char.isdigit() or category == "Nd":
        figure = str(unicodedata.digit(char))
        return f"^{figure}" if "SUPERSCRIPT" in unicodedata.name(char, "") else figure
    if char in "⁺⁻":
        return "^+" if char == "⁺" else "^-"
    plain = "".join(c for c in unicodedata.normalize("NFKD", char) if not unicodedata.combining(c))
    if plain != char and all(c.isascii() and c.isprintable() or c in LATIN for c in plain):
        return "".join(LATIN.get(c, c) for c in plain)
    return _other_script(char) if category[0] in "LMN" else char


def _other_script(char: str) -> str:
    """A letter of another script in Latin letters; a Han character is a syllable by itself."""
    said = "".join(c for c in anyascii(char) if c.isalnum())
    return f" {said} " if said and "CJK" in unicodedata.name(char, "") else said or char


@dataclass(frozen=True)
class Folded:
    """A text in characters that can be read. ``at[i]``: where the ``i``-th of them stands in the text that was given.
    ``foreign``: the places in it of letters of other scripts, which are said by the sound of their letters."""

    text: str
    at: tuple[int, ...]
    foreign: frozenset[int]

    def was(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the given text from which ``text[start:end]`` was folded."""
        return self.at[start], self.at[end - 1] + 1


def fold_text(text: str) -> Folded:
    """Letters without accents and in Latin script, plain quotes and hyphens, ASCII figures, signs as they are.

    A character that nobody sees has no place in it; every other has one, or is a blank between words.
    """
    chars: list[str] = []
    at: list[int] = []
    foreign = set()
    for place, char in enumerate(text):
        out = _in_context(text, place) or _fold_one(char)
        if char > "\u036f" and out.isascii() and _is_foreign(char):
            foreign.add(place)
        if out[:1] == "^" and char > "^" and text[place - 1 : place] > "^" and _fold_one(text[place - 1])[:1] == "^":
            out = out[1:]  # the next figure of the same power: 10⁻¹²
        chars += out
        at += [place] * len(out)
    return _without_emphasis(Folded("".join(chars), tuple(at), frozenset(foreign)))


def _is_foreign(char: str) -> bool:
    return unicodedata.category(char)[0] in "LM" and not unicodedata.name(char, "LATIN").startswith(("LATIN", "FULLW"))


def _in_context(text: str, place: int) -> str:
    """What a character is by those beside it: a blank that parts thousands, mu before a unit, º after a figure, a Greek
    letter alone, which has its name. Empty where they do not matter."""
    char = text[place]
    if char in "\u00a0\u202f\u2007\u2009":
        return "'" if _PARTS_THOUSANDS.match(text, place) and text[place - 1 : place].isdecimal() else " "
    if char not in "μº" and not "\u0370" <= char <= "\u03ff":
        return ""
    before, after = text[place - 1 : place], text[place + 1 : place + 2]
    alone = not (before.isalpha() or after.isalpha())
    if char == "μ" and not before.isalpha() and after in tuple("gmlsLFAVW"):
        return "µ"
    if char == "º":
        return "°" if before.isdigit() or before == " " else "o." if before in ("n", "N") else "o"
    return char if alone and unicodedata.category(char)[0] == "L" else ""


def _without_emphasis(folded: Folded) -> Folded:
    gone = {
        n
        for found in _EMPHASIS.finditer(folded.text)
        for n in (*range(found.start(), found.start(2)), *range(found.end(2), found.end()))
    }
    if not gone:
        return folded
    kept = [n for n in range(len(folded.text)) if n not in gone]
    return Folded("".join(folded.text[n] for n in kept), tuple(folded.at[n] for n in kept), folded.foreign)


def fold(text: str) -> str:
    """:func:`fold_text` without the places.

    >>> fold("Café “Zoë” – 2½ €").replace(PART, "+")
    'Cafe "Zoe" - 2+1/2 €'
    """
    return fold_text(text).text


def is_address(body: str) -> bool:
    """Whether a written word is an address of mail or web, a file or a path: its dots end no sentence.

    >>> [is_address(word) for word in ("example.co.uk", "a.b@x.ai", "report.pdf", "end.Next", "e.g", "3.5pm")]
    [True, True, True, False, False, False]
    """
    if _DOTTED_LETTERS.fullmatch(body) or re.fullmatch(r"\d+\.\d*[a-zA-Z]+(?:/\w+)?|[Pp]h\.[Dd]|[ap]\.m", body):
        return False
    return _ADDRESS.fullmatch(body) is not None


@dataclass(frozen=True)
class Written:
    """A written word between blanks: what is read of it, the marks after it and those before it. ``glued``: it is a
    part of a word, without a blank before it."""

    body: str
    tail: str
    head: str = ""
    glued: bool = False


_SEEN = 12
"""No rule looks farther."""


@dataclass(frozen=True)
class Place:
    """A word among its neighbours."""

    words: Sequence[Written]
    index: int
    shouted: bool = False
    """Whether the whole text is in capitals."""

    @property
    def body(self) -> str:
        """The word itself."""
        return self.words[self.index].body

    @property
    def tail(self) -> str:
        """The marks after it."""
        return self.words[self.index].tail

    @property
    def head(self) -> str:
        """The marks before it."""
        return self.words[self.index].head

    def beside(self, step: int) -> str:
        """The body ``step`` words on; empty beyond the text or where a full stop lies between."""
        at = self.index + step
        if not 0 <= at < len(self.words):
            return ""
        between = self.words[min(at, self.index) : max(at, self.index)]
        return "" if any(set(w.tail) & set("!?") for w in between) else self.words[at].body

    def inside(self, step: int) -> bool:
        """Whether no blank stands between this part and the one before (``-1``) or after it (``1``)."""
        at = max(self.index, self.index + step)
        return at < len(self.words) and self.words[at].glued

    def instead(self, body: str) -> Place:
        """The same place with another word there."""
        first = max(0, self.index - _SEEN)
        words = [*self.words[first : self.index], Written(body, self.tail, self.head)]
        return Place([*words, *self.words[self.index + 1 : self.index + 1 + _SEEN]], self.index - first, self.shouted)

    @property
    def goes_on(self) -> bool:
        """Whether the sentence goes on after an abbreviation's full stop."""
        following = self.beside(1)
        named = following in MONTHS or following in DAYS
        lower = bool(following) and (not following[:1].isupper() or named)
        return self.tail.startswith(".") and (len(self.tail) > 1 or lower)

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
