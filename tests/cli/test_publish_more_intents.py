"""A bot that got an intent: its NLU is published under the model's own name, and both versions answer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from starters import ROOT, copy_starters

from cli.publish import main
from models.nlu.client import JointBioClient
from parley.bundle import TensorSpec, read_manifest, write_bundle
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import settings

MODEL = "barista_nlu"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def with_one_more_intent(version: Path, bundle: Path) -> Path:
    """A starter NLU as a bundle whose graph and labels know an intent that no sentence means: ``loyalty``."""
    manifest = read_manifest(version)
    shutil.copytree(version, bundle, ignore=shutil.ignore_patterns("model.sig", "config*", "card.md"))
    for path in bundle.iterdir():
        path.chmod(0o644)
    graph = onnx.load(str(bundle / "model.onnx"))
    for tensor in graph.graph.initializer:
        if tensor.name in ("intent.2.weight", "intent.2.bias"):
            learned = numpy_helper.to_array(tensor)
            row = np.full((1, *learned.shape[1:]), -9 if learned.ndim == 1 else 0, learned.dtype)
            tensor.CopyFrom(numpy_helper.from_array(np.concatenate([learned, row]), tensor.name))
    for value in [*graph.graph.output, *graph.graph.value_info]:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_value == 11:
                dim.dim_value = 12
    onnx.save(graph, str(bundle / "model.onnx"))
    labels = json.loads((bundle / "labels.json").read_text())
    (bundle / "labels.json").write_text(json.dumps(labels | {"intents": [*labels["intents"], "loyalty"]}))
    outputs = [TensorSpec(name="intent_logits", dtype="FP32", dims=[12]), manifest.outputs[1]]
    write_bundle(bundle, manifest.model_copy(update={"version": None, "outputs": outputs}))
    return bundle


@pytest.mark.anyio
async def test_an_nlu_with_one_more_intent_is_the_next_version_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    version = copy_starters("barista", tmp_path / "repo")["nlu"]
    for name, folder in (("repo", tmp_path / "repo"), ("state", tmp_path / "var"), ("bots", ROOT / "bots")):
        monkeypatch.setenv(f"PARLEY_{name.upper()}_DIR", str(folder))

    assert main([str(with_one_more_intent(version, tmp_path / "bundle"))]) == 0

    assert capsys.readouterr().out == f"{MODEL} version 2\n"
    first, second = (read_manifest(tmp_path / "repo" / MODEL / str(number)) for number in (1, 2))
    assert (first.outputs[0].dims, second.outputs[0].dims) == ([11], [12])
    assert first.served_as == MODEL and second.served_as == f"{MODEL}.{second.sizes}" != MODEL
    async with OnnxEngine(tmp_path / "repo", Trust.of(settings())) as engine:
        for number in (1, 2):
            client = JointBioClient(tmp_path / "repo" / MODEL / str(number), engine, MODEL, number)
            understood = await client.parse("can i get a large latte with skim milk")
            assert (understood.intent, understood.slots["size"]) == ("orderDrink", "large")
