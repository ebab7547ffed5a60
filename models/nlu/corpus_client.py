"""The NLU implementation `corpus-chain/1`, of models of a corpus: words to intent and slots. Torch-free.

>>> await CorpusClient(bundle, engine, "snips_nlu", 1).parse("play some jazz")
Understanding(intent='PlayMusic', slots={'genre': 'jazz'}, confidence=0.99, out_of_scope=False)
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import Understanding
from models.nlu.client import softmax, spans
from models.nlu.corpora import split_words
from models.nlu.decode import TagDecoder
from models.nlu.judge import Answer
from models.nlu.lexicon import LEXICON, Lexicon
from models.nlu.linear import LINEAR, LinearIntents
from models.nlu.out_of_scope import PLAIN, best_intent
from models.nlu.words import WORDS, WordTable
from parley.errors import ParleyError
from parley.serving.engine import Engine

IMPLEMENTATION = "corpus-chain/1"
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


class Reader:
    """Words in, answers out, with the assets of one bundle: the client without the engine.

    Raises:
        ParleyError: the bundle lacks a file or a file is damaged.
    """

    def __init__(self, bundle: Path) -> None:
        self._table = WordTable.read(bundle / WORDS)
        self._lexicon = Lexicon.read(bundle / LEXICON) if (bundle / LEXICON).exists() else None
        self._linear = LinearIntents.read(bundle / LINEAR) if (bundle / LINEAR).exists() else None
        try:
            content = json.loads((bundle / CHAIN).read_text(encoding="utf-8"))
            self._intents, self._tags = content["intents"], content["tags"]
            self._decoder = TagDecoder(*(np.array(content[name], np.float32) for name in ("start", "pairs")))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise ParleyError("the chain is missing or damaged", where=str(bundle), mend="export again") from None

    def feeds(self, words: Sequence[str]) -> dict[str, NDArray[Any]]:
        """See `feeds`."""
        return feeds(self._table, self._lexicon, words)

    def scores(self, words: Sequence[str], intent_logits: NDArray[Any]) -> NDArray[Any]:
        """Scores ``[intents]`` of a sentence: the network's, with those of the linear model where there is one."""
        return self._linear.add(intent_logits, words) if self._linear else intent_logits

    def answer(self, words: Sequence[str], scores: NDArray[Any], tag_logits: NDArray[Any] | None) -> Answer:
        """Scores ``[intents]`` and ``[words, tags]``, None of a corpus without slots, to intent and tags."""
        path = [0] * len(words) if tag_logits is None else self._decoder.best(tag_logits)
        intent, in_scope = best_intent(scores, self._intents)
        return Answer(intent, tuple(self._tags[i] for i in path), in_scope)


class CorpusClient:
    """Understands sentences with one version. A slot's value is its words; the confidence is the intent's, and not
    calibrated.

    Raises:
        ParleyError: the bundle lacks a file or a file is damaged.
    """

    def __init__(self, bundle: Path, engine: Engine, model: str, version: int) -> None:
        self._reader = Reader(bundle)
        self._engine, self._model, self._version = engine, model, version

    async def parse(self, text: str) -> Understanding:
        """See `models.contracts.NluClient`."""
        words = split_words(text)
        if not words:
            return Understanding("", {}, 1.0, True)
        got = await self._engine.infer(self._model, self._version, self._reader.feeds(words))
        scores, tags = self._reader.scores(words, got["intent_logits"][0]), got.get("tag_logits")
        (answer,) = PLAIN.apply([self._reader.answer(words, scores, None if tags is None else tags[0])])
        slots = {slot: " ".join(words[start:end]) for slot, start, end in spans(answer.tags)}
        outside = answer.in_scope < PLAIN.value
        return Understanding(answer.intent, {} if outside else slots, float(softmax(scores).max()), outside)
