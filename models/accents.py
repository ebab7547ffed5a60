"""Callers with a foreign accent: words in the sounds of another language.

espeak-ng speaks about a hundred languages, each with vowels and consonants of its own. A word is handed to another
language's voice as phonemes: what that lacks becomes what its speakers commonly say instead
(:class:`parley.language.contract.Accents`).
"""

from __future__ import annotations

from collections.abc import Iterable

from models.callers import ESPEAK_VARIANTS, Voice
from models.pronunciation import pronunciations
from parley.language import Language
from parley.language.contract import Accents

_VARIANTS_EACH = 8


def foreigners(language: Language) -> list[Voice]:
    """Speakers of every other language in some of espeak-ng's variants, at their own rate and pitch."""
    return [
        Voice("espeak", f"{theirs}+{ESPEAK_VARIANTS[(5 * index + 3 * k) % len(ESPEAK_VARIANTS)]}")
        for index, theirs in enumerate(language.voices.accents.foreign)
        for k in range(_VARIANTS_EACH)
    ]


def accented(text: str, voice: Voice, language: Language) -> str:
    """``text`` as phonemes of the voice's language, stressed on each word's first vowel; as it is for a voice of its
    own.

    Raises:
        ParleyError: the program that pronounces the language is missing.
    """
    accents, theirs = language.voices.accents, voice.name.split("+")[0]
    if theirs not in accents.foreign:
        return text
    words = text.split()
    lexicon = pronunciations(words, language)
    return "[[" + " ".join(_word(lexicon[w][0].split(), theirs, accents) for w in words) + "]]"


def _word(phones: Iterable[str], theirs: str, accents: Accents) -> str:
    said, stressed = "", False
    for phone in phones:
        if phone in accents.vowels and not stressed:
            said, stressed = said + "'", True
        elif phone in accents.reduced:
            said += accents.reduced[phone]
            continue
        said += accents.foreign[theirs].get(phone, accents.phonemes[phone])
    return said
