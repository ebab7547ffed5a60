"""The NLU implementation `joint-bio/1`: sentence to tensors, scores to intent and slots. Torch-free.

>>> understanding = await JointBioClient(bundle, engine, "barista_nlu", 1).parse("a large latte please")
>>> understanding.slots
{'size': 'large', 'coffeeDrink': 'latte'}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from tokenizers import Tokenizer

from models.contracts import Understanding
from models.tokenizer import read_tokenizer
from parley.bot.slots import canonicalise
from parley.bot.spec import SlotSpec
from parley.errors import ParleyError
from parley.language import DEFAULT, Language, language_of
from parley.serving.engine import Engine

IMPLEMENTATION = "joint-bio/1"
TOKENIZER = "tokenizer.json"
LABELS = "labels.json"
_BUCKET = 16
"""Lengths are padded to multiples of this, so that a server can batch sentences of different lengths."""
_MEND = "publish or export the version again"


class Labels(BaseModel):
    """``labels.json``: what the network's numbers mean."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    intents: list[str]
    tags: list[str]
    slots: dict[str, SlotSpec]
    out_of_scope: str
    threshold: float
    """An intent less probable than this is out of scope; chosen on the validation rows."""
    max_tokens: int
    language: str = DEFAULT
    """The bot's: a version that names none was trained when there was one language."""

    @cached_property
    def speech(self) -> Language:
        """What the language knows."""
        return language_of(self.language)


@dataclass(frozen=True)
class Encoded:
    """A sentence as the network reads it."""

    words: list[str]
    ids: list[int]
    """Word pieces, at most ``max_tokens``."""
    first: list[int]
    """For each word that was read, the place of its first piece."""


def read_labels(path: Path) -> Labels:
    """Read a ``labels.json``.

    Raises:
        ParleyError: it is missing or damaged.
    """
    try:
        return Labels.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ParleyError("the labels are missing", where=str(path), mend=_MEND) from None
    except (ValueError, ValidationError):
        raise ParleyError("the labels are damaged", where=str(path), mend=_MEND) from None


def encode(tokenizer: Tokenizer, text: str | Sequence[str], max_tokens: int) -> Encoded:
    """Split a sentence into words and pieces; what is past ``max_tokens`` pieces is left out."""
    if isinstance(text, str):
        text = text[:4000]  # far beyond what is read; keeps hostile input cheap
    else:
        text = " ".join(text)
    words = tokenizer.normalizer.normalize_str(text).split()
    encoding = tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
    first: dict[int, int] = {}
    for place, word in enumerate(encoding.word_ids[:max_tokens]):
        if word is not None:
            first.setdefault(word, place)
    return Encoded(words[: len(first)], encoding.ids[:max_tokens], list(first.values()))


def spans(tags: Sequence[str]) -> list[tuple[str, int, int]]:
    """``(slot, start, end)`` of BIO tags, read as conlleval reads them: an I without its B opens a span."""
    found: list[tuple[str, int, int]] = []
    slot, start = "", 0
    for at, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if slot and (mark != "I" or name != slot):
            found.append((slot, start, at))
            slot = ""
        if mark in ("B", "I") and not slot:
            slot, start = name, at
    return found


def fill(
    words: Sequence[str], tags: Sequence[str], specs: dict[str, SlotSpec], language: Language
) -> tuple[dict[str, str], bool]:
    """Canonical values of tagged words.

    Returns:
        The slots, and whether every span was a value of its slot. A slot said twice keeps the later value: callers
        correct themselves forwards.
    """
    slots: dict[str, str] = {}
    whole = True
    for slot, start, end in spans(tags):
        if specs[slot].type == "digits":
            start, end = _whole_number(words, tags, start, end, language)
        value = _value(specs[slot], words[start:end], language)
        if value is None:
            whole = False
            continue
        slots.pop(slot, None)
        slots[slot] = value
    return slots, whole


def _whole_number(
    words: Sequence[str], tags: Sequence[str], start: int, end: int, language: Language
) -> tuple[int, int]:
    """A span of digits with the digits beside it that no slot has: a number is whole, or it is another number."""
    while start > 0 and tags[start - 1] == "O" and language.digits.says(words[start - 1]):
        start -= 1
    while end < len(words) and tags[end] == "O" and language.digits.says(words[end]):
        end += 1
    return start, end


def _value(spec: SlotSpec, words: Sequence[str], language: Language) -> str | None:
    """The value of a span, or of the longest part of it that is one (a stray word at its edge does no harm).

    A part of a number is another number: of digits, all that were said are the value, or there is none.
    """
    if spec.type == "digits":
        numbers = [at for at, word in enumerate(words) if language.digits.says(word)]
        return canonicalise(spec, " ".join(words[numbers[0] : numbers[-1] + 1]), language) if numbers else None
    for length in range(len(words), 0, -1):
        for start in range(len(words) - length + 1):
            value = canonicalise(spec, " ".join(words[start : start + length]), language)
            if value is not None:
                return value
    return None


def softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """Over the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


class JointBioClient:
    """Understands sentences with one version of a bot's NLU.

    Raises:
        ParleyError: the bundle's tokenizer or labels are missing or damaged.
    """

    def __init__(self, bundle_dir: Path, engine: Engine, model: str, version: int) -> None:
        self._tokenizer = read_tokenizer(bundle_dir / TOKENIZER)
        self._labels = read_labels(bundle_dir / LABELS)
        self._engine, self._model, self._version = engine, model, version

    async def parse(self, text: str) -> Understanding:
        """Understand one sentence. Nothing said is out of scope with full confidence.

        Raises:
            EngineError: the model did not answer.
        """
        labels = self._labels
        if any(spec.type == "digits" for spec in labels.slots.values()):
            text = labels.speech.digits.figures_as_words(
                text
            )  # as the bot's phrases say them, which the network learned from
        said = encode(self._tokenizer, text, labels.max_tokens)
        if not said.ids:
            return Understanding(labels.out_of_scope, {}, 1.0, True)
        answer = await self._engine.infer(self._model, self._version, feeds(said, labels.max_tokens))
        return understand(said, answer["intent_logits"][0], answer["tag_logits"][0], labels)


def feeds(said: Encoded, max_tokens: int) -> dict[str, NDArray[Any]]:
    """The network's inputs for one sentence: int64 [1, tokens], padded to a bucket."""
    width = min(max_tokens, -(-len(said.ids) // _BUCKET) * _BUCKET)
    ids = np.zeros((1, width), np.int64)
    ids[0, : len(said.ids)] = said.ids
    mask = np.zeros((1, width), np.int64)
    mask[0, : len(said.ids)] = 1
    return {"input_ids": ids, "attention_mask": mask}


def understand(said: Encoded, intent_logits: NDArray[Any], tag_logits: NDArray[Any], labels: Labels) -> Understanding:
    """Scores of one sentence ([intents] and [tokens, tags], calibrated) to its meaning."""
    intents = softmax(intent_logits)
    best = int(intents.argmax())
    intent, sure = labels.intents[best], float(intents[best])
    if intent == labels.out_of_scope:
        return Understanding(intent, {}, sure, True)
    if sure < labels.threshold:
        return Understanding(labels.out_of_scope, {}, 1 - sure, True)
    tags = softmax(tag_logits[said.first])  # [words, tags]
    slots, whole = fill(said.words, [labels.tags[i] for i in tags.argmax(-1)], labels.slots, labels.speech)
    confidence = sure * float(tags.max(-1).min()) * (1.0 if whole else 0.5)
    return Understanding(intent, slots, confidence, False)
