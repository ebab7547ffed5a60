"""What is cut out of an ONNX file before it is parsed is its weights and nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from registry.versions.onnx_inspection import GraphLimits, Refused, inspect_onnx
from registry.versions.onnx_weights import without_weights

RAW_DATA = b"\x4a"  # field 9, length-delimited


def model(*weights: int) -> onnx.ModelProto:
    arrays = [numpy_helper.from_array(np.arange(n, dtype=np.float32), f"w{i}") for i, n in enumerate(weights)]
    nodes = [helper.make_node("Add", [f"w{i}", f"w{i}"], [f"y{i}"]) for i in range(len(weights))]
    outputs = [helper.make_tensor_value_info(f"y{i}", TensorProto.FLOAT, [n]) for i, n in enumerate(weights)]
    graph = helper.make_graph(nodes, "g", [], outputs, arrays, doc_string="a text of some length " * 100)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def look(content: bytes) -> None:
    inspect_onnx(memoryview(content), GraphLimits())


def test_large_weights_are_cut_out_and_everything_else_stays() -> None:
    whole = model(1000, 3, 2000)

    rest, taken = without_weights(memoryview(whole.SerializeToString()))

    assert taken == [4000, 0, 8000]
    expected = onnx.ModelProto.FromString(whole.SerializeToString())
    for index in (0, 2):
        expected.graph.initializer[index].ClearField("raw_data")
    assert onnx.ModelProto.FromString(rest) == expected


def test_a_tensor_must_hold_what_its_dimensions_say_also_when_it_is_cut_out() -> None:
    lying = model(10, 1000)
    lying.graph.initializer[1].raw_data += b"more"
    look(model(10, 1000).SerializeToString())

    with pytest.raises(Refused, match="'w1' holds 4004 bytes, its dimensions say 4000"):
        look(lying.SerializeToString())


def test_data_that_is_there_twice_is_refused() -> None:
    """Parsers take the last one: what was measured would not be what is loaded."""
    twice = model(2)
    small = bytes(8)
    content = twice.SerializeToString().replace(
        RAW_DATA + b"\x08" + twice.graph.initializer[0].raw_data, RAW_DATA + b"\x00" + RAW_DATA + b"\x06" + small[:6]
    )
    assert len(content) == len(twice.SerializeToString())

    with pytest.raises(Refused, match="there twice"):
        look(content)


def test_a_second_graph_is_refused() -> None:
    """Parsers merge it with the first."""
    content = model(2).SerializeToString()

    with pytest.raises(Refused, match="there twice"):
        look(content + onnx.ModelProto(graph=model(3).graph).SerializeToString())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x3a\xff", "number breaks off"),
        (b"\x3a\x7f", "field breaks off"),
        (b"\x3a" + b"\xff" * 10 + b"\x01", "more than ten bytes"),
        (b"\x3b", "wire type 3"),
        (b"\x02\x00", "without a number"),
        (b"\x09\x00", "field breaks off"),
    ],
)
def test_what_is_not_the_wire_format_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        without_weights(memoryview(content))
    with pytest.raises(Refused, match="no ONNX model"):
        look(content)


def test_cutting_and_parsing_agree_on_broken_files() -> None:
    """Whatever bytes are changed: where the cutter lets a file pass, the parser sees the same tensors in the rest."""
    whole = model(300, 300).SerializeToString()
    rng = np.random.default_rng(5)
    parsed = 0
    for _ in range(2000):
        content = bytearray(whole)
        for at in rng.integers(0, len(content), 3):
            content[at] = rng.integers(0, 256)
        try:
            rest, taken = without_weights(memoryview(bytes(content)))
            shorter, full = onnx.ModelProto.FromString(rest), onnx.ModelProto.FromString(bytes(content))
        except Exception:
            continue
        parsed += 1
        assert len(taken) == len(full.graph.initializer)
        for tensor, size in zip(full.graph.initializer, taken, strict=True):
            if size:
                assert len(tensor.raw_data) == size
                tensor.ClearField("raw_data")
        assert shorter.SerializeToString(deterministic=True) == full.SerializeToString(deterministic=True)
    assert parsed > 100
