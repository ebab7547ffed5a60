"""The NLG implementation `corpus-meaning/1`, of a corpus of meanings: a meaning to a checked text. Torch-free.

>>> client = CorpusClient(bundle, engine, "e2e_nlg", 1)
>>> reply = await client.generate("inform", {"name": "Cotto", "eatType": "pub", "food": "Italian"})
>>> reply.text
'Cotto is a pub that serves Italian food.'

Every reply says every value that was asked for and no other, by the patterns in the bundle: the network's usual reply
if it does, else the first of its other styles that does, else the first that does with plain sentences for what it
misses, else plain sentences, a value each.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import Reply
from models.nlg.check import plain, repaired, says_exactly, single
from models.nlg.client import TOKENIZER
from models.nlg.corpora import SLOTS, Meaning
from models.nlg.delexicalise import written
from models.nlg.prompts import ACT, STYLES, encode_meaning
from models.nlg.realisations import Patterns
from models.tokenizer import read_tokenizer
from parley.errors import ParleyError
from parley.serving.engine import Engine

IMPLEMENTATION = "corpus-meaning/1"
SLOTS_FILE = "slots.json"
_MEND = "export the run again"


@dataclass
class Counts:
    """What a client has done so far."""

    replies: int = 0
    retries: int = 0
    """Replies whose usual wording failed the check ..."""
    repairs: int = 0
    """... of those the ones that got plain sentences for what no style said ..."""
    fallbacks: int = 0
    """... and the ones that are plain sentences alone."""
    tokens: int = 0
    """Tokens the network wrote, end marks too."""


class CorpusClient:
    """Says meanings with one exported model.

    Raises:
        ParleyError: the bundle lacks a file or a file is damaged.
    """

    def __init__(self, bundle: Path, engine: Engine, model: str = "", version: int = 0) -> None:
        self._tokenizer = read_tokenizer(bundle / TOKENIZER)
        self._vocab = self._tokenizer.get_vocab()
        self._engine, self._model, self._version = engine, model, version
        try:
            self._patterns = Patterns(json.loads((bundle / SLOTS_FILE).read_text(encoding="utf-8")))
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            raise ParleyError("the slots are missing or damaged", where=str(bundle), mend=_MEND) from None
        self.counts = Counts()

    async def generate(self, act: str, slots: dict[str, str]) -> Reply:
        """See `models.contracts.NlgClient`; the corpus has one act, `ACT`, and slots of its own."""
        if act != ACT or not slots or not slots.keys() <= set(SLOTS):
            raise ParleyError(
                f"{act} of {', '.join(slots) or 'nothing'} is not of this corpus",
                where=self._model,
                mend=f"{ACT} with slots of {', '.join(SLOTS)}",
            )
        return await self.say(tuple(sorted(slots.items(), key=lambda pair: SLOTS.index(pair[0]))))

    async def say(self, meaning: Meaning) -> Reply:
        """Word a meaning, in which a slot may have several values.

        Raises:
            EngineError: the model did not answer.
        """
        self.counts.replies += 1
        (usual,) = await self.wordings(meaning, (0,))
        if says_exactly(usual, meaning, self._patterns):
            return Reply(written(usual, meaning), fallback=False)
        self.counts.retries += 1
        others = await self.wordings(meaning, range(1, STYLES))
        for text in others:
            if says_exactly(text, meaning, self._patterns):
                return Reply(written(text, meaning), fallback=False)
        fewer = await self.wordings(single(meaning), (0,)) if single(meaning) != meaning else []
        for text in (usual, *others, *fewer):
            mended = repaired(text, meaning, self._patterns)
            if mended:
                self.counts.repairs += 1
                return Reply(written(mended, meaning), fallback=False)
        self.counts.fallbacks += 1
        return Reply(plain(meaning, self._patterns.spec), fallback=True)

    async def wordings(self, meaning: Meaning, styles: Iterable[int]) -> list[str]:
        """What the network writes in some styles, with placeholders, unchecked; empty for a meaning it cannot read."""
        styles = list(styles)
        prompts = [encode_meaning(self._vocab, meaning, style) for style in styles]
        if any(prompt is None for prompt in prompts):
            return [""] * len(styles)
        answer = await self._engine.infer(self._model, self._version, {"prompt_ids": np.stack(prompts)})  # type: ignore[arg-type]
        return [self._text(row, len(prompts[0])) for row in answer["tokens"]]  # type: ignore[arg-type]

    def _text(self, tokens: NDArray[Any], width: int) -> str:
        ids, end = tokens[width:].tolist(), self._vocab["[EOS]"]
        self.counts.tokens += sum(token != 0 for token in ids)
        ids = ids[: ids.index(end)] if end in ids else []
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))
