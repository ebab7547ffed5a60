"""What the synthetic callers of a dataset say, and who says it."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.accents import foreigners
from models.callers import SAME_SPEAKER, Voice, speakers, vary
from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.errors import ParleyError
from parley.language import Language
from parley.text_files import read_lines

SYNTHETIC, FOREIGN, ALONE = "syn-", "foreign-", "alone-"
"""Kinds of callers, by which their rows' names begin. ``ALONE``: words said one by one, to be joined as strings."""
_FLITE_TAKES = 8


@dataclass(frozen=True)
class Plan:
    """One utterance: what is said, what it means, and the voice."""

    kind: str
    text: str
    intent: str
    slots: dict[str, str]
    voice: Voice


def utterance_plans(bot: Bot, n: int, seed: int, others: Sequence[str] = ()) -> Iterator[Plan]:
    """What is said and by whom. One in five is the bot's words in random order: the acoustic model must not
    learn the grammar, which is the decoder's part, and needs speech that is no request at all. ``others`` are
    cut into pieces of up to eight words: phones in every order, so that other speech is heard as what it is."""
    words = _Words(bot, others)
    voices = speakers(bot.speech)
    flite = [v for v in voices if v.engine == "flite"]
    rng = random.Random(f"synthetic|{seed}")
    for _ in range(n):
        said = words.draw(rng)
        # flite's recorded voices sound nearer to people than espeak-ng's formants: one utterance in three.
        voice = rng.choice(flite) if flite and rng.random() < 0.33 else rng.choice(voices)
        if voice.name in SAME_SPEAKER:
            continue
        yield Plan(SYNTHETIC, *said, vary(voice, rng))


def foreign_plans(bot: Bot, n: int, seed: int, others: Sequence[str] = ()) -> Iterator[Plan]:
    """As :func:`utterance_plans`, every voice with a foreign accent.

    Raises:
        ParleyError: some are asked for, and nothing is known of foreigners who speak the bot's language.
    """
    words, voices = _Words(bot, others), foreigners(bot.speech)
    if n and not voices:
        raise ParleyError("no foreign accents of this language", where=bot.language, mend="leave out --foreign")
    rng = random.Random(f"foreign|{seed}")
    for _ in range(n):
        yield Plan(FOREIGN, *words.draw(rng), vary(rng.choice(voices), rng))


def alone_plans(language: Language, seed: int) -> Iterator[Plan]:
    """Every voice says every word of a number, each in a mood of its own; flite's few, nearer to people, more often."""
    rng, digits = random.Random(f"alone|{seed}"), language.digits
    words = (*digits.single, *digits.repeats)
    said = [(v, word) for v in speakers(language) if v.name not in SAME_SPEAKER for word in words
            for _ in range(_FLITE_TAKES if v.engine == "flite" else 1)]  # fmt: skip
    said += [(v, word) for v in foreigners(language) for word in digits.single]
    for voice, word in said:
        yield Plan(ALONE, word, "", {}, vary(voice, rng))


class _Words:
    """Draws what is said: text, intent and slots."""

    def __init__(self, bot: Bot, others: Sequence[str]) -> None:
        self._grammar, self._others = Grammar(bot), others
        self._words = self._grammar.words()

    def draw(self, rng: random.Random) -> tuple[str, str, dict[str, str]]:
        if self._others and rng.random() < 0.2:
            return _piece(rng.choice(self._others).split(), rng), "", {}
        if rng.random() < 0.2:
            return " ".join(rng.choices(self._words, k=rng.randint(1, 7))), "", {}
        drawn = self._grammar.sample(rng)
        return drawn.text, drawn.intent, drawn.slots


def _piece(words: list[str], rng: random.Random) -> str:
    length = min(len(words), rng.randint(2, 8))
    start = rng.randint(0, len(words) - length)
    return " ".join(words[start : start + length])


def read_sentences(path: Path, language: Language) -> list[str]:
    """Sentences of a text file, one a line: words of the language in lower case; others are left out.

    Raises:
        ParleyError: there is no such file, or no sentence in it.
    """
    if not path.is_file():
        raise ParleyError("no such file", where=str(path), mend="give a text file, a sentence a line")
    allowed = {*language.letters.small, *language.letters.inner, " "}
    found = [line for line in map(str.strip, read_lines(path)) if line and set(line) <= allowed]
    if not found:
        raise ParleyError("no sentence in it", where=str(path), mend="a sentence a line, lower case, no digits")
    return found
