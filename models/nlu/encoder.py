"""Sentences of a corpus as the network reads them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch

from models.nlu.corpora import Sentence
from models.nlu.lexicon import Lexicon
from models.nlu.linear import LinearIntents
from models.nlu.losses import Batch
from models.nlu.words import GRAMS_PER_WORD, WordTable


class Encoder:
    """Sentences to tensors with the words and labels of one run.

    Args:
        table: its words.
        intents: their names in the order of the network's numbers; so ``tags``.
        lexicon: marks the words, if the network reads marks.
        linear: has its say in the intents, if the run has one.
    """

    def __init__(
        self, table: WordTable, intents: Sequence[str], tags: Sequence[str], lexicon: Lexicon | None = None,
        linear: LinearIntents | None = None,
    ) -> None:  # fmt: skip
        self.table, self.intents, self.tags = table, list(intents), list(tags)
        self.lexicon, self.linear = lexicon, linear
        self._intent = {name: i for i, name in enumerate(intents)}
        self._tag = {name: i for i, name in enumerate(tags)}
        self._read = lru_cache(maxsize=20_000)(lambda words: (table.ids(words), table.grams(words)))

    def batch(self, rows: Sequence[Sentence], training: bool = False) -> Batch:
        """Tensors of rows, padded to the longest; of rows in training the lexicon does not know the own values."""
        width = max(len(row.words) for row in rows)
        ids, mask, tags = (np.zeros((len(rows), width), np.int64) for _ in range(3))
        grams = np.zeros((len(rows), width, GRAMS_PER_WORD), np.int64)
        for i, row in enumerate(rows):
            n = len(row.words)
            (ids[i, :n], grams[i, :n]), mask[i, :n] = self._read(row.words), 1
            tags[i, :n] = [self._tag.get(tag, 0) for tag in row.tags]
        intents = torch.tensor([self._intent.get(row.intent, 0) for row in rows])
        marks = None
        if self.lexicon:
            places = np.zeros((len(rows), width, self.lexicon.width), np.float32)
            for i, row in enumerate(rows):
                places[i, : len(row.words)] = self.lexicon.marks(row.words, row.tags if training else ())
            marks = torch.from_numpy(places)
        return Batch(torch.from_numpy(ids), torch.from_numpy(mask), torch.from_numpy(grams),
                     torch.from_numpy(tags), intents, marks)  # fmt: skip
