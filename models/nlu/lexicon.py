"""Which runs of words were values of which slot in training: marks that tell a value heard before from a new one.

A country is mostly said again, a town mostly is not; n-grams of letters do not tell. In training a sentence's own
values are taken out of the counts first, so that the marks are as rare there as in a sentence never seen. Torch-free.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.nlu.client import spans
from models.nlu.corpora import Sentence
from parley.errors import ParleyError
from parley.files import write_json

LEXICON = "lexicon.json"
_LONGEST = 8
"""Words of the longest value kept: longer ones are titles, hardly said twice."""


class Lexicon:
    """Values of slots and how often each was said.

    Args:
        slots: their names; marks come in this order.
        counts: of ``(slot, value)``.
    """

    def __init__(self, slots: Sequence[str], counts: Counter[tuple[str, tuple[str, ...]]]) -> None:
        self.slots, self._counts = list(slots), counts
        column = {slot: 2 * i for i, slot in enumerate(self.slots)}
        self._said: dict[tuple[str, ...], list[tuple[int, str, int]]] = {}
        for (slot, value), n in counts.items():
            self._said.setdefault(value, []).append((column[slot], slot, n))
        self._beginnings = {value[:n] for value in self._said for n in range(1, len(value) + 1)}

    @classmethod
    def learn(cls, rows: Iterable[Sentence]) -> Lexicon:
        """The values of training sentences, the only source."""
        counts = Counter(
            (slot, row.words[start:end])
            for row in rows
            for slot, start, end in spans(row.tags)
            if end - start <= _LONGEST
        )
        return cls(sorted({slot for slot, _ in counts}), counts)

    @classmethod
    def read(cls, path: Path) -> Lexicon:
        """Read what :meth:`write` wrote.

        Raises:
            ParleyError: it is missing or damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            counts = Counter({(slot, tuple(value)): int(n) for slot, value, n in content["values"]})
            return cls(content["slots"], counts)
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise ParleyError("the lexicon is missing or damaged", where=str(path), mend="export again") from None

    def write(self, path: Path) -> None:
        """Write the values as JSON."""
        values = [[slot, value, n] for (slot, value), n in self._counts.items()]
        write_json(path, {"slots": self.slots, "values": values})

    @property
    def width(self) -> int:
        """Marks a word."""
        return 2 * len(self.slots)

    def marks(self, words: Sequence[str], tags: Sequence[str] = ()) -> NDArray[np.float32]:
        """Two marks a slot for each word, float32 [words, width]: it begins a value heard before, it goes on in one.

        A value heard ``n`` times counts ``n / (1 + n)``.

        Args:
            words: a sentence.
            tags: those of a training sentence: its own values are taken out of the counts.
        """
        own = Counter((slot, tuple(words[start:end])) for slot, start, end in spans(tags))
        marked: dict[tuple[int, int], float] = {}
        for start in range(len(words)):
            for end in range(start + 1, min(start + _LONGEST, len(words)) + 1):
                value = tuple(words[start:end])
                if value not in self._beginnings:
                    break
                for column, slot, n in self._said.get(value, ()):
                    heard = max(0, n - own[slot, value]) if own else n
                    strength = heard / (1 + heard)
                    for place in ((start, column), *((word, column + 1) for word in range(start + 1, end))):
                        if strength > marked.get(place, 0.0):
                            marked[place] = strength
        found = np.zeros((len(words), self.width), np.float32)
        if marked:  # all at once: numbers put one by one into an array took half of the time
            found[tuple(np.array(list(marked)).T)] = list(marked.values())
        return found
