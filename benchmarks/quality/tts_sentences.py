"""Sentences that a voice was never trained on: the bots' replies and orders, figures as one writes them, plain English.

Replies and orders are drawn from `bot.yaml` with a seed of their own, figures from the shapes below, the rest is
`tts_sentences.txt`. Whatever a corpus holds, in words as they are spoken, is left out; so is what was drawn before.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.tts.recogniser import words_of
from models.tts.script import drawn_reply
from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.errors import ParleyError
from parley.language.english import ENGLISH
from parley.language.english.abbreviations import DAYS
from parley.language.english.script import EnglishScript
from parley.language.english.spoken_numbers import MONTHS

_PLAIN = Path(__file__).with_name("tts_sentences.txt")
_SHARES = (("plain", 0.3), ("reply", 0.35), ("order", 0.1), ("figures", 0.25))
_TRIES = 400


@dataclass(frozen=True)
class Sentence:
    """What is said, and of which kind: ``plain``, ``reply``, ``order`` or ``figures``."""

    text: str
    kind: str


def spoken_key(text: str) -> str:
    """The words of a text as they are spoken: what makes two texts the same sentence.

    >>> spoken_key("It's $5!") == spoken_key("it's five dollars")
    True
    """
    return " ".join(words_of(text, ENGLISH))


def trained_texts(corpora: Iterable[Path], digest: str) -> set[str]:
    """Keys of every sentence of the corpora, those held out from training too.

    Raises:
        ParleyError: a corpus is missing, or none of them is the one with ``digest``, which the voice learned from.
    """
    found: set[str] = set()
    digests = []
    for folder in corpora:
        path = folder / "corpus.json"
        if not path.is_file():
            raise ParleyError("no corpus here", where=str(folder), mend="give the run's corpus, or make it again")
        content = json.loads(path.read_text(encoding="utf-8"))
        digests.append(content["digest"])
        found |= {spoken_key(row["text"]) for row in content["rows"]}
    if digest not in digests:
        raise ParleyError("not the corpus that this voice learned from", where=", ".join(d[:12] for d in digests),
                          mend=f"give --corpus the one with digest {digest[:12]}")  # fmt: skip
    return found


def unseen(bots: Sequence[Bot], count: int, seed: int, trained: set[str]) -> list[Sentence]:
    """``count`` sentences that are not in ``trained``, each once.

    Raises:
        ParleyError: the bots cannot say so many new ones.
    """
    rng, english = random.Random(seed), EnglishScript()
    plain = [line for line in _PLAIN.read_text(encoding="utf-8").splitlines() if line]
    rng.shuffle(plain)
    grammars = [Grammar(bot) for bot in bots]
    draws: dict[str, Callable[[], str]] = {
        "plain": lambda: plain.pop() if plain else "",
        "reply": lambda: drawn_reply(rng.choice(bots), rng),
        "order": lambda: rng.choice(grammars).sample(rng).text.capitalize() + rng.choice(".?"),
        "figures": lambda: rng.choice((_figures, english.figures))(rng),
    }
    taken = set(trained)
    found: list[Sentence] = []
    for n, (kind, share) in enumerate(_SHARES):
        wanted = count - len(found) if n == len(_SHARES) - 1 else round(share * count)
        for _ in range(_TRIES * max(wanted, 1)):
            if wanted <= 0:
                break
            text = draws[kind]()
            key = spoken_key(text)
            if key and key not in taken:
                taken.add(key)
                found.append(Sentence(text, kind))
                wanted -= 1
    if len(found) < count:
        raise ParleyError(f"only {len(found)} new sentences", where=f"seed {seed}", mend="ask for fewer with --count")
    return found


def _figures(rng: random.Random) -> str:
    """A sentence with a figure, a price, a time, a date or an abbreviation as one writes it."""
    month, day, year = rng.choice(MONTHS), rng.randint(1, 28), rng.randint(1950, 2049)
    digits = "".join(rng.choices("0123456789", k=10))
    name, place, nth = (rng.choice(row.split()) for row in ("Lee Brown Hill", "King Mill Oak", "3rd 5th 8th 10th 12th"))
    first, last, small, large = rng.choice(DAYS), rng.choice(DAYS), rng.randint(2, 11), rng.randint(20, 98)
    forms = [
        f"Dr. {name} can see you on {month} {day} at {small}:{rng.choice(('05', '20', '40'))} p.m.",
        f"The card ending in {digits[:4]} expires in {year}.",
        f"Please call {digits[:3]}-{digits[3:6]}-{digits[6:]} before {small} p.m.",
        f"That is {large} at €{day}.{rng.randint(1, 99):02d} each.",
        f"Your {nth} drink is free until {month} {day}, {year}.",
        f"We are at {large} {place} St., open {first} to {last}.",
        f"It weighs {large}.{rng.randint(1, 9)} kg and costs £{rng.randint(2, 99)}.",
        f"About {large}% of {day},{rng.randint(100, 999)} callers waited {small}-{large} min.",
        f"Mr. and Mrs. {name} have table no. {day}.",
        f"It closed on {small}/{rng.randint(13, 28)}/{rng.randint(2000, 2029)}.",
    ]
    return rng.choice(forms)
