"""Synthetic callers of English: espeak-ng's and flite's voices, and foreigners who say English words in the sounds of
their own language (Swan & Smith, Learner English, 2001)."""

from __future__ import annotations

from parley.language.contract import Accents, CallersVoices

PHONEMES = {
    "aa": "a", "ae": "a", "ah": "a", "ao": "O", "aw": "au", "ay": "aj", "eh": "E", "er": "er", "ey": "ej", "ih": "i",
    "iy": "i", "ow": "o", "oy": "oj", "uh": "u", "uw": "u",
    "b": "b", "ch": "tS", "d": "d", "dh": "D", "f": "f", "g": "g", "hh": "h", "jh": "dZ", "k": "k", "l": "l", "m": "m",
    "n": "n", "ng": "N", "p": "p", "r": "r", "s": "s", "sh": "S", "t": "t", "th": "T", "v": "v", "w": "w", "y": "j",
    "z": "z", "zh": "Z",
}  # fmt: skip
"""What every phone (CMU) becomes in espeak-ng's notation when a language has five vowels and all the consonants."""
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

VOICES = CallersVoices(
    espeak=("en-us", "en-gb", "en-gb-scotland", "en-us-nyc", "en-gb-x-rp", "en-029", "en-gb-x-gbclan"),
    flite=("awb", "kal", "kal16", "rms", "slt"),
    accents=Accents(PHONEMES, vowels=frozenset(list(PHONEMES)[:15]), reduced={"ah": "@"}, foreign=ACCENTS),
)
