"""Weights stored in 16 or 8 bits: smaller files whose answers stay close, whatever reads the weight."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.exporting import session
from models.weights import matching_nodes, store_weights
from parley.errors import ParleyError

WIDTH = 64
# Output channels of very different size: one scale for all of them would lose the small ones.
SPREAD = np.geomspace(1e-3, 1e3, WIDTH, dtype=np.float32)


def _weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(7).normal(0, 1, shape).astype(np.float32)


def _save(
    path: Path,
    nodes: list[onnx.NodeProto],
    weights: dict[str, NDArray[np.float32]],
    shape: list[object],
    answer: list[object] | None = None,
) -> Path:
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, answer)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), str(path))
    return path


def _layer(kind: str, path: Path) -> tuple[Path, NDArray[np.float32]]:
    """A model of one layer of that kind, and an input."""
    if kind == "MatMul":
        node = helper.make_node("MatMul", ["x", "w"], ["y"], "one")
        return _save(path, [node], {"w": _weights(WIDTH, WIDTH) * SPREAD}, ["n", WIDTH]), _weights(50, WIDTH)
    if kind == "Gemm":
        node = helper.make_node("Gemm", ["x", "w"], ["y"], "one", transB=1)
        return _save(path, [node], {"w": _weights(WIDTH, WIDTH) * SPREAD[:, None]}, ["n", WIDTH]), _weights(50, WIDTH)
    node = helper.make_node("Conv", ["x", "w"], ["y"], "one", kernel_shape=[5])
    weights = {"w": _weights(WIDTH, 8, 5) * SPREAD[:, None, None]}
    return _save(path, [node], weights, ["n", 8, 20]), _weights(3, 8, 20)


@pytest.mark.parametrize(("bits", "share"), [(16, 0.55), (8, 0.35)])
@pytest.mark.parametrize("kind", ["MatMul", "Gemm", "Conv"])
def test_every_output_channel_keeps_its_own_precision(kind: str, bits: int, share: float, tmp_path: Path) -> None:
    path, x = _layer(kind, tmp_path / "m.onnx")
    size, (before,) = path.stat().st_size, session(path).run(None, {"x": x})
    store_weights(path, bits)
    (after,) = session(path).run(None, {"x": x})
    assert path.stat().st_size < share * size
    channels = 1 if kind == "Conv" else -1
    lost, size_of = (np.moveaxis(a, channels, 0).reshape(WIDTH, -1).std(1) for a in (after - before, before))
    assert (lost / size_of).max() < (0.001 if bits == 16 else 0.02)


def test_kept_nodes_and_small_weights_are_untouched(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"], "/encoder/first"),
             helper.make_node("MatMul", ["h", "b"], ["i"], "/decoder/second"),
             helper.make_node("Add", ["i", "c"], ["y"], "/decoder/bias")]  # fmt: skip
    weights = {"a": _weights(WIDTH, WIDTH), "b": _weights(WIDTH, WIDTH), "c": _weights(WIDTH)}
    path = _save(tmp_path / "m.onnx", nodes, weights, ["n", WIDTH])
    store_weights(path, 8, matching_nodes(path, ("/encoder/*",)))
    stored = {t.name: numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    assert np.array_equal(stored["a"], weights["a"]) and np.array_equal(stored["c"], weights["c"])
    assert "b" not in stored and stored["b_int8"].dtype == np.int8


def test_a_second_pass_halves_what_the_first_kept(tmp_path: Path) -> None:
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"], "kept"), helper.make_node("MatMul", ["h", "b"], ["y"], "q")]
    weights = {"a": _weights(WIDTH, WIDTH), "b": _weights(WIDTH, WIDTH)}
    path = _save(tmp_path / "m.onnx", nodes, weights, ["n", WIDTH])
    x = _weights(2, WIDTH)
    (before,) = session(path).run(None, {"x": x})
    store_weights(path, 8, ["kept"])
    store_weights(path, 16)
    assert {t.data_type for t in onnx.load(str(path)).graph.initializer if t.dims[0] == t.dims[-1] == WIDTH} == {
        TensorProto.FLOAT16, TensorProto.INT8
    }  # fmt: skip
    (after,) = session(path).run(None, {"x": x})
    assert np.abs(after - before).max() < 0.02 * np.abs(before).max()


def test_weights_that_a_loop_reads_are_stored_small_too(tmp_path: Path) -> None:
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]),
         helper.make_node("MatMul", ["h", "w"], ["h_next"], "step/one")],
        "body", [info("turn", TensorProto.INT64, []), info("go", TensorProto.BOOL, []),
                 info("h", TensorProto.FLOAT, ["n", WIDTH])],
        [info("go_on", TensorProto.BOOL, []), info("h_next", TensorProto.FLOAT, ["n", WIDTH])],
    )  # fmt: skip
    loop = helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body)
    weights = {"w": _weights(WIDTH, WIDTH) / 8, "turns": np.array(3)}
    path = _save(tmp_path / "m.onnx", [loop], weights, ["n", WIDTH], ["n", WIDTH])  # type: ignore[arg-type]
    x = _weights(2, WIDTH)
    (before,), size = session(path).run(None, {"x": x}), path.stat().st_size
    assert matching_nodes(path, ("step/*",)) == ["step/one"]
    store_weights(path, 8)
    (after,) = session(path).run(None, {"x": x})
    assert path.stat().st_size < 0.4 * size
    assert 0 < np.abs(after - before).max() < 0.03 * np.abs(before).max()


def test_a_pattern_that_matches_nothing_is_refused(tmp_path: Path) -> None:
    path, _ = _layer("MatMul", tmp_path / "m.onnx")
    with pytest.raises(ParleyError, match=r"no node matches '/encoder/\*'"):
        matching_nodes(path, ("one", "/encoder/*"))


def test_a_channel_of_zeros_stays_zero(tmp_path: Path) -> None:
    weights = _weights(WIDTH, WIDTH)
    weights[:, 3] = 0
    path = _save(
        tmp_path / "m.onnx", [helper.make_node("MatMul", ["x", "w"], ["y"], "one")], {"w": weights}, ["n", WIDTH]
    )
    store_weights(path, 8)
    (after,) = session(path).run(None, {"x": _weights(2, WIDTH)})
    assert np.isfinite(after).all() and not after[:, 3].any()
