"""Words to phones for datasets and bundles, by what their language knows.

The phones are looked up when a dataset or bundle is made and stored in it; serving reads them from the bundle.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from parley.files import write_json
from parley.language import Language
from parley.text_files import read_json_object


def pronunciations(words: Iterable[str], language: Language, cache: Path | None = None) -> dict[str, list[str]]:
    """Phone strings of each word as callers say it, the most usual first.

    Args:
        words: lower case.
        language: whose words they are.
        cache: file that keeps what the language's pronouncer said: asking for thousands of words takes a minute.

    Raises:
        ParleyError: the pronouncer's program is missing (names the package), or the cache is damaged.
    """
    sounds = language.sounds
    asked: dict[str, str] = read_json_object(cache) if cache and cache.is_file() else {}
    known, lexicon = len(asked), {}
    for word in sorted(set(words)):
        if word in sounds.variants:
            lexicon[word] = list(sounds.variants[word])
            continue
        if word not in asked:
            asked[word] = sounds.pronouncer.heard(word)
        lexicon[word] = [asked[word]]
    if cache and len(asked) > known:
        write_json(cache, asked)
    return lexicon
