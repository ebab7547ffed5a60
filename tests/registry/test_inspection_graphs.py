"""Graphs are accepted by what they hold: known operators, bounded sizes, weights inside of the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper
from refused_bundle import external, refuse, save
from serving_models import scaler_bundle

from registry.versions.file_content import Limits
from registry.versions.onnx_inspection import GraphLimits


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return scaler_bundle(tmp_path / "bundle", 2)


@pytest.mark.parametrize("location", ["../../../etc/passwd", "/etc/passwd", "weights.data", "a/../../b", ""])
def test_weights_outside_of_the_file_are_refused(bundle: Path, location: str) -> None:
    save(bundle, external(location))

    refuse(bundle, "model.onnx", "outside of the file")


def test_weights_that_only_claim_to_be_inside_are_refused(bundle: Path) -> None:
    """A location without the mark: what CVE-2024-27318's kin played with."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.initializer[0].external_data.add(key="location", value="../x")

    save(bundle, change)

    refuse(bundle, "model.onnx", "outside of the file")


def test_constant_with_weights_outside_is_refused(bundle: Path) -> None:
    def change(model: onnx.ModelProto) -> None:
        value = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
        value.external_data.add(key="location", value="../x")
        model.graph.node.append(helper.make_node("Constant", [], ["c"], value=value))

    save(bundle, change)

    refuse(bundle, "model.onnx", "outside of the file")


def nested(depth: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        value = helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])
        graph = helper.make_graph([helper.make_node("Identity", ["y"], ["z"])], "inner", [], [value])
        for _ in range(depth):
            node = helper.make_node("If", ["go"], ["z"], then_branch=graph, else_branch=graph)
            graph = helper.make_graph([node], "outer", [], [value])
        model.graph.node.extend(graph.node)

    return change


def metadata(model: onnx.ModelProto) -> None:
    model.training_info.add()


def own_function(model: onnx.ModelProto) -> None:
    model.functions.add(name="f", domain="mine")


def foreign_node(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.example"


def undeclared_node(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


def wide(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1 << 40


def huge_tensor(model: onnx.ModelProto) -> None:
    del model.graph.initializer[0].dims[:]
    model.graph.initializer[0].dims.extend([1 << 20, 1 << 20])


def lying_tensor(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("float_data")
    tensor.raw_data = bytes(3)


def negative_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -1


def text_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(helper.make_tensor("t", TensorProto.STRING, [1], [b"text"]))


def opset(domain: str, number: int) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        del model.opset_import[:]
        model.opset_import.extend([helper.make_opsetid("", 17), helper.make_opsetid(domain, number)][not domain :])

    return change


def broken_graph(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "nowhere"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (opset("", 8), "operator set ai.onnx 8"),
        (opset("", 999), "operator set ai.onnx 999"),
        (opset("com.example", 1), "domain 'com.example'"),
        (foreign_node, "domain 'com.example'"),
        (undeclared_node, "domain 'com.microsoft'"),
        (own_function, "functions"),
        (metadata, "training"),
        (nested(12), "nested more than 8"),
        (wide, "dimension of 1099511627776"),
        (huge_tensor, "elements"),
        (lying_tensor, "holds 3 bytes"),
        (negative_tensor, "dimensions"),
        (text_tensor, "type 8"),
        (broken_graph, "not a valid ONNX model"),
        (lambda model: model.ClearField("graph"), "no graph"),
        (lambda model: setattr(model, "ir_version", 3), "IR version 3"),
    ],
    ids=[
        "old opset",
        "new opset",
        "opset domain",
        "node domain",
        "undeclared domain",
        "function",
        "training",
        "nested",
        "wide input",
        "huge tensor",
        "lying tensor",
        "negative dims",
        "strings",
        "broken",
        "empty",
        "old IR",
    ],
)
def test_graph_that_no_exporter_makes_is_refused(
    bundle: Path, change: Callable[[onnx.ModelProto], None], reason: str
) -> None:
    save(bundle, change)

    refuse(bundle, "model.onnx", reason)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (GraphLimits(nodes=2), "more than 2 nodes"),
        (GraphLimits(initializers=1), "more than 1 initialisers"),
        (GraphLimits(weight_bytes=4), "of weights"),
    ],
    ids=["nodes", "initialisers", "weights"],
)
def test_graph_over_a_limit_is_refused(bundle: Path, limits: GraphLimits, reason: str) -> None:
    refuse(bundle, "model.onnx", reason, Limits(graph=limits))


def grown(*nodes: onnx.NodeProto, **constants: list[int] | int) -> Callable[[onnx.ModelProto], None]:
    """Adds nodes that make the value `c` of constants alone, and a sum over it."""

    def change(model: onnx.ModelProto) -> None:
        for name, value in constants.items():
            dims = [len(value)] if isinstance(value, list) else []
            numbers = value if isinstance(value, list) else [value]
            model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, dims, numbers))
        model.graph.node.extend([*nodes, helper.make_node("ReduceSum", ["c"], ["sum"], keepdims=0)])

    return change


@pytest.mark.parametrize(
    "bomb",
    [
        grown(helper.make_node("ConstantOfShape", ["s"], ["c"]), s=[1 << 20, 1 << 20]),
        grown(
            helper.make_node("Mul", ["s", "s"], ["m"]), helper.make_node("ConstantOfShape", ["m"], ["c"]), s=[1 << 20]
        ),
        grown(helper.make_node("Range", ["a", "b", "d"], ["c"]), a=0, b=1 << 40, d=1),
        grown(helper.make_node("Expand", ["d", "s"], ["c"]), d=[7], s=[1 << 20, 1 << 20]),
        grown(helper.make_node("Tile", ["d", "s"], ["c"]), d=[7], s=[1 << 40]),
        grown(
            helper.make_node("ConstantOfShape", ["s"], ["v"]), helper.make_node("ConstantOfShape", ["t"], ["w"]),
            helper.make_node("MatMul", ["v", "w"], ["c"]), s=[1 << 20, 1], t=[1, 1 << 20],
        ),
    ],
    ids=["filled", "computed", "range", "expanded", "tiled", "multiplied"],
)  # fmt: skip
def test_a_few_bytes_that_ask_for_a_terabyte_are_refused(bundle: Path, bomb: Callable[[onnx.ModelProto], None]) -> None:
    save(bundle, bomb)

    refuse(bundle, "model.onnx", "would have dimensions")


@pytest.mark.parametrize("content", [b"\x00" * 100, b"hello there", b"\x08\x08\x3a\xff\xff\xff\xff\x0f"])
def test_file_called_onnx_that_is_none_is_refused(bundle: Path, content: bytes) -> None:
    (bundle / "model.onnx").write_bytes(content)

    refuse(bundle, "model.onnx", "no ONNX model")
