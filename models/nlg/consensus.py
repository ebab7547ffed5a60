"""Of many replies the one most like the others: minimum Bayes risk decoding, with BLEU as the gain.

Instead of every pair, a reply is compared with the expected n-gram counts of all: DeNero, Chiang and Knight 2009, "Fast
Consensus Decoding over Translation Forests". A test meaning has some references, of which BLEU takes the best match of
an n-gram: an n-gram of probability p is in one of k references with 1 - (1 - p)^k.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

_ORDERS = 4

Gram = tuple[str, ...]


def grams_of(words: Sequence[str]) -> list[Counter[Gram]]:
    """Counts of n-grams, for n of 1 to 4."""
    return [Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1)) for n in range(1, _ORDERS + 1)]


class Consensus:
    """Expected n-grams of a set of replies.

    Args:
        replies: words of each; one drawn twice counts twice.
        references: how many references a reply would be compared with.
    """

    def __init__(self, replies: Sequence[Sequence[str]], references: float = 1.0) -> None:
        self._total, self._references = len(replies), references
        self._at_least: Counter[tuple[Gram, int]] = Counter()
        for words in replies:
            for counts in grams_of(words):
                self._at_least.update((gram, n) for gram, count in counts.items() for n in range(1, count + 1))
        self._length = sum(map(len, replies)) / max(1, len(replies))

    def gain(self, words: Sequence[str]) -> float:
        """Expected BLEU of a reply, 0 to 1."""
        logs = 0.0
        for counts in grams_of(words):
            there = sum(counts.values())
            found = sum(self._chance(gram, n) for gram, count in counts.items() for n in range(1, count + 1))
            logs += math.log((found + 0.1) / (there + 0.1)) if there else 0.0
        brevity = min(0.0, 1 - self._length / max(1, len(words)))
        return math.exp(logs / _ORDERS + brevity)

    def _chance(self, gram: Gram, n: int) -> float:
        return 1.0 - (1.0 - self._at_least[gram, n] / self._total) ** self._references


def ranked(replies: Sequence[tuple[Sequence[str], float]], allowed: Sequence[bool], weight: float = 0.0) -> list[int]:
    """Places of the different allowed replies, the best first; all replies vote.

    Args:
        replies: words of each and its log-probability.
        allowed: which may be chosen.
        weight: of the log-probability beside the gain.
    """
    consensus = Consensus([words for words, _ in replies if words])
    first: dict[tuple[str, ...], int] = {}
    for place, (words, _) in enumerate(replies):
        if allowed[place] and words:
            first.setdefault(tuple(words), place)
    score = {place: consensus.gain(words) + weight * replies[place][1] for words, place in first.items()}
    return sorted(score, key=lambda place: -score[place])
