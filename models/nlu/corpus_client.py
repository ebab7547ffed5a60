"""The torch-free side of a model of a corpus: a sentence's words to intent and tags. Reads only its bundle.

>>> CorpusClient(Path("runs/nlu-snips-1/bundle")).parse(("play", "some", "jazz"))
Answer(intent='PlayMusic', tags=('O', 'O', 'B-genre'), in_scope=inf)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.nlu.decode import TagDecoder
from models.nlu.judge import Answer
from models.nlu.lexicon import LEXICON, Lexicon
from models.nlu.linear import LINEAR, LinearIntents
from models.nlu.out_of_scope import best_intent
from models.nlu.words import WORDS, WordTable
from parley.errors import ParleyError

INPUTS = ("input_ids", "attention_mask", "gram_ids")
MARKS = "marks"
"""A further input of a model with a lexicon."""
OUTPUTS = ("intent_logits", "tag_logits")
"""A model of a corpus without slots has the first alone."""
CHAIN = "chain.json"


def feeds(table: WordTable, lexicon: Lexicon | None, words: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The network's inputs for one sentence: int64 [1, words] twice and [1, words, grams]; marks of the lexicon."""
    ids = table.ids(words)[None]
    fed: dict[str, NDArray[Any]] = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    fed["gram_ids"] = table.grams(words)[None]
    return fed | {MARKS: lexicon.marks(words)[None]} if lexicon else fed


class CorpusClient:
    """Understands sentences with an exported model, in this process, on one thread.

    Raises:
        ParleyError: the bundle lacks a file or a file is damaged.
    """

    def __init__(self, bundle: Path) -> None:
        import onnxruntime

        self.table = WordTable.read(bundle / WORDS)
        self.lexicon = Lexicon.read(bundle / LEXICON) if (bundle / LEXICON).exists() else None
        self.linear = LinearIntents.read(bundle / LINEAR) if (bundle / LINEAR).exists() else None
        try:
            content = json.loads((bundle / CHAIN).read_text(encoding="utf-8"))
            self.intents, self.tags = content["intents"], content["tags"]
            self._decoder = TagDecoder(*(np.array(content[name], np.float32) for name in ("start", "pairs")))
        except (FileNotFoundError, ValueError, KeyError):
            raise ParleyError("the chain is missing or damaged", where=str(bundle), mend="export again") from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        graph = str(bundle / "model.onnx")
        self._session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def parse(self, words: Sequence[str]) -> Answer:
        """Understand one sentence of at least one word."""
        intents, *tags = self._session.run(None, feeds(self.table, self.lexicon, words))
        path = self._decoder.best(tags[0][0]) if tags else [0] * len(words)
        heard = self.linear.add(intents[0], words) if self.linear else intents[0]
        intent, in_scope = best_intent(heard, self.intents)
        return Answer(intent, tuple(self.tags[i] for i in path), in_scope)
