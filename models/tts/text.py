"""Spoken words to phones, without torch: pauses, phones and their places, as the voice's network reads them.

Which words say a text is its language's business (:class:`parley.language.contract.Reader`). A :class:`Lexicon` is made
with the training corpus and lies in the bundle. A word it lacks is asked of the language's pronouncer, and spelled out
where that does not know.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from parley.errors import ParleyError
from parley.files import write_json
from parley.language import DEFAULT, Language, Token, language_of
from parley.language.contract import BREATH

PAUSES = ("^", ",", ".", "?")
"""Silence before a sentence, inside one, after a statement, after a question."""
PAD = 0
_MOST_ASKED = 4096


def input_symbols(phones: Iterable[str]) -> tuple[str, ...]:
    """The network's input alphabet for the phones of a language: a phone knows its place in the word (begin, inside,
    end, single)."""
    return ("<pad>", *PAUSES, *(f"{phone}_{place}" for phone in phones for place in "BIES"))


def sayable(tokens: list[Token]) -> str:
    """The plain text that a synthesiser is given for these tokens: words and ``, . ?`` only."""
    said, starts = [], True
    for token in tokens:
        text = " ".join(token.spoken).replace(" ,", ",")
        # flite ends a sentence only where a capital follows.
        said.append((text[:1].title() + text[1:] if starts else text) + token.pause)
        starts = token.pause in (".", "?")
    return " ".join(said)


@dataclass(frozen=True)
class PhoneSequence:
    """A sentence as the network sees it.

    ``ids``: indices into :attr:`Lexicon.symbols`. ``word_of``: index of each phone's token, -1 for pauses.
    ``words``: the written words.
    """

    ids: tuple[int, ...]
    word_of: tuple[int, ...]
    words: tuple[str, ...]


def placed(phones: list[str]) -> list[str]:
    """Symbols of one word's phones.

    >>> placed(["hh", "ax", "l", "ow"])
    ['hh_B', 'ax_I', 'l_I', 'ow_E']
    """
    if len(phones) == 1:
        return [f"{phones[0]}_S"]
    places = ["B", *["I"] * (len(phones) - 2), "E"]
    return [f"{phone}_{place}" for phone, place in zip(phones, places, strict=True)]


@dataclass
class Lexicon:
    """Words to phones. ``before_vowel`` holds the words that sound different there ("the answer")."""

    words: dict[str, list[str]]
    before_vowel: dict[str, list[str]] = field(default_factory=dict)
    language: Language = field(default_factory=lambda: language_of(DEFAULT))
    asks: bool = True
    """Whether the language's pronouncer is asked for words that are not here."""
    _asked: dict[str, list[str]] = field(default_factory=dict, repr=False)

    @cached_property
    def symbols(self) -> tuple[str, ...]:
        """The network's input alphabet."""
        return input_symbols(self.language.sounds.spoken)

    @cached_property
    def _index(self) -> dict[str, int]:
        return {symbol: index for index, symbol in enumerate(self.symbols)}

    def ids(self, symbols: Iterable[str]) -> list[int]:
        """Indices of symbols."""
        return [self._index[s] for s in symbols]

    @classmethod
    def load(cls, path: Path, language: Language | None = None, *, asks: bool = True) -> Lexicon:
        """Read ``lexicon.json`` of a voice of this language; of the oldest one where none is given.

        Raises:
            ParleyError: the file is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            split = {part: {w: p.split() for w, p in content[part].items()} for part in ("words", "before_vowel")}
        except (OSError, ValueError, KeyError, AttributeError):
            raise ParleyError("lexicon is missing or damaged", where=str(path), mend="export the run again") from None
        return cls(split["words"], split["before_vowel"], language or language_of(DEFAULT), asks)

    def tokenise(self, text: str) -> list[Token]:
        """Written words and the words that say them, as the language reads."""
        return self.language.reader.tokenise(text)

    def _ask(self, tokens: list[Token]) -> None:
        """Ask for all words of a text that are not known, at once: a caller waits for one process, not ten."""
        unknown = {word for token in tokens for word in token.words} - self.words.keys() - self._asked.keys()
        if self.asks and len(unknown) > 1:
            if len(self._asked) > _MOST_ASKED:
                self._asked.clear()
            found = self.language.sounds.pronouncer.spoken(sorted(unknown))
            self._asked.update({word: list(phones) for word, phones in found.items() if phones})

    def save(self, path: Path) -> None:
        """Write ``lexicon.json``."""
        parts = {"words": self.words, "before_vowel": self.before_vowel}
        write_json(path, {name: {w: " ".join(p) for w, p in part.items()} for name, part in parts.items()})

    def phones(self, word: str) -> list[str]:
        """Phones of a spoken word: the lexicon's, else the pronouncer's, else the names of its letters."""
        if word in self.words:
            return self.words[word]
        if word in self._asked:
            return self._asked[word]
        pronouncer = self.language.sounds.pronouncer
        found = pronouncer.spoken([word]).get(word) if self.asks else None
        return list(found) if found else pronouncer.spelled(word, self.words)

    def sequence(self, tokens: list[Token]) -> PhoneSequence:
        """Phones and pauses of a text."""
        self._ask(tokens)
        spoken = [
            (index, word, [] if word == BREATH else self.phones(word))
            for index, token in enumerate(tokens)
            for word in token.spoken
        ]
        last_of = {index: n for n, (index, _, _) in enumerate(spoken)}
        ids: list[int] = [self._index["^"]] if spoken else []
        word_of: list[int] = [-1] * len(ids)
        for n, (index, word, phones) in enumerate(spoken):
            pause = tokens[index].pause if last_of[index] == n else ""
            follower = spoken[n + 1][2] if n + 1 < len(spoken) and not pause else []
            if follower and follower[0] in self.language.sounds.vowels:
                phones = self.before_vowel.get(word, phones)
            ids += self.ids(placed(phones) if phones else [BREATH])
            word_of += [index if phones else -1] * max(1, len(phones))
            breaks = [pause] if pause else []
            if pause in (".", "?") and n + 1 < len(spoken):
                breaks.append("^")
            ids += self.ids(breaks)
            word_of += [-1] * len(breaks)
        return PhoneSequence(tuple(ids), tuple(word_of), tuple(token.text for token in tokens))
