"""Export a run on the pre-trained encoder, and answer with the export, as `models.nlu.corpus_export` does."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.exporting import Feeds, check_parity, convert, session, staged, to_onnx
from models.nlu.client import TOKENIZER
from models.nlu.corpora import OUTSIDE, Sentence
from models.nlu.corpus_export import bundle_of
from models.nlu.export import TOLERANCE
from models.nlu.judge import Answer
from models.nlu.linear import LINEAR, LinearIntents
from models.nlu.out_of_scope import best_intent
from models.nlu.pretrained_fit import open_tuned, pieces_of
from models.tokenizer import read_tokenizer
from parley.files import write_json

INPUTS = ("input_ids", "attention_mask")


def export_tuned(path: Path, rows: list[Sentence], precision: str = "fp32") -> dict[str, Any]:
    """Write a run's graph and assets; returns the parity figures.

    Raises:
        ParleyError: the run is not whole, or the exported graph does not agree with torch.
    """
    run, network, tokenizer, intents = open_tuned(path)

    def run_torch(feed: Feeds) -> list[Any]:
        with torch.no_grad():
            return [network(*(torch.from_numpy(feed[name]) for name in INPUTS)).numpy()]

    with staged(bundle_of(path, precision)) as bundle:
        shutil.copyfile(path / TOKENIZER, bundle / TOKENIZER)
        if run.params.get("linear"):
            shutil.copyfile(path / LINEAR, bundle / LINEAR)
        write_json(bundle / "labels.json", {"intents": intents})
        model, ids = bundle / "model.onnx", torch.ones((2, 12), dtype=torch.int64)
        axes = {name: {0: "batch", 1: "pieces"} for name in INPUTS} | {"intent_logits": {0: "batch"}}
        to_onnx(network, (ids, ids), INPUTS, ["intent_logits"], model, axes)
        convert(model, precision)
        checked = [_feeds(pieces_of(tokenizer, row)) for row in rows[:64]]
        parity = check_parity(run_torch, model, checked, TOLERANCE[precision])
    run.figures(**{f"parity_{precision}": parity})
    return parity


def _feeds(pieces: Sequence[int]) -> Feeds:
    ids = np.array([pieces], np.int64)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


class PretrainedClient:
    """Intents of sentences from an exported run, in this process, on one thread."""

    def __init__(self, bundle: Path, intents: Sequence[str]) -> None:
        self._tokenizer = read_tokenizer(bundle / TOKENIZER)
        self._intents = list(intents)
        self._linear = LinearIntents.read(bundle / LINEAR) if (bundle / LINEAR).exists() else None
        self._session = session(bundle / "model.onnx")

    def parse(self, words: Sequence[str]) -> Answer:
        """The intent of one sentence; no slots."""
        encoded = self._tokenizer.encode(" ".join(words))
        logits = self._session.run(None, _feeds(encoded.ids))[0][0]
        heard = self._linear.add(logits, words) if self._linear else logits
        intent, in_scope = best_intent(heard, self._intents)
        return Answer(intent, (OUTSIDE,) * len(words), in_scope)
