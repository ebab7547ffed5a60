"""Word vectors from which words stand near which, in unlabelled sentences: where the word embedding starts.

Positive pointwise mutual information of words within a few words of each other, factorised (Levy & Goldberg 2014,
"Neural Word Embedding as Implicit Matrix Factorization"; exponents of Levy, Goldberg & Dagan 2015). Seconds, not
hours, and nothing but the sentences given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SMOOTHING = 0.75
"""Exponent of a context's count: rare contexts tell less than they seem to."""


def word_vectors(
    sentences: Iterable[Sequence[str]], words: Sequence[str], width: int, window: int = 4
) -> NDArray[np.float32]:
    """Vectors of ``words``, float32 [words, width], of mean 0 and the same length on average in each column.

    A context counts by its distance: a neighbour once, a word ``window`` away ``1 / window`` times. The edges of a
    sentence are contexts too.
    """
    left, strength = _factors(_ppmi(_counts(sentences, {word: i for i, word in enumerate(words)}, window)), width)
    left *= np.sign(left[np.abs(left).argmax(0), np.arange(len(strength))])  # the sign of a factor is arbitrary
    vectors = np.zeros((len(words), width), np.float32)
    vectors[:, : len(strength)] = left * np.sqrt(strength)
    return vectors


def _factors(table: Any, rank: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The largest singular values of a sparse matrix and their left vectors, by a seeded random projection.

    Halko, Martinsson & Tropp 2011, "Finding Structure with Randomness", algorithm 4.4. ARPACK draws unseeded numbers.
    """
    rank = min(rank, min(table.shape))
    spare = min(rank + 32, min(table.shape))
    basis = np.linalg.qr(table @ np.random.default_rng(0).normal(size=(table.shape[1], spare)))[0]
    for _ in range(4):
        basis = np.linalg.qr(table @ np.linalg.qr(table.T @ basis)[0])[0]
    left, strength, _ = np.linalg.svd((table.T @ basis).T, full_matrices=False)
    return (basis @ left)[:, :rank], strength[:rank]


def _counts(sentences: Iterable[Sequence[str]], number: dict[str, int], window: int) -> Any:
    """Sparse [words, contexts]; the last three contexts are an edge before, an edge after and any other word."""
    from scipy.sparse import coo_matrix

    before, after, other = (len(number) + i for i in range(3))
    rows, columns, weights = [], [], []
    for words in sentences:
        numbers = [before, *(number.get(word, other) for word in words), after]
        for at in range(1, len(numbers) - 1):
            if numbers[at] == other:
                continue
            for near in range(max(0, at - window), min(len(numbers), at + window + 1)):
                if near != at:
                    rows.append(numbers[at])
                    columns.append(numbers[near])
                    weights.append(1 / abs(near - at))
    return coo_matrix((weights, (rows, columns)), (len(number), len(number) + 3)).tocsr()


def _ppmi(counts: Any) -> Any:
    found = counts.tocoo()
    own = np.asarray(counts.sum(1)).ravel()
    context = np.asarray(counts.sum(0)).ravel() ** _SMOOTHING
    share = found.data * context.sum() / (own[found.row] * context[found.col])
    found.data = np.maximum(0.0, np.log(share))
    return found.tocsr()
