"""Numbers as callers say them, digit by digit or several at once: from words to digits, and back."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

_FIGURES = re.compile(r"\s*[0-9]+\s*")


@dataclass(frozen=True)
class DigitWords:
    """How the digits of a number are said.

    >>> few = DigitWords({"0": ("zero", "oh"), "3": ("three",), "4": ("four",), "43": ("forty three",)}, {"double": 2})
    >>> few.digits_of(["four", "oh", "double", "three"]), few.digits_of(["forty", "three"]), few.words_of("403")
    ('4033', '43', ['four', 'zero', 'three'])
    """

    ways: Mapping[str, tuple[str, ...]]
    """Digits to the ways to say them, the usual first. Every single digit stands here; several at once may: ``21`` as
    "twenty one". A way has one or several words."""
    repeats: Mapping[str, int]
    """Words before a digit that say it several times: "double three" is 33."""

    @cached_property
    def said(self) -> dict[tuple[str, ...], str]:
        """The words of each way, to its digits."""
        return {tuple(way.split()): digits for digits, ways in self.ways.items() for way in ways}

    @cached_property
    def single(self) -> tuple[str, ...]:
        """Every way to say one digit."""
        return tuple(way for digits, ways in self.ways.items() for way in ways if len(digits) == 1)

    @cached_property
    def vocabulary(self) -> frozenset[str]:
        """Every word that says digits, or how often the next one is said."""
        return frozenset({*self.repeats, *(word for way in self.said for word in way)})

    @cached_property
    def _longest(self) -> int:
        return max(map(len, self.said))

    def says(self, word: str) -> bool:
        """Whether a word says digits, or how often the next one is said. Figures count as what they show."""
        return word in self.vocabulary or _is_figures(word)

    def digits_of(self, words: Sequence[str]) -> str | None:
        """The digits that words say, or None when a word is none. The longest way wins: "twenty one" is 21, not 201."""
        said, times, at = "", 1, 0
        while at < len(words):
            if words[at] in self.repeats and times == 1:
                times, at = self.repeats[words[at]], at + 1
                continue
            digits, length = self._next(words, at)
            if not digits or (times > 1 and len(digits) > 1):
                return None
            said, times, at = said + digits * times, 1, at + length
        return said if said and times == 1 else None

    def _next(self, words: Sequence[str], at: int) -> tuple[str, int]:
        if _is_figures(words[at]):
            return words[at], 1
        for length in range(min(self._longest, len(words) - at), 0, -1):
            if digits := self.said.get(tuple(words[at : at + length])):
                return digits, length
        return "", 0

    def figures_as_words(self, text: str) -> str:
        """A sentence with its figures as words, one a digit: "it is 402" as "it is four zero two"."""
        return _FIGURES.sub(lambda match: f" {' '.join(self.words_of(match[0].strip()))} ", text).strip()

    def words_of(self, digits: str, rng: random.Random | None = None) -> list[str]:
        """Words that say digits one by one, each the usual way; with ``rng`` as callers do: other ways, several digits
        at once, and "double" and "triple"."""
        words = [word for way in self._ways_of(digits, rng) for word in way.split()]
        # Ways side by side may say another number ("twenty", "one"): then each digit is said alone.
        return words if self.digits_of(words) == digits else self.words_of(digits)

    def _ways_of(self, digits: str, rng: random.Random | None) -> Iterator[str]:
        at = 0
        while at < len(digits):
            together = [several for several in self._several if digits.startswith(several, at)]
            if rng and together and rng.random() < 0.5:
                chosen = rng.choice(together)
                yield rng.choice(self.ways[chosen])
                at += len(chosen)
                continue
            run = len(digits) - at - len(digits[at:].lstrip(digits[at]))
            possible = [word for word, times in self.repeats.items() if times <= run]
            repeat = rng.choice(possible) if rng and possible and rng.random() < 0.5 else ""
            usual, *others = self.ways[digits[at]]
            # One other way is not drawn for: a dataset's seed gives what it always gave.
            way = (
                (others[0] if len(others) == 1 else rng.choice(others)) if rng and others and rng.random() < 0.5 else ""
            )
            yield f"{repeat} {way or usual}" if repeat else way or usual
            at += self.repeats.get(repeat, 1)

    @cached_property
    def _several(self) -> tuple[str, ...]:
        return tuple(digits for digits in self.ways if len(digits) > 1)


def _is_figures(word: str) -> bool:
    return word.isascii() and word.isdigit()
