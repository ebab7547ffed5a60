"""Tiny graphs in the shape of real bundles, for the tests of the registry and the serving engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from parley.bundle import Lineage, Manifest, TensorSpec, read_manifest, write_bundle
from parley.settings import Settings
from parley.utterances import Utterances, of_texts, write_utterances
from registry.site import Registry
from registry.versions.publish import publish
from registry.writing import open_for_writing


def registry_at(folder: Path, *, mend: bool = True) -> Registry:
    """A registry with a repository, a catalogue and keys of its own in `folder`, and no bots."""
    site = Settings(
        bots_dir=folder / "bots", repo_dir=folder / "repo", state_dir=folder / "var", trusted_keys_dir=folder / "keys"
    )
    site.repo_dir.mkdir(parents=True, exist_ok=True)
    return open_for_writing(site) if mend else Registry.unmended(site)


def publish_all(folder: Path, *bundles: Path) -> Settings:
    """Publish bundles in order into the site in `folder` and return its settings."""
    with registry_at(folder) as registry:
        for bundle in bundles:
            publish(bundle, registry)
        return registry.site


def add_utterances(bundle: Path, dataset: str = "ab" * 32, bot: str = "barista", listed: str = "") -> Path:
    """Let a bundle name the dataset it learned from, and list its utterances (of dataset `listed`, where it lies)."""
    rows = tuple(of_texts([("train", ["one latte", "two mochas"]), ("test", ["a tea"])]))
    write_utterances(bundle, Utterances(listed or dataset, bot, "CC0", rows))
    manifest = read_manifest(bundle)
    write_bundle(bundle, manifest.model_copy(update={"lineage": Lineage(dataset_digest=dataset)}))
    return bundle


def scaler_bundle(
    directory: Path, factor: float, model: str = "barista_nlu", width: int = -1, bot: str = "barista"
) -> Path:
    """y = factor * x; state_out = state + sum(x): x is [batch, n], state is one number per item."""
    n = "n" if width < 0 else width
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "factor"], ["y"]),
            helper.make_node("ReduceSum", ["x", "axis"], ["sum"], keepdims=0),
            helper.make_node("Add", ["state", "sum"], ["state_out"]),
        ],
        "scaler",
        [_value("x", ["batch", n]), _value("state", ["batch"])],
        [_value("y", ["batch", n]), _value("state_out", ["batch"])],
        [
            helper.make_tensor("factor", TensorProto.FLOAT, [1], [factor]),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    manifest = Manifest(
        family="nlu",
        bot=bot,
        model=model,
        inputs=[_spec("x", [width]), _spec("state", [])],
        outputs=[_spec("y", [width]), _spec("state_out", [])],
        warmup={"x": [4 if width < 0 else width]},
        preferred_batch_sizes=[4, 8],
    )
    return _save(directory, graph, manifest)


def lookup_bundle(directory: Path, rows: int = 4, model: str = "barista_tts") -> Path:
    """value = table[id], table[i] = 10 * i: an id that is not in the table makes the graph itself fail."""
    table = np.arange(rows, dtype=np.float32) * 10
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "id"], ["value"])],
        "lookup",
        [_value("id", ["batch", "n"], TensorProto.INT64)],
        [_value("value", ["batch", "n"])],
        [helper.make_tensor("table", TensorProto.FLOAT, [rows], table)],
    )
    manifest = Manifest(
        family="tts",
        bot="barista",
        model=model,
        inputs=[TensorSpec(name="id", dtype="INT64", dims=[-1])],
        outputs=[_spec("value", [-1])],
    )
    return _save(directory, graph, manifest)


def slow_bundle(directory: Path, turns: int = 400_000, model: str = "barista_nlg") -> Path:
    """Adds one to x `turns` times in a loop, which takes some tenths of a second."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Add", ["value", "one"], ["value_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            _value("value", ["batch", 1]),
        ],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), _value("value_out", ["batch", 1])],
        [helper.make_tensor("one", TensorProto.FLOAT, [1], [1.0])],
    )
    graph = helper.make_graph(
        [helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)],
        "slow",
        [_value("x", ["batch", 1])],
        [_value("y", ["batch", 1])],
        [helper.make_tensor("turns", TensorProto.INT64, [], [turns])],
    )
    manifest = Manifest(family="nlg", bot="barista", model=model, inputs=[_spec("x", [1])], outputs=[_spec("y", [1])])
    return _save(directory, graph, manifest)


def _save(directory: Path, graph: onnx.GraphProto, manifest: Manifest) -> Path:
    directory.mkdir(parents=True)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 9
    onnx.save(proto, str(directory / "model.onnx"))
    (directory / "labels.json").write_text('["order"]\n')
    write_bundle(directory, manifest)
    return directory


def _value(name: str, shape: list[str | int], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _spec(name: str, dims: list[int]) -> TensorSpec:
    return TensorSpec(name=name, dtype="FP32", dims=dims)


def damage(path: Path) -> bytes:
    """Change a published file behind the registry's back and return what it held."""
    before = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    return before
