"""`parley bench speed`: variants that can be served, losses against fp32 on the same items, both engines in turns."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from manifests import row, write_manifest
from onnx import TensorProto, helper, numpy_helper

from benchmarks.speed import losses, timing, variants
from benchmarks.speed.__main__ import main, real_time_factor
from benchmarks.speed.losses import Material, Scored
from benchmarks.speed.report import draw, markdown
from models.exporting import PRECISIONS, session
from parley.bundle import Manifest, TensorSpec, read_manifest, verify_files, write_bundle
from parley.errors import ParleyError
from parley.files import sha256_file
from parley.settings import Settings

WIDTH = 64


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """scores = tanh(x A) B, at fp32."""
    rng = np.random.default_rng(3)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "a"], ["h"], "/first"), helper.make_node("Tanh", ["h"], ["t"]),
         helper.make_node("MatMul", ["t", "b"], ["scores"], "/tag/MatMul")],
        "small", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", WIDTH])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", WIDTH])],
        [numpy_helper.from_array(rng.normal(0, 0.1, (WIDTH, WIDTH)).astype(np.float32), name) for name in "ab"],
    )  # fmt: skip
    folder = tmp_path / "run" / "bundle"
    folder.mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(folder / "model.onnx"))
    write_bundle(folder, Manifest(
        family="nlu", bot="barista", model="barista_nlu", parity={"precision": "fp32"},
        inputs=[TensorSpec(name="x", dtype="FP32", dims=[WIDTH])],
        outputs=[TensorSpec(name="scores", dtype="FP32", dims=[WIDTH])],
    ))  # fmt: skip
    return folder


def _requests(count: int) -> list[losses.Feeds]:
    rng = np.random.default_rng(5)
    # Rows of very different size, as a loud and a quiet caller.
    return [{"x": rng.normal(0, 10.0 ** (n % 3), (1, WIDTH)).astype(np.float32)} for n in range(count)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_precision_is_a_whole_bundle_and_leaves_its_source_alone(
    precision: str, bundle: Path, tmp_path: Path
) -> None:
    before = sha256_file(bundle / "model.onnx")
    made = variants.make_variant(bundle, "nlu", precision, tmp_path / precision)
    assert verify_files(made).parity["precision"] == precision
    assert sha256_file(bundle / "model.onnx") == before
    x = _requests(1)[0]
    mine, theirs = (session(path / "model.onnx").run(None, x)[0] for path in (made, bundle))
    assert mine.dtype == np.float32 and np.abs(mine - theirs).max() < 0.1 * np.abs(theirs).max()
    smaller = (made / "model.onnx").stat().st_size < (bundle / "model.onnx").stat().st_size
    assert smaller == (precision != "fp32")


def test_int8_leaves_out_what_its_family_names(bundle: Path, tmp_path: Path) -> None:
    made = variants.make_variant(bundle, "nlu", "int8", tmp_path / "int8")
    kinds = {node.name: node.op_type for node in onnx.load(str(made / "model.onnx")).graph.node}
    assert kinds["/tag/MatMul"] == "MatMul" and "MatMulInteger" in kinds.values()


def test_only_activations_quantised_on_the_fly_make_an_answer_depend_on_its_batch(bundle: Path, tmp_path: Path) -> None:
    moved = {
        precision: timing.batch_mates(
            session(variants.make_variant(bundle, "nlu", precision, tmp_path / precision) / "model.onnx"), _requests(8)
        )
        for precision in ("fp32", "int8", "int8-weights")
    }
    assert moved["fp32"] < 1e-5 and moved["int8-weights"] < 1e-5 and moved["int8"] > 1e-3


def test_the_source_is_the_runs_own_export_when_it_is_fp32(bundle: Path, tmp_path: Path) -> None:
    bundle.parent.rename(tmp_path / "nlu-barista")
    found = variants.source_of("nlu", "barista", tmp_path, Settings(), tmp_path / "scratch")
    assert found == tmp_path / "nlu-barista" / "bundle"


def test_a_version_published_at_another_precision_is_no_base(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(bundle)
    write_bundle(bundle, manifest.model_copy(update={"parity": {"precision": "fp16"}}))
    version = tmp_path / "repo" / "barista_nlu" / "1"
    version.parent.mkdir(parents=True)
    bundle.rename(version)
    stages = {"nlu": SimpleNamespace(model="barista_nlu", version=1)}
    monkeypatch.setattr(variants, "release_of", lambda site, bot: SimpleNamespace(stages=stages))
    with pytest.raises(ParleyError, match="published as fp16"):
        variants.source_of("nlu", "barista", tmp_path / "none", Settings(repo_dir=tmp_path / "repo"), tmp_path)


def test_requests_are_padded_to_the_widest_of_their_batch() -> None:
    requests = [{"ids": np.full((1, n), n, np.int64), "start": np.array([[n]])} for n in (2, 4, 3)]
    batch = timing.batch_of(requests, 3)
    assert batch["ids"].tolist() == [[2, 2, 0, 0], [4, 4, 4, 4], [3, 3, 3, 0]]
    assert batch["start"].ravel().tolist() == [2, 4, 3]
    assert timing.batch_of(requests, 6)["start"].ravel().tolist() == [2, 2, 4, 4, 3, 3]


def test_a_loss_is_measured_on_the_same_items_and_drawn_over_units() -> None:
    base = [Scored(f"s{n % 5}", {"wer": (0.0, 4.0)}) for n in range(50)]
    worse = [Scored(f"s{n % 5}", {"wer": (1.0, 4.0), "other": (1.0, 1.0)}) for n in range(50)]
    found = losses.summarise(worse, base)
    assert found["wer"] == {"value": 0.25, "interval": [0.25, 0.25], "items": 50, "units": 5, "change": 0.25,
                            "change_interval": [0.25, 0.25]}  # fmt: skip
    assert "change" not in found["other"]
    half = [Scored(s.unit, {"wer": (float(s.unit == "s0"), 4.0)}) for s in base]
    low, high = losses.summarise(half, base)["wer"]["change_interval"]
    assert low == 0.0 and 0.05 < high < 0.25


def test_recordings_are_spread_over_speakers(tmp_path: Path) -> None:
    rows = [row(f"{s}{n}.flac", speaker=s, intent="order" if n else "") for s in "abc" for n in range(5)]
    manifest = write_manifest(tmp_path / "m.jsonl", rows)
    chosen = losses.chosen_recordings(Material(None, manifest, ("a", "c"), 4))  # type: ignore[arg-type]
    assert [one.audio for one in chosen] == ["a1.flac", "c1.flac", "a2.flac", "c2.flac"]


def test_engines_and_precisions_take_turns_and_get_the_same_share() -> None:
    asked: list[tuple[str, str]] = []

    class Graph:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, outputs: None, feed: Any) -> None:
            asked.append((self.name, "raw"))

    class Server:
        async def infer(self, model: str, version: int, inputs: Any, *, timeout_s: float) -> None:
            asked.append((model, "triton"))

    graphs, refs = {name: Graph(name) for name in "ab"}, {name: (name, 1) for name in "ab"}
    feeds: dict[int, losses.Feeds] = {1: {}, 2: {}}
    timed = asyncio.run(timing._rounds(graphs, feeds, Server(), refs, 0.0))  # type: ignore[arg-type]
    assert timed.rounds == 3
    assert {key: len(ms) for key, ms in timed.ms.items()} == {
        (p, side, size): 3 * (4 if size == 1 else 1) for p in "ab" for side in ("raw", "triton") for size in (1, 2)
    }
    turns = [set(asked[n : n + 2]) for n in range(0, len(asked), 2)]
    assert all(turn in ({("a", "raw"), ("a", "triton")}, {("b", "raw"), ("b", "triton")}) for turn in turns)


@pytest.mark.triton
def test_the_same_graphs_are_timed_in_this_process_and_through_triton(bundle: Path, tmp_path: Path) -> None:
    made = {p: variants.make_variant(bundle, "nlu", p, tmp_path / p) for p in ("fp32", "int8", "int8-weights")}
    timed, mates = asyncio.run(timing.measure(made, _requests(4), 0.0, (1, 4), True))
    assert set(mates) == set(made) and timed.rounds == 3
    summary = timing.summarise(timed, "int8", (1, 4))
    assert summary["1"]["raw"]["requests"] == summary["1"]["triton"]["requests"] == 12
    assert summary["4"]["ratio"] == round(summary["4"]["triton"]["p50_ms"] / summary["4"]["raw"]["p50_ms"], 2)


def test_a_second_of_audio_is_counted_in_chunks_and_pieces(bundle: Path) -> None:
    single = {"raw": {"p50_ms": 2.4}, "triton": {"p50_ms": 4.8}}
    assert real_time_factor(bundle, single) == {}
    for constants in ({"chunk_samples": 1920}, {"piece_frames": 24, "hop": 80}):
        manifest = read_manifest(bundle).model_copy(update={"constants": {"sample_rate": 8000, **constants}})
        write_bundle(bundle, manifest)
        assert real_time_factor(bundle, single) == {"raw": 0.01, "triton": 0.02}


def test_the_report_names_refusals_and_says_when_times_are_provisional(tmp_path: Path) -> None:
    batches = {"1": {"raw": {"p50_ms": 2.0, "p95_ms": 3.0, "items_per_s": 500.0, "requests": 9}}}
    wer = {"value": 0.1, "interval": [0.05, 0.2], "items": 9}
    good = {"megabytes": 6.64, "memory_mb": 20.0, "quality": {"wer": wer},
            "batch_mates": 0.0, "batches": batches, "real_time_factor": {"raw": 0.0083}}  # fmt: skip
    families = {"stt": {"precisions": {"fp32": good, "int8": {"refused": "it | broke"}}}, "tts": {"left_out": "no run"}}
    machine = {"cpus": 2, "core": 1, "load_per_core": 2.0, "provisional": True}
    report = {"command": "parley bench speed", "machine": machine, "families": families}
    text = markdown(report)
    assert "refused: it / broke" in text and "left out: no run" in text and "provisional" in text
    assert "10.00 % (5.00 to 20.00, n 9)" in text and "| fp32 | ONNX Runtime | 2.00 | 3.00 | 0.0083 | 500 |" in text
    draw(report, tmp_path / "speed.png")
    assert (tmp_path / "speed.png").stat().st_size > 1000


def test_an_unknown_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="unknown: 'int4'"):
        main(["--out", str(tmp_path), "--precisions", "int4"])
