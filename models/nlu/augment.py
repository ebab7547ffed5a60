"""New training sentences from old ones: other values in the slots, rare words made unknown."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.nlu.client import spans
from models.nlu.corpora import Sentence
from models.nlu.words import UNKNOWN


class ValueSwapper:
    """Fills the slots of a sentence with values that other sentences gave the same slot (delexicalise, refill).

    Args:
        rows: training sentences, the only source of values.
        mix_open: share of swaps in open slots (most values said once: titles, names) that join the parts of two
            values, so that the words of a name tell less than the words around it.
    """

    def __init__(self, rows: Sequence[Sentence], mix_open: float = 0.0) -> None:
        values: dict[str, list[tuple[str, ...]]] = defaultdict(list)
        for row in rows:
            for slot, start, end in spans(row.tags):
                values[slot].append(row.words[start:end])
        # Half by frequency, half by kind: common values stay common, rare ones are seen in more sentences.
        self._values = {slot: said + list(dict.fromkeys(said)) for slot, said in values.items()}
        self._open = {slot for slot, said in values.items() if len(said) >= 50 and len(set(said)) > 0.5 * len(said)}
        self._mix_open = mix_open

    def swap(self, row: Sentence, rng: random.Random, share: float) -> Sentence:
        """A sentence with each of its values replaced with probability ``share``."""
        words: list[str] = []
        tags: list[str] = []
        at = 0
        for slot, start, end in spans(row.tags):
            words += row.words[at:start]
            tags += row.tags[at:start]
            value = row.words[start:end]
            if rng.random() < share:
                value = self._value(slot, rng)
            words += value
            tags += [f"{'I' if i else 'B'}-{slot}" for i in range(len(value))]
            at = end
        return Sentence((*words, *row.words[at:]), (*tags, *row.tags[at:]), row.intent)

    def _value(self, slot: str, rng: random.Random) -> tuple[str, ...]:
        value = rng.choice(self._values[slot])
        if slot in self._open and rng.random() < self._mix_open:
            other = rng.choice(self._values[slot])
            return (*value[: rng.randint(1, len(value))], *other[rng.randrange(len(other)) :])[:12]
        return value


class WordDropper:
    """Makes words unknown, rare ones more often (Iyyer et al. 2015; Kiperwasser & Goldberg 2016): ``a / (a + n)``.

    Args:
        numbers: the word numbers of each training sentence.
        size: rows of the word embedding.
        strength: ``a``.
        blank: share of the words made unknown that lose their n-grams too, and are known by their place alone.
    """

    def __init__(self, numbers: Sequence[NDArray[np.int64]], size: int, strength: float, blank: float = 0.0) -> None:
        counts = np.bincount(np.concatenate([*numbers, np.zeros(1, np.int64)]), minlength=size).astype(np.float64)
        self._share = strength / (strength + np.maximum(counts, 1))
        self._blank = blank

    def drop(
        self, ids: NDArray[np.int64], grams: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Word numbers and n-grams of a batch with some words made unknown; padding stays."""
        gone = (rng.random(ids.shape) < self._share[ids]) & (ids != 0)
        if self._blank:
            grams = np.where((gone & (rng.random(ids.shape) < self._blank))[:, :, None], 0, grams)
        return np.where(gone, UNKNOWN, ids), grams
