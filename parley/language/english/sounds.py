"""English phones: flite's lexicon and letter-to-sound rules, CMU's phone set.

What an STT tells apart are the 39 phones of CMUdict; a voice has flite's reduced vowel ``ax`` beside them.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import lru_cache

from parley.language.contract import Sounds
from parley.programs import require

HEARD: tuple[str, ...] = (
    "aa", "ae", "ah", "ao", "aw", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh", "ih", "iy", "jh",
    "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh", "uw", "v", "w", "y", "z", "zh",
)  # fmt: skip
"""The 39 phones of CMUdict."""
SPOKEN: tuple[str, ...] = tuple(sorted([*HEARD, "ax"]))
"""flite's phones: those and its reduced vowel."""
VARIANTS: dict[str, tuple[str, ...]] = {
    "a": ("ah", "ey"),
    "an": ("ah n", "ae n"),
    "and": ("ae n d", "ah n d", "ah n", "ae n"),
    "can": ("k ae n", "k ah n", "k ih n"),
    "have": ("hh ae v", "ae v"),
    "i'd": ("ay d",),
    "like": ("l ay k",),
    "of": ("ah v", "ah"),
    "some": ("s ah m",),
    "the": ("dh ah", "dh iy"),
    "to": ("t uw", "t ah"),
    "with": ("w ih dh", "w ih th"),
    "want": ("w aa n t", "w ao n t", "w aa n"),
    "get": ("g eh t", "g ih t"),
    "latte": ("l aa t ey", "l ae t ey"),
    "mocha": ("m ow k ah",),
    "espresso": ("eh s p r eh s ow", "ah s p r eh s ow", "eh k s p r eh s ow"),
    "almond": ("aa m ah n d", "ao l m ah n d", "aa l m ah n d", "ae l m ah n d"),
    "iced": ("ay s t", "ay s"),
    "twenty": ("t w eh n t iy", "t w eh n iy", "t w ah n iy"),
    "americano": ("ah m eh r ih k aa n ow", "ah m eh r ah k aa n ow"),
    "cappuccino": ("k ae p ah ch iy n ow", "k aa p ah ch iy n ow", "k ae p uw ch iy n ow"),
    # Digits as they are said with other accents (Wells, Accents of English, 1982): th stopped or fronted, r silent, no
    # lax i; and a t without release.
    "zero": ("z ih r ow", "z iy r ow"),
    "three": ("th r iy", "t r iy", "f r iy"),
    "four": ("f ao r", "f ao"),
    "six": ("s ih k s", "s iy k s"),
    "eight": ("ey t", "ey"),
}
"""Weak and alternative forms of function words that running speech prefers (Wells, Longman Pronunciation Dictionary).
flite gives one form, in isolation."""
CORRECTIONS: dict[str, str] = {
    "latte": "l aa1 t ey0",
    "lattes": "l aa1 t ey0 z",
    "sundays": "s ah1 n d ey0 z",
    "understood": "ah0 n d er0 s t uh1 d",
}
"""Words that flite's letter-to-sound rules get wrong, in its phones with stress."""


class Flite:
    """The flite program as a pronouncer."""

    def heard(self, word: str) -> str:
        """One form of a word, said alone, in the 39 phones.

        Raises:
            ParleyError: flite is missing; names the package.
        """
        command = [require("flite"), "-ps", "-t", word, "-o", "none"]
        said = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
        return " ".join("ah" if p == "ax" else p for p in said.split() if p != "pau")

    def spoken(self, words: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """Phones of several words by one run, each a sentence of its own; empty where flite did not part them."""
        if len(words) == 1:
            found = ask_flite(words[0])
            return {words[0]: found} if found else {}
        said = " ".join(_flite_says(" ".join(f"{word.capitalize()}." for word in words)))
        groups = [tuple(p for p in group.split() if p in SPOKEN) for group in said.split("pau") if group.strip()]
        return dict(zip(words, groups, strict=True)) if len(groups) == len(words) else {}

    def spelled(self, word: str, lexicon: Mapping[str, Sequence[str]]) -> list[str]:
        """An owner's word and z, or the names of the letters."""
        if word.endswith("'s") and word[:-2] in lexicon:
            return [*lexicon[word[:-2]], "z"]
        return [p for letter in word.upper() for p in lexicon.get(letter, [])] or ["ax"]


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
    return tuple(p for p in _flite_says(word) if p in SPOKEN) or None


SOUNDS = Sounds(
    heard=HEARD,
    spoken=SPOKEN,
    vowels=frozenset(p for p in SPOKEN if p[0] in "aeiou"),
    variants=VARIANTS,
    corrections={word: tuple(p.rstrip("012") for p in said.split()) for word, said in CORRECTIONS.items()},
    pronouncer=Flite(),
)
