"""Words to phones, by flite's lexicon and letter-to-sound rules (CMU phone set, 39 symbols).

The phones are looked up when a dataset or bundle is made and stored in it; serving reads them from the bundle.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable
from pathlib import Path

from models.callers import require
from parley.files import write_json

PHONES: tuple[str, ...] = (
    "aa", "ae", "ah", "ao", "aw", "ay", "b", "ch", "d", "dh", "eh", "er", "ey", "f", "g", "hh", "ih", "iy", "jh",
    "k", "l", "m", "n", "ng", "ow", "oy", "p", "r", "s", "sh", "t", "th", "uh", "uw", "v", "w", "y", "z", "zh",
)  # fmt: skip

# Weak and alternative forms of function words that running speech prefers (Wells, Longman Pronunciation
# Dictionary). flite gives one form, in isolation.
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


def fold(phones: str) -> str:
    """Fold flite's reduced vowel into the 39-phone set and drop pauses."""
    return " ".join("ah" if p == "ax" else p for p in phones.split() if p != "pau")


def pronunciations(words: Iterable[str], cache: Path | None = None) -> dict[str, list[str]]:
    """Phone strings of each word, the most usual first.

    Args:
        words: lower case.
        cache: file that keeps what flite said: asking for thousands of words takes a minute.

    Raises:
        ParleyError: flite is missing; names the package.
    """
    flite = require("flite")
    asked: dict[str, str] = json.loads(cache.read_text(encoding="utf-8")) if cache and cache.is_file() else {}
    known, lexicon = len(asked), {}
    for word in sorted(set(words)):
        if word in VARIANTS:
            lexicon[word] = list(VARIANTS[word])
            continue
        if word not in asked:
            said = subprocess.run(
                [flite, "-ps", "-t", word, "-o", "none"], capture_output=True, text=True, encoding="utf-8", check=True
            )
            asked[word] = fold(said.stdout)
        lexicon[word] = [asked[word]]
    if cache and len(asked) > known:
        write_json(cache, asked)
    return lexicon
