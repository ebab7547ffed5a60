"""Whether a delexicalised reply says exactly its meaning, and what to do about one that does not."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

from models.nlg.corpora import Meaning
from models.nlg.delexicalise import PLACEHOLDER, placeholders, written
from models.nlg.realisations import Pair, Patterns


def says_exactly(text: str, meaning: Meaning, patterns: Patterns) -> bool:
    """Whether a text with placeholders says a meaning, all of it and nothing else.

    Every placeholder comes once (a name as often as it likes) and, by the patterns, every value is said, no other is,
    and none twice; nor is there anything that writers are known to invent.

    Args:
        text: delexicalised.
        meaning: what it is to say.
        patterns: of the domain; the names of the meaning are looked for as well.
    """
    asked, said = set(placeholders(meaning)), Counter(PLACEHOLDER.findall(text))
    if not text or "[" in text or set(said) != asked or any(n > 1 and name != "name" for name, n in said.items()):
        return False
    if re.search(rf"(?<!\w){patterns.spec['invented']}(?!\w)", text):  # before it has names, which may hold such words
        return False
    diff = patterns.knowing(meaning).errors(written(text, meaning), meaning)
    return diff.errors == 0 and diff.repeated <= max(0, said["name"] - 1)


def repaired(text: str, meaning: Meaning, patterns: Patterns) -> str | None:
    """The text with a plain sentence for every value it does not say, if it then says exactly the meaning."""
    if not text:
        return None
    if "name" not in placeholders(meaning):
        text = text.replace("{name}", "this place")
    said = Counter(pair for _, pair in patterns.knowing(meaning).read(written(text, meaning), meaning))
    missing = Counter(meaning) - said
    return _checked(f"{text} {sentences([pair for pair in meaning if missing[pair]], meaning, patterns.spec)}", meaning,
                    patterns)  # fmt: skip


def _checked(text: str, meaning: Meaning, patterns: Patterns) -> str | None:
    return text if says_exactly(text, meaning, patterns) else None


def sentences(pairs: list[Pair], meaning: Meaning, spec: dict[str, Any]) -> str:
    """Plain delexicalised sentences, a value each, of some pairs of a meaning."""
    names = {(name.rstrip("0123456789"), value): f"{{{name}}}" for name, value in placeholders(meaning).items()}
    found = []
    for slot, value in pairs:
        sentence = spec["fallback"][slot]
        if not isinstance(sentence, str):
            sentence = sentence[value]
        found.append(sentence.replace("{value}", names.get((slot, value), value)).lower().replace("eattype", "eatType"))
    return " ".join(found)


def single(meaning: Meaning) -> Meaning:
    """The meaning with the first value of each slot alone."""
    kept: dict[str, str] = {}
    for slot, value in meaning:
        kept.setdefault(slot, value)
    return tuple(kept.items())


def plain(meaning: Meaning, spec: dict[str, Any]) -> str:
    """Plain sentences that say a meaning."""
    return written(sentences(list(meaning), meaning, spec), meaning)
