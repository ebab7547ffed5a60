"""Words as the corpus models read them: a number for each frequent word, and hashed letter n-grams for all words.

The n-grams let a word never seen in training share what its parts learnt (Bojanowski et al. 2017, "Enriching Word
Vectors with Subword Information"). Torch-free: the serving side reads sentences with the same table.
"""

from __future__ import annotations

import json
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parley.errors import ParleyError
from parley.files import write_json

PADDING, UNKNOWN = 0, 1
GRAMS_PER_WORD = 20
WORDS = "words.json"


class WordTable:
    """Numbers for words and their n-grams.

    Args:
        words: those with a number of their own; number 2 is the first.
        buckets: hash buckets of the n-grams, 0 for none; bucket numbers start at 1.
    """

    def __init__(self, words: Sequence[str], buckets: int) -> None:
        self.words, self.buckets = list(words), buckets
        self._number = {word: i + 2 for i, word in enumerate(words)}
        self._grams = lru_cache(maxsize=100_000)(self._grams_of)

    @classmethod
    def learn(cls, sentences: Iterable[Sequence[str]], buckets: int, least: int = 2) -> WordTable:
        """The words said at least ``least`` times, most frequent first, ties by the alphabet."""
        counts = Counter(word for words in sentences for word in words)
        often = sorted((w for w, n in counts.items() if n >= least), key=lambda w: (-counts[w], w))
        return cls(often, buckets)

    @classmethod
    def read(cls, path: Path) -> WordTable:
        """Read what :meth:`write` wrote.

        Raises:
            ParleyError: it is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            return cls(content["words"], content["buckets"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise ParleyError("the words are missing or damaged", where=str(path), mend="export again") from None

    def write(self, path: Path) -> None:
        """Write the table as JSON."""
        write_json(path, {"words": self.words, "buckets": self.buckets})

    @property
    def size(self) -> int:
        """Rows of the word embedding."""
        return len(self.words) + 2

    def ids(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Word numbers, int64 ``[words]``."""
        return np.array([self._number.get(word, UNKNOWN) for word in words], np.int64)

    def grams(self, words: Sequence[str]) -> NDArray[np.int64]:
        """Bucket numbers, int64 ``[words, GRAMS_PER_WORD]``, 0 where a word has fewer."""
        return np.array([self._grams(word) for word in words], np.int64).reshape(len(words), GRAMS_PER_WORD)

    def _grams_of(self, word: str) -> list[int]:
        framed = f"<{word}>"
        parts = [framed, *(framed[:n] for n in (3, 4, 5)), *(framed[-n:] for n in (3, 4, 5)), _shape(word)]
        parts += [framed[i : i + n] for n in (3, 4, 2) for i in range(len(framed) - n + 1)]
        different = list(dict.fromkeys(parts))[:GRAMS_PER_WORD]
        numbers = [zlib.crc32(part.encode()) % self.buckets + 1 for part in different] if self.buckets else []
        return numbers + [0] * (GRAMS_PER_WORD - len(numbers))


def _shape(word: str) -> str:
    """Digits as 9, letters as a, runs of letters as one: ``838`` is ``#999``, ``5pm`` is ``#9a``."""
    marks = ["9" if c.isdigit() else "a" if c.isalpha() else c for c in word]
    return "#" + "".join(m for i, m in enumerate(marks) if m != "a" or i == 0 or marks[i - 1] != "a")
