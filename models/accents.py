"""Callers with a foreign accent: English words in the sounds of another language.

espeak-ng speaks about a hundred languages, each with vowels and consonants of its own. An English word is handed to a
language's voice as phonemes: what the language lacks becomes what its speakers commonly say instead (Swan & Smith,
Learner English, 2001).
"""

from __future__ import annotations

from collections.abc import Iterable

from models.callers import ESPEAK_VARIANTS, Voice
from models.pronunciation import pronunciations
from parley.language import language_of

PHONEMES = {
    "aa": "a", "ae": "a", "ah": "a", "ao": "O", "aw": "au", "ay": "aj", "eh": "E", "er": "er", "ey": "ej", "ih": "i",
    "iy": "i", "ow": "o", "oy": "oj", "uh": "u", "uw": "u",
    "b": "b", "ch": "tS", "d": "d", "dh": "D", "f": "f", "g": "g", "hh": "h", "jh": "dZ", "k": "k", "l": "l", "m": "m",
    "n": "n", "ng": "N", "p": "p", "r": "r", "s": "s", "sh": "S", "t": "t", "th": "T", "v": "v", "w": "w", "y": "j",
    "z": "z", "zh": "Z",
}  # fmt: skip
"""What every phone (CMU) becomes in espeak-ng's notation when a language has five vowels and all the consonants."""
_VOWELS = frozenset(list(PHONEMES)[:15])
ACCENTS: dict[str, dict[str, str]] = {
    "ar": {"p": "b", "v": "f", "eh": "i", "ao": "o"},
    "cs": {"th": "s", "dh": "d", "w": "v", "ah": "a"},
    "de": {"th": "s", "dh": "z", "w": "v", "r": "R", "ae": "E", "ih": "I", "ay": "aI", "aw": "aU", "ow": "o:",
           "iy": "i:", "uw": "u:", "er": "3:"},
    "el": {"sh": "s", "zh": "z", "ch": "ts", "jh": "dz", "hh": "x", "ao": "o"},
    "es": {"z": "s", "v": "b", "hh": "x", "dh": "d", "jh": "j", "zh": "s", "sh": "tS", "ao": "o"},
    "fr": {"th": "s", "dh": "z", "hh": "", "r": "R", "ah": "V", "jh": "Z", "ch": "S"},
    "hi": {"th": "t[", "dh": "d[", "w": "v", "ae": "E", "ey": "e:", "ow": "o:", "iy": "i:", "uw": "u:", "ah": "V"},
    "hu": {"th": "s", "dh": "d", "w": "v", "ow": "o:", "ao": "o"},
    "it": {"th": "t", "dh": "d", "hh": "", "ae": "E", "ao": "o", "z": "dz"},
    "nl": {"th": "t", "dh": "d", "g": "x", "ih": "I", "ae": "E", "ey": "e:", "ow": "o:", "iy": "i:", "z": "s"},
    "pl": {"th": "f", "dh": "d", "hh": "x"},
    "pt": {"th": "t", "dh": "d", "hh": "x"},
    "ru": {"th": "s", "dh": "z", "w": "v", "hh": "x", "ng": "n"},
    "sv": {"th": "t", "dh": "d", "w": "v", "z": "s", "ih": "I", "iy": "i:", "uw": "u:", "jh": "j"},
    "ta": {"th": "t[", "dh": "d[", "w": "v", "z": "s", "f": "p", "ow": "o:", "ey": "e:"},
    "tr": {"th": "t", "dh": "d", "w": "v"},
}  # fmt: skip
"""espeak-ng's name of a language: the phones that its speakers say in another way than the list above."""
_VARIANTS_EACH = 8


def foreigners() -> list[Voice]:
    """Every language in some of espeak-ng's variants, at their own rate and pitch."""
    return [
        Voice("espeak", f"{language}+{ESPEAK_VARIANTS[(5 * index + 3 * k) % len(ESPEAK_VARIANTS)]}")
        for index, language in enumerate(ACCENTS)
        for k in range(_VARIANTS_EACH)
    ]


def accented(text: str, voice: Voice) -> str:
    """``text`` as phonemes of the voice's language, stressed on each word's first vowel; as it is if that is English.

    Raises:
        ParleyError: flite, whose lexicon is used, is missing.
    """
    language = voice.name.split("+")[0]
    if language not in ACCENTS:
        return text
    words = text.split()
    lexicon = pronunciations(words, language_of("en"))
    return "[[" + " ".join(_word(lexicon[w][0].split(), language) for w in words) + "]]"


def _word(phones: Iterable[str], language: str) -> str:
    said, stressed = "", False
    for phone in phones:
        if phone in _VOWELS and not stressed:
            said, stressed = said + "'", True
        elif phone == "ah":
            said += "@"
            continue
        said += ACCENTS[language].get(phone, PHONEMES[phone])
    return said
