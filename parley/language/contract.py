"""What a language gives a bot: everything callers say or hear that is not in its ``bot.yaml``.

A :class:`Language` is chosen by the ``language:`` key (:func:`parley.language.language_of`). It is data and small
objects; what it needs a library or a program for, it loads when it is asked. ``docs/languages.md`` makes one.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from parley.language.digits import DigitWords
from parley.language.letters import Letters

BREATH = ","
"""A short pause inside a spoken word: between the groups of a telephone number."""


@dataclass(frozen=True)
class Token:
    """A written word, the words that say it, and the pause after it (``""`` for none, ``,``, ``.`` or ``?``).

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


class Reader(Protocol):
    """Text normalisation for the voice: numbers, dates, prices, abbreviations as a person would say them."""

    def tokenise(self, text: str) -> list[Token]:
        """Written words with what is said for each and the pauses between them; nothing sayable gives an empty list.

        Every text is read to its end: what no rule knows is spelled and counted (:attr:`Token.spelled`).
        """


class Inflection(Protocol):
    """Words that take the form the sentence asks for: "a" and "an", a case, a number, a gender."""

    def agree(self, word: str, form: str, following: str) -> str | None:
        """The form of a marked word of a reply; None leaves the text as it stands.

        A reply writes ``WORD~`` or ``{slot}~form``: ``a~ {drink}`` in English, ``{drink}~acc`` where a language has
        cases.

        Args:
            word: the word before the mark, or a slot's whole value, as it stands in the reply.
            form: the letters after the mark; empty where there are none.
            following: the rest of the reply, values in place, blanks at its beginning left out.
        """

    def forms(self, value: str) -> Collection[str]:
        """Every form that a slot's value may take in a reply, itself included: a reply that has one of them says it."""


class Pronouncer(Protocol):
    """Words to phones, by a program or by rules."""

    def heard(self, word: str) -> str:
        """The usual pronunciation of a word as callers say it, in phones of :attr:`Sounds.heard` parted by blanks.

        Raises:
            ParleyError: the program for it is not installed; names it.
        """

    def spoken(self, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The voice's phones (of :attr:`Sounds.spoken`) of words that its lexicon lacks; without those unknown here.

        Asked while a caller waits: it answers within two seconds and never raises.
        """

    def spelled(self, word: str, lexicon: Mapping[str, Sequence[str]]) -> list[str]:
        """The voice's phones of a word that nobody knows, by the lexicon's letters; one phone at least."""


@dataclass(frozen=True)
class Sounds:
    """The phones of a language and how words become phones."""

    heard: tuple[str, ...]
    """Phones that an STT tells apart: its labels after the CTC blank."""
    spoken: tuple[str, ...]
    """Phones that a voice speaks."""
    vowels: frozenset[str]
    """Those of ``spoken`` that are vowels."""
    variants: Mapping[str, tuple[str, ...]]
    """Words with the forms callers say, the most usual first, in phones of ``heard``; others are the pronouncer's."""
    corrections: Mapping[str, tuple[str, ...]]
    """Words that the pronouncer gets wrong, in phones of ``spoken``."""
    pronouncer: Pronouncer


@dataclass(frozen=True)
class Disclosure:
    """How a greeting says that the caller talks to an AI (EU AI Act, Art. 50)."""

    sentence: str
    """A sentence that says it: offered where a greeting does not."""
    names: tuple[str, ...]
    """What an AI is called: a greeting holds one of them as a whole word, in this case of letters."""

    def is_in(self, reply: str) -> bool:
        """Whether a reply says it."""
        return re.search(rf"(?<!\w)(?:{'|'.join(map(re.escape, self.names))})(?!\w)", reply) is not None


@dataclass(frozen=True)
class CallersSpeech:
    """What callers say beside a bot's phrases, and what a recogniser makes of it: the NLU's training rows."""

    before: tuple[str, ...]
    """Fillers before a request ..."""
    after: tuple[str, ...]
    """... and after one."""
    droppable: frozenset[str]
    """Small words that get lost."""
    unsettled: frozenset[str]
    """Small words that labels of recordings do not settle: a transcript that is wrong in them alone is right."""
    alike: Mapping[str, tuple[str, ...]]
    """Words that a transcriber writes for one another."""
    onsets: tuple[str, ...]
    """Beginnings of a syllable, ..."""
    nuclei: str
    """... letters in its middle, ..."""
    codas: tuple[str, ...]
    """... and ends of the last one: they make words that nobody knows."""
    elsewhere: Path
    """Sentences that ask for nothing of any bot, one a line; ``#`` begins a remark."""


@dataclass(frozen=True)
class Accents:
    """How foreigners say the language's phones, in espeak-ng's notation."""

    phonemes: Mapping[str, str]
    """Every phone of :attr:`Sounds.heard` as a language with five vowels and all the consonants has it."""
    vowels: frozenset[str]
    """The phones that may be stressed."""
    reduced: Mapping[str, str]
    """Those that sound otherwise without stress."""
    foreign: Mapping[str, Mapping[str, str]]
    """espeak-ng's name of another language: the phones that its speakers say in another way than ``phonemes``."""


@dataclass(frozen=True)
class CallersVoices:
    """Synthetic callers: who says the training utterances."""

    espeak: tuple[str, ...]
    """espeak-ng's voices of the language."""
    flite: tuple[str, ...]
    """flite's; none where it does not speak the language."""
    accents: Accents


class VoiceScript(Protocol):
    """What a synthesiser's voice reads to us beside the bot's replies, so that it can say words nobody foresaw."""

    def sentences(self) -> Sequence[str]:
        """Plain sentences."""

    def figures(self, rng: random.Random) -> str:
        """A sentence with a price, a time, a date, digits or a day in it."""

    def listed(self) -> Sequence[str]:
        """Words that the lexicon must hold: numbers below a hundred, letters, what the reader may say."""

    def is_question(self, text: str) -> bool:
        """Whether a sentence without a mark at its end asks."""


@dataclass(frozen=True)
class Language:
    """One language. Serving reads the first group; the second is for datasets and training alone."""

    tag: str
    """The primary subtag of BCP 47: ``en``."""
    letters: Letters
    digits: DigitWords
    inflection: Inflection
    disclosure: Disclosure
    reader: Reader
    sounds: Sounds
    probe: str
    """Something short that everybody says: asked of a stage to see whether it answers."""
    system_voice: str
    """espeak-ng's name of the voice that says the apology when a bot's own cannot."""

    callers: CallersSpeech
    voices: CallersVoices
    script: Callable[[], VoiceScript]
    """Loads what a voice of the language reads to us."""
