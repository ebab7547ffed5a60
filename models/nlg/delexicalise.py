"""References with placeholders for values the network need not know, and back.

A delexicalised slot is one whose values are all said alike: ``{name}``, ``{near}``, ``{food}``, ``{eatType}``; the
second value of a slot is ``{food2}``. So a network that read of Chinese food can speak of Italian. Text is
lower-cased, which `written` undoes at the beginnings of sentences.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from models.nlg.corpora import Meaning
from models.nlg.realisations import Patterns
from parley.bot.replies import relexicalise
from parley.language.english import ENGLISH  # the corpus is

DELEXICALISED = ("name", "near", "food", "eatType")
_LOOSE = ("coffee",)
"""Phrases that say a delexicalised value only of that value: a text with one is not delexicalised."""
_WORD = re.compile(r"[^\W\d_]+")
PLACEHOLDER = re.compile(r"\{([A-Za-z]+\d?)\}")


def placeholders(meaning: Meaning) -> dict[str, str]:
    """Placeholder names of a meaning's delexicalised slots, with their values."""
    seen: Counter[str] = Counter()
    found = {}
    for slot, value in meaning:
        if slot in DELEXICALISED:
            seen[slot] += 1
            found[f"{slot}{seen[slot] if seen[slot] > 1 else ''}"] = value
    return found


def delexicalise(text: str, meaning: Meaning, patterns: Patterns) -> str | None:
    """A reference with placeholders, lower-case.

    None if it does not say exactly its meaning, or not every placeholder but ``{name}`` once.
    """
    if patterns.errors(text, meaning).errors:
        return None
    names = {(re.sub(r"\d", "", name), value): name for name, value in placeholders(meaning).items()}
    pieces, at = [], 0
    for mention, pair in patterns.read(text, meaning):
        if pair not in names:
            continue
        if text[mention.start : mention.end].lower() in _LOOSE:
            return None
        pieces += [text[at : mention.start].lower(), f"{{{names[pair]}}}"]
        at = mention.end
    said = _tidy("".join([*pieces, text[at:].lower()]))
    counts = Counter(PLACEHOLDER.findall(said))
    if any(counts[name] != 1 and name != "name" for name in names.values()):
        return None
    return said


def _tidy(text: str) -> str:
    """Spacing and marks made alike; articles before a cuisine left to be settled; a mark at the end."""
    text = re.sub(r"[\"“”]", "", text.replace("’", "'"))
    text = re.sub(r"\ban? (?=\{food)", "a~ ", text)
    text = re.sub(r"(?<=£) (?=\d)", "", text)
    text = re.sub(r"\s+([,.;:!?])", r"\1", re.sub(r"([,;:!?]|\.(?!\d))(?=[^\s.])", r"\1 ", text))
    text = re.sub(r"\.{2,}", ".", " ".join(text.split())).rstrip(" ,;:-")
    return text if text.endswith((".", "!", "?")) else f"{text}."


def written(text: str, meaning: Meaning) -> str:
    """A delexicalised text with the values of a meaning, as one writes it."""
    values = {name: "fast food" if value == "Fast food" else value for name, value in placeholders(meaning).items()}
    said = relexicalise(text, values, ENGLISH)
    said = re.sub(r"\b(fast food) (?:food|foods)\b", r"\1", said)
    said = re.sub(r"\b[Tt]he The\b", "The", said)
    said = re.sub(rf"(?<=[.!?] )([{ENGLISH.letters.small}])", lambda match: match[1].upper(), said)
    return ENGLISH.letters.capital(said)


def words_of(text: str) -> list[str]:
    """Runs of letters, of any alphabet."""
    return _WORD.findall(text)


def foreign_words(texts: Sequence[str], meanings: Sequence[Meaning]) -> set[str]:
    """Words of names and neighbours; left in a delexicalised text they are a name misspelt ("crown plaza hotel")."""
    names = {word for meaning in meanings for slot, value in meaning if slot in ("name", "near")
             for word in words_of(value.lower())}  # fmt: skip
    # "blue" or "house" may be words of their own: only those that are rare outside names are names.
    said = Counter(word for text in texts for word in words_of(text))
    return {word for word in names if said[word] < 0.01 * len(texts)}
