"""Text to phones, without torch: what is said for numbers and prices, which words, which pauses, which phones.

A :class:`Lexicon` is made with the training corpus and lies in the bundle. A word it lacks is asked of the flite
program where that is installed, and spelled out where it is not.

>>> [token.spoken for token in tokenise("A latte is $4.50.")]
[('a',), ('latte',), ('is',), ('four', 'dollars', 'and', 'fifty', 'cents')]
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from num2words import num2words

from parley.errors import ParleyError
from parley.files import write_json

PHONES: tuple[str, ...] = (
    "aa", "ae", "ah", "ao", "aw", "ax", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh", "ih", "iy", "jh",
    "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh", "uw", "v", "w", "y", "z", "zh",
)  # fmt: skip
"""flite's phones: the 39 of CMUdict and its reduced vowel ``ax``."""
VOWELS = frozenset(p for p in PHONES if p[0] in "aeiou")
CORRECTIONS: dict[str, str] = {
    "latte": "l aa t ey",
    "lattes": "l aa t ey z",
    "sundays": "s ah n d ey z",
    "understood": "ah n d er s t uh d",
}
"""Words that flite's letter-to-sound rules get wrong; the lexicon says them so, whatever the corpus did."""
PAUSES = ("^", ",", ".", "?")
"""Silence before a sentence, inside one, after a statement, after a question."""
PAD = 0
SYMBOLS: tuple[str, ...] = ("<pad>", *PAUSES, *(f"{phone}_{place}" for phone in PHONES for place in "BIES"))
"""The network's input alphabet: a phone knows its place in the word (begin, inside, end, single)."""
MAX_WORD_LETTERS = 40
"""A longer run of letters is no word; it is cut there, so that hostile text cannot grow a request without end."""

_MONEY = re.compile(r"([$£€])\s?(\d[\d,]*)(?:\.(\d\d))?(?![\d.]*\d)")
_MONEY_NAMES = {"$": ("dollar", "cent"), "£": ("pound", "pence"), "€": ("euro", "cent")}
_ORDINAL = re.compile(r"\b(\d{1,9})(st|nd|rd|th)\b")
_CLOCK = re.compile(r"\b(\d{1,2}):(\d\d)\b")
_LONG_DIGITS = re.compile(r"(?<![\d.,])(?:0\d+|\d{5,})(?![\d.,]*\d)")
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")
_PAUSE_AFTER = {",": ",", ";": ",", ":": ",", ")": ",", "-": ",", ".": ".", "!": ".", "?": "?"}
_SYMBOL_WORDS = {"&": " and ", "%": " percent", "+": " plus ", "@": " at ", "=": " equals ", "#": " number "}
_TYPOGRAPHY = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "."})


@dataclass(frozen=True)
class Token:
    """A written word, the words that say it, and the pause after it (``""`` for none)."""

    text: str
    spoken: tuple[str, ...]
    pause: str


def _in_words(number: str, kind: str = "cardinal") -> str:
    digits = number.replace(",", "")
    # Beyond trillions nobody follows a cardinal; digits are what a person would read out.
    if len(digits.split(".")[0]) > 15:
        return " ".join(num2words(int(d)) for d in digits if d.isdigit())
    value = float(digits) if "." in digits else int(digits)
    return re.sub(r"[-,]", " ", num2words(value, to=kind))


def _money_in_words(match: re.Match[str]) -> str:
    large, small = _MONEY_NAMES[match.group(1)]
    units, cents = match.group(2), int(match.group(3) or 0)
    said = f"{_in_words(units)} {large}{'' if units == '1' else 's'}"
    if cents:
        name = small if small == "pence" or cents == 1 else small + "s"
        said += f" and {_in_words(str(cents))} {name}"
    return said


def _clock_in_words(match: re.Match[str]) -> str:
    hour, minute = match.group(1), int(match.group(2))
    if minute == 0:
        return f"{_in_words(hour)} o'clock"
    return f"{_in_words(hour)} {'oh ' if minute < 10 else ''}{_in_words(str(minute))}"


def _number_words(written: str) -> str:
    """A written word with every number in it said in words."""
    written = _MONEY.sub(_money_in_words, written)
    written = _CLOCK.sub(_clock_in_words, written)
    written = _ORDINAL.sub(lambda m: _in_words(m.group(1), "ordinal"), written)
    written = _LONG_DIGITS.sub(lambda m: " ".join(num2words(int(d)) for d in m.group(0)), written)
    return _NUMBER.sub(lambda m: f" {_in_words(m.group(0))} ", written)


def _spoken(written: str) -> tuple[str, ...]:
    """Words that say one written word: lower case, letters of an abbreviation in capitals."""
    for symbol, words in _SYMBOL_WORDS.items():
        written = written.replace(symbol, words)
    said: list[str] = []
    for part in re.findall(r"[A-Za-z']+", _number_words(written)):
        bare = part.strip("'")
        # "AI's" is spelled; "I" and "A" alone are words; capitals longer than four are emphasis.
        stem, apostrophe, _ = bare.partition("'")
        letter = len(stem) == 1 and stem.isupper() and stem not in "AI"
        if letter or (2 <= len(stem) <= 4 and stem.isupper() and stem.isalpha()):
            said += list(stem)
            if apostrophe:
                said[-1] += "'s"
        else:
            said += [bare[i : i + MAX_WORD_LETTERS].lower() for i in range(0, len(bare), MAX_WORD_LETTERS)]
    return tuple(said)


def tokenise(text: str) -> list[Token]:
    """Written words with what is said for each and the pauses between them; nothing sayable gives an empty list."""
    text = text.translate(_TYPOGRAPHY)
    text = re.sub(r"([$£€])\s+(?=\d)", r"\1", text)
    text = re.sub(r"([A-Za-z])([.?!,;:])(?=[A-Za-z]{2})", r"\1\2 ", text)
    tokens: list[Token] = []
    for written in text.split():
        body = written.strip('"()[]{}*_<>.,;:!?-/')
        tail = written[written.rfind(body) + len(body) :] if body else written
        pause = next((_PAUSE_AFTER[c] for c in tail if c in _PAUSE_AFTER), "")
        if "?" in tail:
            pause = "?"
        spoken = _spoken(body)
        if spoken:
            tokens.append(Token(body, spoken, pause))
        elif pause and tokens and not tokens[-1].pause:
            tokens[-1] = Token(tokens[-1].text, tokens[-1].spoken, pause)
    if tokens and tokens[-1].pause not in (".", "?"):
        tokens[-1] = Token(tokens[-1].text, tokens[-1].spoken, ".")
    return _letter_a(tokens)


def _letter_a(tokens: list[Token]) -> list[Token]:
    """Tell the letter A from the article: a letter stands before a pause or beside another letter."""
    out = []
    for n, token in enumerate(tokens):
        beside = [t.text for t in (*tokens[max(0, n - 1) : n], *tokens[n + 1 : n + 2])]
        letter = token.text == "A" and (token.pause or any(len(t) == 1 and t.isupper() and t != "I" for t in beside))
        out.append(Token(token.text, ("A",), token.pause) if letter else token)
    return out


def sayable(tokens: list[Token]) -> str:
    """The plain text that a synthesiser is given for these tokens: words and ``, . ?`` only."""
    said, starts = [], True
    for token in tokens:
        text = " ".join(token.spoken)
        # flite ends a sentence only where a capital follows.
        said.append((text[:1].upper() + text[1:] if starts else text) + token.pause)
        starts = token.pause in (".", "?")
    return " ".join(said)


@dataclass(frozen=True)
class PhoneSequence:
    """A sentence as the network sees it.

    ``ids``: indices into :data:`SYMBOLS`. ``word_of``: index of each phone's token, -1 for pauses.
    ``words``: the written words.
    """

    ids: tuple[int, ...]
    word_of: tuple[int, ...]
    words: tuple[str, ...]


_INDEX = {symbol: index for index, symbol in enumerate(SYMBOLS)}


def placed(phones: list[str]) -> list[str]:
    """Symbols of one word's phones.

    >>> placed(["hh", "ax", "l", "ow"])
    ['hh_B', 'ax_I', 'l_I', 'ow_E']
    """
    if len(phones) == 1:
        return [f"{phones[0]}_S"]
    places = ["B", *["I"] * (len(phones) - 2), "E"]
    return [f"{phone}_{place}" for phone, place in zip(phones, places, strict=True)]


def symbol_ids(symbols: list[str]) -> list[int]:
    """Indices of symbols."""
    return [_INDEX[s] for s in symbols]


@lru_cache(maxsize=4096)
def ask_flite(word: str) -> tuple[str, ...] | None:
    """Phones of one word from the flite program; None where it is not installed or gives none."""
    flite = shutil.which("flite")
    if not flite:
        return None
    try:
        said = subprocess.run(
            [flite, "-ps", "-t", word, "-o", "none"], capture_output=True, text=True, timeout=2.0, check=True
        ).stdout
    except (subprocess.SubprocessError, OSError):
        return None
    phones = tuple(p for p in said.split() if p in PHONES)
    return phones or None


@dataclass
class Lexicon:
    """Words to phones. ``before_vowel`` holds the words that sound different there ("the answer")."""

    words: dict[str, list[str]]
    before_vowel: dict[str, list[str]] = field(default_factory=dict)
    use_flite: bool = True

    @classmethod
    def load(cls, path: Path, *, use_flite: bool = True) -> Lexicon:
        """Read ``lexicon.json``.

        Raises:
            ParleyError: the file is missing or damaged.
        """
        try:
            content = json.loads(path.read_text())
            split = {part: {w: p.split() for w, p in content[part].items()} for part in ("words", "before_vowel")}
        except (OSError, ValueError, KeyError, AttributeError):
            raise ParleyError("lexicon is missing or damaged", where=str(path), mend="export the run again") from None
        return cls(split["words"], split["before_vowel"], use_flite)

    def save(self, path: Path) -> None:
        """Write ``lexicon.json``."""
        parts = {"words": self.words, "before_vowel": self.before_vowel}
        write_json(path, {name: {w: " ".join(p) for w, p in part.items()} for name, part in parts.items()})

    def phones(self, word: str) -> list[str]:
        """Phones of a spoken word: the lexicon's, else flite's, else the names of its letters."""
        if word in self.words:
            return self.words[word]
        found = ask_flite(word) if self.use_flite else None
        if found:
            return list(found)
        if word.endswith("'s") and word[:-2] in self.words:
            return [*self.words[word[:-2]], "z"]
        return [p for letter in word.upper() for p in self.words.get(letter, [])] or ["ax"]

    def sequence(self, tokens: list[Token]) -> PhoneSequence:
        """Phones and pauses of a text."""
        spoken = [(index, self.phones(word)) for index, token in enumerate(tokens) for word in token.spoken]
        names = [word for token in tokens for word in token.spoken]
        last_of = {index: n for n, (index, _) in enumerate(spoken)}
        ids: list[int] = [_INDEX["^"]] if spoken else []
        word_of: list[int] = [-1] * len(ids)
        for n, (index, phones) in enumerate(spoken):
            pause = tokens[index].pause if last_of[index] == n else ""
            follows_vowel = n + 1 < len(spoken) and not pause and spoken[n + 1][1][0] in VOWELS
            if follows_vowel:
                phones = self.before_vowel.get(names[n], phones)
            ids += symbol_ids(placed(phones))
            word_of += [index] * len(phones)
            breaks = [pause] if pause else []
            if pause in (".", "?") and n + 1 < len(spoken):
                breaks.append("^")
            ids += symbol_ids(breaks)
            word_of += [-1] * len(breaks)
        return PhoneSequence(tuple(ids), tuple(word_of), tuple(token.text for token in tokens))
