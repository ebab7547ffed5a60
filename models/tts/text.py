"""Text to phones, without torch: which words (:mod:`models.tts.normalise` says how they are read), pauses, phones.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path

from models.tts.money import CURRENCY
from models.tts.normalise import read
from models.tts.written import Written, fold_text, is_address
from parley.errors import ParleyError
from parley.files import write_json

PHONES: tuple[str, ...] = (
    "aa", "ae", "ah", "ao", "aw", "ax", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh", "ih", "iy", "jh",
    "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh", "uw", "v", "w", "y", "z", "zh",
)  # fmt: skip
"""flite's phones: the 39 of CMUdict and its reduced vowel ``ax``."""
VOWELS = frozenset(p for p in PHONES if p[0] in "aeiou")
CORRECTIONS: dict[str, str] = {
    "latte": "l aa1 t ey0",
    "lattes": "l aa1 t ey0 z",
    "sundays": "s ah1 n d ey0 z",
    "understood": "ah0 n d er0 s t uh1 d",
}
"""Words that flite's letter-to-sound rules get wrong, with stress: flite is told (`-add_lex`), and the lexicon says
them so whatever the corpus did."""
PAUSES = ("^", ",", ".", "?")
"""Silence before a sentence, inside one, after a statement, after a question."""
PAD = 0
SYMBOLS: tuple[str, ...] = ("<pad>", *PAUSES, *(f"{phone}_{place}" for phone in PHONES for place in "BIES"))
"""The network's input alphabet: a phone knows its place in the word (begin, inside, end, single)."""
MAX_WORD_LETTERS = 40
"""A longer run of letters is no word; it is cut there, so that hostile text cannot grow a request without end."""

_PAUSE_AFTER = {",": ",", ";": ",", ":": ",", ")": ",", "-": ",", ".": ".", "!": ".", "?": "?"}
_MOST_ASKED = 4096
_NUMBER = r"[-+(]*\d[\d.,']*(?:k|m|bn)?"
_WORD = re.compile(
    # An amount and its currency, a number in groups of thousands, feet and inches, a date with blanks are one word.
    rf"{CURRENCY}\s+(?=[-+]?\.?\d)\S+"
    rf"|\d{{1,3}}(?:\s\d{{3}}){{1,5}}\s?{CURRENCY}(?![A-Za-z])\S*"
    rf"|{_NUMBER}\s+{CURRENCY}(?![A-Za-z]|\s?\d)\S*"
    r"|\d{1,3}(?:\s000){1,5}(?![\w-]|\s\d)\S*"
    r"|\d+'\s+\d+\"\S*"
    r"|\d\d?\.\s\d\d?\.\s\d{4}\b\S*"
    r"|\S+"
)
_GLUED = re.compile(r"(?<=[A-Za-z])(?:[?!,;:](?=[A-Za-z]{2})|\.(?=[A-Z]?[a-z]))")
_MARKS = "\"'()[]{}.,;:!?-"
_BELONGS = re.compile(
    r"-(?:[^\s\w]?\d|\.\d|[A-Z]{0,3}[$£€¥]\s?\d)|\.\d|->|\(\d+\)\d|'\d0s"  # at a word's beginning
)
_OWN_END = re.compile(r"\d+(?:'\s?\d+)?(?:\"|'')")
"""Feet and inches; a word's last marks that are no quotes."""
BREATH = ","
"""A short pause inside a spoken word: between the groups of a telephone number."""


@dataclass(frozen=True)
class Token:
    """A written word, the words that say it, and the pause after it (``""`` for none).

    ``text`` is the stretch of the reply from character ``start`` on, without the marks around it. ``spoken`` holds
    lower-case words, letters to be spelled as capitals, and :data:`BREATH` where the voice pauses inside. ``spelled``:
    its parts that no rule knew, said letter by letter, figure by figure, by name, or by the sound of another script's
    letters.
    """

    text: str
    spoken: tuple[str, ...]
    pause: str
    start: int = 0
    spelled: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """``spoken`` without pauses."""
        return tuple(word for word in self.spoken if word != BREATH)


def tokenise(text: str) -> list[Token]:
    """Written words with what is said for each and the pauses between them; nothing sayable gives an empty list."""
    folded = fold_text(text)
    stretches = [stretch for match in _WORD.finditer(folded.text) for stretch in _unglued(match, folded.text)]
    readings = read([written for written, _ in stretches])
    tokens: list[Token] = []
    for (written, first), reading in zip(stretches, readings, strict=True):
        spoken = _cut(reading.spoken)
        if spoken:
            if tokens and not tokens[-1].pause:
                tokens[-1] = replace(tokens[-1], pause=_pause(written.head.rstrip("\"'([{")))
            start, end = folded.was(first, first + len(written.body))
            foreign = not folded.foreign.isdisjoint(range(start, end))
            spelled = reading.spelled or ((text[start:end],) if foreign else ())
            pause = _pause(written.tail[1:] if reading.owns_dot else written.tail)
            tokens.append(Token(text[start:end], spoken, pause, start, spelled))
        elif tokens and not tokens[-1].pause:
            tokens[-1] = replace(tokens[-1], pause=_pause(written.head + written.body + written.tail))
    if tokens and tokens[-1].pause not in (".", "?"):
        tokens[-1] = replace(tokens[-1], pause=".")
    return _letter_a(tokens)


def _unglued(match: re.Match[str], text: str) -> Iterator[tuple[Written, int]]:
    """The written words of a stretch of the text, and where each one's body starts."""
    stretch, at = match.group(), match.start()
    quoted = text.count('"', 0, at) % 2 == 1
    cuts = [0, *(m.end() for m in _GLUED.finditer(stretch)), len(stretch)]
    if is_address(stretch.strip(_MARKS)) or re.fullmatch(r"(?:[A-Za-z]\.)+\W*", stretch):
        cuts = [0, len(stretch)]
    for begin, end in zip(cuts, cuts[1:], strict=False):
        piece = stretch[begin:end]
        first, last = _body(piece, quoted=quoted)
        yield Written(piece[first:last].strip(), piece[last:], piece[:first]), at + begin + first


def _body(piece: str, *, quoted: bool) -> tuple[int, int]:
    """Where the body of a piece starts and ends among the marks around it. A minus, a decimal point, a bracket that is
    closed inside, and the marks of feet and inches where no quote is open belong to it; a dash by itself is a word."""
    first, last = 0, len(piece)
    while first < last and piece[first] in _MARKS and not _BELONGS.match(piece, first):
        first += 1
    while last > first and piece[last - 1] in _MARKS:
        ended = piece[first:last]
        if piece[last - 1] in "\"'" and _OWN_END.fullmatch(ended) and not quoted and '"' not in piece[:first]:
            break
        if piece[last - 1] == ")" and ended.count("(") == ended.count(")"):
            break
        last -= 1
    if first == last and piece and not piece.strip("-"):
        return 0, len(piece)
    return first, last


def _pause(tail: str) -> str:
    if "?" in tail:
        return "?"
    return next((_PAUSE_AFTER[c] for c in tail if c in _PAUSE_AFTER), "")


def _cut(spoken: str) -> tuple[str, ...]:
    """Spoken words in lower case, capitals that stand alone kept as letters; runs of letters have an end."""
    said: list[str] = []
    for word in spoken.split():
        letter = word[0].isupper() and word[1:] in ("", "'s")
        if letter or word == BREATH:
            said.append(word)
        else:
            said += [word[i : i + MAX_WORD_LETTERS].lower() for i in range(0, len(word), MAX_WORD_LETTERS)]
    return tuple(said)


def _letter_a(tokens: list[Token]) -> list[Token]:
    """Tell the letter A from the article: a letter stands before a pause or beside another letter."""
    out = []
    for n, token in enumerate(tokens):
        beside = [t.text for t in (*tokens[max(0, n - 1) : n], *tokens[n + 1 : n + 2])]
        letter = token.text == "A" and (token.pause or any(len(t) == 1 and t.isupper() and t != "I" for t in beside))
        out.append(replace(token, spoken=("A",)) if letter else token)
    return out


def sayable(tokens: list[Token]) -> str:
    """The plain text that a synthesiser is given for these tokens: words and ``, . ?`` only."""
    said, starts = [], True
    for token in tokens:
        text = " ".join(token.spoken).replace(" ,", ",")
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


def corrected(word: str) -> list[str]:
    """Phones of a word of :data:`CORRECTIONS`, without stress."""
    return [phone.rstrip("012") for phone in CORRECTIONS[word].split()]


def _flite_says(text: str) -> list[str]:
    """Phones and pauses of a text from the flite program; none where it is not installed or fails."""
    flite = shutil.which("flite")
    if not flite:
        return []
    command = [flite, "-ps", "-t", text, "-o", "none"]
    try:
        return subprocess.run(
            command, capture_output=True, text=True, encoding="utf-8", timeout=2.0, check=True
        ).stdout.split()
    except (subprocess.SubprocessError, OSError):
        return []


@lru_cache(maxsize=4096)
def ask_flite(word: str) -> tuple[str, ...] | None:
    """Phones of one word from the flite program; None where it is not installed or gives none."""
    return tuple(p for p in _flite_says(word) if p in PHONES) or None


def ask_flite_together(words: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Phones of several words by one run of flite, each a sentence of its own; empty where it did not part them."""
    said = " ".join(_flite_says(" ".join(f"{word.capitalize()}." for word in words)))
    groups = [tuple(p for p in group.split() if p in PHONES) for group in said.split("pau") if group.strip()]
    return dict(zip(words, groups, strict=True)) if len(groups) == len(words) else {}


@dataclass
class Lexicon:
    """Words to phones. ``before_vowel`` holds the words that sound different there ("the answer")."""

    words: dict[str, list[str]]
    before_vowel: dict[str, list[str]] = field(default_factory=dict)
    use_flite: bool = True
    _asked: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: Path, *, use_flite: bool = True) -> Lexicon:
        """Read ``lexicon.json``.

        Raises:
            ParleyError: the file is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            split = {part: {w: p.split() for w, p in content[part].items()} for part in ("words", "before_vowel")}
        except (OSError, ValueError, KeyError, AttributeError):
            raise ParleyError("lexicon is missing or damaged", where=str(path), mend="export the run again") from None
        return cls(split["words"], split["before_vowel"], use_flite)

    def _ask(self, tokens: list[Token]) -> None:
        """Ask flite for all words of a text that are not known, at once: a caller waits for one process, not ten."""
        unknown = {word for token in tokens for word in token.words} - self.words.keys() - self._asked.keys()
        if self.use_flite and len(unknown) > 1:
            if len(self._asked) > _MOST_ASKED:
                self._asked.clear()
            found = ask_flite_together(sorted(unknown))
            self._asked.update({word: list(phones) for word, phones in found.items() if phones})

    def save(self, path: Path) -> None:
        """Write ``lexicon.json``."""
        parts = {"words": self.words, "before_vowel": self.before_vowel}
        write_json(path, {name: {w: " ".join(p) for w, p in part.items()} for name, part in parts.items()})

    def phones(self, word: str) -> list[str]:
        """Phones of a spoken word: the lexicon's, else flite's, else the names of its letters."""
        if word in self.words:
            return self.words[word]
        if word in self._asked:
            return self._asked[word]
        found = ask_flite(word) if self.use_flite else None
        if found:
            return list(found)
        if word.endswith("'s") and word[:-2] in self.words:
            return [*self.words[word[:-2]], "z"]
        return [p for letter in word.upper() for p in self.words.get(letter, [])] or ["ax"]

    def sequence(self, tokens: list[Token]) -> PhoneSequence:
        """Phones and pauses of a text."""
        self._ask(tokens)
        spoken = [
            (index, word, [] if word == BREATH else self.phones(word))
            for index, token in enumerate(tokens)
            for word in token.spoken
        ]
        last_of = {index: n for n, (index, _, _) in enumerate(spoken)}
        ids: list[int] = [_INDEX["^"]] if spoken else []
        word_of: list[int] = [-1] * len(ids)
        for n, (index, word, phones) in enumerate(spoken):
            pause = tokens[index].pause if last_of[index] == n else ""
            follower = spoken[n + 1][2] if n + 1 < len(spoken) and not pause else []
            if follower and follower[0] in VOWELS:
                phones = self.before_vowel.get(word, phones)
            ids += symbol_ids(placed(phones) if phones else [BREATH])
            word_of += [index if phones else -1] * max(1, len(phones))
            breaks = [pause] if pause else []
            if pause in (".", "?") and n + 1 < len(spoken):
                breaks.append("^")
            ids += symbol_ids(breaks)
            word_of += [-1] * len(breaks)
        return PhoneSequence(tuple(ids), tuple(word_of), tuple(token.text for token in tokens))
