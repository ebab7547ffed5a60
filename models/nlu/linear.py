"""Intents by a linear model of hashed n-grams, and its say beside the network's.

Words, pairs of words and letter n-grams within words, weighted by inverse document frequency; one squared hinge a
label, as LIBLINEAR solves it (Fan et al. 2008). It errs elsewhere than the network: their sum errs less
than either. Serving needs NumPy alone.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.nlu.corpora import Corpus
from parley.errors import ParleyError
from parley.files import write_atomic

LINEAR = "linear.npz"
_LETTERS = range(2, 6)
_HINGE_WEIGHT = 1.0
"""Of the squared hinge against half the squared weights."""
_STEPS = 60
_SHARPNESS, _WEIGHT = 8.0, 1.0
"""Of the linear scores before they become probabilities, and of their logarithm against the network's."""


class LinearIntents:
    """The linear model.

    Args:
        idf: of each bucket, float32 [buckets].
        weights: float32 [buckets, intents].
        bias: float32 [intents].
    """

    def __init__(self, idf: NDArray[Any], weights: NDArray[Any], bias: NDArray[Any]) -> None:
        self.idf, self.weights, self.bias = (np.asarray(part, np.float32) for part in (idf, weights, bias))

    @classmethod
    def learn(
        cls, sentences: Sequence[Sequence[str]], labels: Sequence[int], intents: int, buckets: int
    ) -> LinearIntents:
        """Fit it, with L-BFGS; the same sentences give the same weights.

        Args:
            sentences: words of each.
            labels: the number of each one's intent.
            intents: how many there are.
            buckets: hash buckets.
        """
        from scipy.optimize import minimize

        counted = [_buckets(words, buckets) for words in sentences]
        said = np.bincount(np.concatenate([found for found, _ in counted]), minlength=buckets)
        idf = np.log((1 + len(counted)) / (1 + said)) + 1
        table = _table([_weighted(counts, idf) for counts in counted], buckets)
        wanted = np.full((len(labels), intents), -1.0, np.float32)
        wanted[np.arange(len(labels)), labels] = 1
        shape = (buckets + 1, intents)

        def cost(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            weights = flat.reshape(shape).astype(np.float32)
            short = np.maximum(0, 1 - wanted * (table @ weights))
            slope = weights - 2 * _HINGE_WEIGHT * (table.T @ (wanted * short))
            total = (weights**2).sum(dtype=np.float64) / 2 + _HINGE_WEIGHT * (short**2).sum(dtype=np.float64)
            return float(total), slope.ravel().astype(np.float64)

        options = {"maxiter": _STEPS, "maxcor": 5}
        found = minimize(cost, np.zeros(shape).ravel(), jac=True, method="L-BFGS-B", options=options)
        weights = found.x.reshape(shape)
        return cls(idf, weights[:-1].astype(np.float16), weights[-1])

    @classmethod
    def read(cls, path: Path) -> LinearIntents:
        """Read what :meth:`write` wrote.

        Raises:
            ParleyError: it is missing or damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as found:
                return cls(found["idf"], found["weights"], found["bias"])
        except (FileNotFoundError, ValueError, KeyError, OSError):
            raise ParleyError("the linear model is missing or damaged", where=str(path), mend="export again") from None

    def write(self, path: Path) -> None:
        """Write it; weights in half precision, as they were learnt."""
        file = io.BytesIO()
        np.savez(file, idf=self.idf, weights=self.weights.astype(np.float16), bias=self.bias)
        write_atomic(path, file.getvalue())

    @property
    def parameters(self) -> int:
        """Numbers learnt."""
        return int(self.idf.size + self.weights.size + self.bias.size)

    def add(self, logits: NDArray[Any], words: Sequence[str]) -> NDArray[Any]:
        """The network's log probabilities of intents [intents] plus this model's."""
        buckets, weights = _weighted(_buckets(words, len(self.idf)), self.idf)
        mine = weights @ self.weights[buckets] + self.bias
        return _log_softmax(np.asarray(logits, np.float32)) + _WEIGHT * _log_softmax(_SHARPNESS * mine)


def learn_once(run: Path, corpus: Corpus, buckets: int, *, resume: bool) -> LinearIntents:
    """The linear model of a run's corpus; a resumed run keeps the one that its directory has."""
    if not (resume and (run / LINEAR).exists()):
        labels = [corpus.intents.index(row.intent) for row in corpus.train]
        words = [row.words for row in corpus.train]
        LinearIntents.learn(words, labels, len(corpus.intents), buckets).write(run / LINEAR)
    return LinearIntents.read(run / LINEAR)


def _log_softmax(scores: NDArray[Any]) -> NDArray[Any]:
    low = scores - scores.max()
    kept: NDArray[Any] = low - np.log(np.exp(low).sum())
    return kept


Counts = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Different buckets, and how often each is there."""


def _buckets(words: Sequence[str], buckets: int) -> Counts:
    pairs = [zlib.crc32(f"{one} {other}".encode()) % buckets for one, other in zip(words, words[1:], strict=False)]
    found = np.concatenate([np.array(pairs, np.int64), *(_word_buckets(word, buckets) for word in words)])
    different, counts = np.unique(found, return_counts=True)
    return different, counts


@lru_cache(maxsize=100_000)
def _word_buckets(word: str, buckets: int) -> NDArray[np.int64]:
    """Of a word and its letter n-grams, the word's edges marked."""
    framed = f" {word} "
    parts = [f"={word}", *(framed[i : i + n] for n in _LETTERS for i in range(len(framed) - n + 1))]
    return np.array([zlib.crc32(f"#{part}".encode()) % buckets for part in parts], np.int64)


def _weighted(found: Counts, idf: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Buckets and their weights, of Euclidean length 1."""
    buckets, counts = found
    weights = (1 + np.log(counts)) * idf[buckets]
    return buckets, (weights / np.linalg.norm(weights)).astype(np.float32)


def _table(rows: Sequence[tuple[NDArray[Any], NDArray[Any]]], buckets: int) -> Any:
    """Sparse [rows, buckets + 1]; the last column is 1, for the bias."""
    from scipy.sparse import csr_matrix

    starts = np.cumsum([0, *(len(ids) + 1 for ids, _ in rows)])
    columns = np.concatenate([np.append(ids, buckets) for ids, _ in rows])
    values = np.concatenate([np.append(weights, 1) for _, weights in rows]).astype(np.float32)
    return csr_matrix((values, columns, starts), (len(rows), buckets + 1))
