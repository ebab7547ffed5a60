"""A second implementation of the NLU, ``keyword/1``: words that are counted, one weight each, and tensors of its own.

What a new implementation takes: this class and a line in `models.implementations`, which tests write for a while.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.contracts import Understanding
from models.implementations import NLU
from parley.bundle import Manifest, TensorSpec, write_bundle
from parley.serving.engine import Engine

KEYWORD = "keyword/1"
LATTE = {"latte": ("orderDrink", {"coffeeDrink": "latte", "size": "large"})}
"""What a keyword means: unlike the barista's own NLU it hears a large one."""


class KeywordClient:
    """Understands a sentence by the first keyword whose score is above a half."""

    def __init__(self, bundle: Path, engine: Engine, model: str, version: int) -> None:
        self._keywords = json.loads((bundle / "keywords.json").read_text())
        self._engine, self._model, self._version = engine, model, version

    async def parse(self, text: str) -> Understanding:
        counts = np.array([[text.split().count(word) for word in self._keywords]], np.float32)
        scores = (await self._engine.infer(self._model, self._version, {"counts": counts}))["scores"][0]
        for (intent, slots), score in zip(self._keywords.values(), scores, strict=True):
            if score > 0.5:
                return Understanding(intent, dict(slots), 0.9, False)
        return Understanding("", {}, 0.9, True)


class SlowReading:
    """Makes reading a version wait until it is let go; a thread that waits for itself fails."""

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.times = 0

    def __call__(self, bundle: Path, engine: Engine, model: str, version: int) -> KeywordClient:
        self.times += 1
        self.begun.set()
        assert self.go.wait(20), "nobody let it go: whoever could waits for it"
        return KeywordClient(bundle, engine, model, version)


def register(monkeypatch: pytest.MonkeyPatch, factory: type[KeywordClient] | SlowReading = KeywordClient) -> None:
    """The line of registration."""
    monkeypatch.setitem(NLU, KEYWORD, factory)


def keyword_bundle(directory: Path, model: str = "barista_nlu") -> Path:
    """scores = counts * weight: [batch, keywords] in and out."""
    directory.mkdir(parents=True)
    shape = ["batch", len(LATTE)]
    graph = helper.make_graph(
        [helper.make_node("Mul", ["counts", "weight"], ["scores"])],
        "keywords",
        [helper.make_tensor_value_info("counts", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
        [helper.make_tensor("weight", TensorProto.FLOAT, [1], [1.0])],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    onnx.save(proto, str(directory / "model.onnx"))
    (directory / "keywords.json").write_text(json.dumps(LATTE) + "\n")
    manifest = Manifest(
        family="nlu", bot="barista", model=model, implementation=KEYWORD,
        inputs=[TensorSpec(name="counts", dtype="FP32", dims=[len(LATTE)])],
        outputs=[TensorSpec(name="scores", dtype="FP32", dims=[len(LATTE)])],
    )  # fmt: skip
    write_bundle(directory, manifest)
    return directory
