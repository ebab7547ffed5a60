"""Looking at an ONNX file that nobody vouches for, in the child process of `registry.versions.inspection`.

Parsing is the dangerous part, which is why it happens there. What is looked at: that the file parses, that its
operators are from the sets our exporters use, that it refers to no data outside itself, and that nothing in it is
larger than a telephone bot's model can be (nodes, weights, nesting, dimensions).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from registry.versions.onnx_weights import without_weights

OPSETS = {"": (13, 22), "ai.onnx": (13, 22), "ai.onnx.ml": (2, 5), "com.microsoft": (1, 1)}
"""Domain to the oldest and newest version of its operators. com.microsoft is what int8 quantisation writes."""
IR_VERSIONS = (7, 11)


@dataclass(frozen=True)
class GraphLimits:
    """What a graph may hold."""

    nodes: int = 50_000
    initializers: int = 20_000
    depth: int = 8
    """Graphs within graphs (loops, branches)."""
    dimension: int = 1 << 24
    elements: int = 1 << 28
    """Of one tensor."""
    weight_bytes: int = 1 << 30


class Refused(Exception):
    """Why a file is not accepted, in words."""


def inspect_onnx(content: memoryview, limits: GraphLimits) -> None:
    """Look at the content of one file.

    Raises:
        Refused: it is not accepted.
    """
    import onnx

    try:
        rest, taken = without_weights(content)
        model = onnx.ModelProto.FromString(rest)
    except Exception as error:  # protobuf's errors differ between its implementations
        raise Refused(f"no ONNX model ({' '.join(str(error).split())[:100]})") from None
    if not model.graph.node or not model.opset_import:
        raise Refused("no ONNX model: it has no graph")
    if len(taken) != len(model.graph.initializer):
        raise Refused("no ONNX model: its initialisers cannot be told apart")
    _check_versions(model)
    _check_graphs(model, taken, limits)
    _check_shapes(model, limits)
    for tensor, size in zip(model.graph.initializer, taken, strict=True):
        if size:  # the checker compares dimensions and data
            tensor.ClearField("dims")
            tensor.dims.append(0)
            tensor.raw_data = b""
    try:
        onnx.checker.check_model(model.SerializeToString())
    except Exception as error:  # the checker's errors and, for huge files, ValueError
        raise Refused(f"not a valid ONNX model ({' '.join(str(error).split())[:200]})") from None


def _check_versions(model: Any) -> None:
    oldest, newest = IR_VERSIONS
    if not oldest <= model.ir_version <= newest:
        raise Refused(f"ONNX IR version {model.ir_version}; {oldest} to {newest} are accepted")
    for entry in model.opset_import:
        if entry.domain not in OPSETS:
            raise Refused(f"operators of domain {entry.domain!r}; accepted: {_domains()}")
        first, last = OPSETS[entry.domain]
        if not first <= entry.version <= last:
            name = entry.domain or "ai.onnx"
            raise Refused(f"operator set {name} {entry.version}; {first} to {last} are accepted")
    if model.functions:
        raise Refused("defines functions of its own")
    if model.training_info:
        raise Refused("carries training information")


def _check_graphs(model: Any, taken: list[int], limits: GraphLimits) -> None:
    nodes = initializers = weight_bytes = 0
    sizes = iter(taken)  # the model's own graph comes first, and its initialisers before its other tensors
    declared = {entry.domain for entry in model.opset_import}
    for graph in graphs(model.graph, limits.depth):
        nodes += len(graph.node)
        initializers += len(graph.initializer) + len(graph.sparse_initializer)
        if nodes > limits.nodes:
            raise Refused(f"more than {limits.nodes} nodes")
        if initializers > limits.initializers:
            raise Refused(f"more than {limits.initializers} initialisers")
        for node in graph.node:
            if node.domain not in OPSETS or node.domain not in declared | {"", "ai.onnx"}:
                raise Refused(f"operator {node.op_type!r} of domain {node.domain!r}; accepted: {_domains()}")
        for tensor in tensors(graph):
            weight_bytes += check_tensor(tensor, limits, next(sizes, 0))
            if weight_bytes > limits.weight_bytes:
                raise Refused(f"more than {limits.weight_bytes >> 20} MB of weights")
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim:
                if dim.dim_value > limits.dimension:
                    raise Refused(f"{value.name[:80]!r} has a dimension of {dim.dim_value}; {limits.dimension} is most")


def _check_shapes(model: Any, limits: GraphLimits) -> None:
    """No value that the graph makes of constants alone is larger than a tensor may be.

    A few bytes can ask for a terabyte: a constant shape that is filled, two vectors that are multiplied. ONNX's shape
    inference follows such constants. What grows with a request's own numbers is not seen here.
    """
    import onnx

    try:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # InferenceError, and what protobuf raises
        raise Refused(f"its shapes cannot be inferred ({' '.join(str(error).split())[:200]})") from None
    for graph in graphs(inferred.graph, limits.depth):
        for value in (*graph.value_info, *graph.output):
            dims = [dim.dim_value for dim in value.type.tensor_type.shape.dim if dim.HasField("dim_value")]
            if any(dim > limits.dimension for dim in dims) or math.prod(dims) > limits.elements:
                raise Refused(
                    f"{value.name[:80]!r} would have dimensions {dims[:8]}; {limits.elements} elements is most"
                )


def graphs(graph: Any, deepest: int, depth: int = 1) -> Iterator[Any]:
    """A graph and those in its nodes' attributes, however deep.

    Raises:
        Refused: they are nested too deeply.
    """
    if depth > deepest:
        raise Refused(f"graphs nested more than {deepest} deep")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner, deepest, depth + 1)


def tensors(graph: Any) -> Iterable[Any]:
    """Every tensor that a graph carries itself: initialisers and constants."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
            sparse_tensors = [*([attribute.sparse_tensor] if attribute.HasField("sparse_tensor") else [])]
            for sparse in (*sparse_tensors, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)


def check_tensor(tensor: Any, limits: GraphLimits, taken: int = 0) -> int:
    """Bytes that a tensor takes once it is unpacked.

    Args:
        tensor: a TensorProto.
        limits: how large it may be.
        taken: bytes of its data that were taken out before it was parsed.

    Raises:
        Refused: its data lies elsewhere, its size is not what its dimensions say, or it is too large.
    """
    import onnx

    name = tensor.name[:80]
    if tensor.external_data or tensor.data_location != onnx.TensorProto.DEFAULT:
        place = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
        raise Refused(f"{name!r} has its data outside of the file ({place[:200]!r}); export with the weights inside")
    if any(dim < 0 or dim > limits.dimension for dim in tensor.dims):
        raise Refused(f"{name!r} has dimensions {list(tensor.dims)[:8]}; 0 to {limits.dimension} are accepted")
    elements = math.prod(tensor.dims)
    if elements > limits.elements:
        raise Refused(f"{name!r} has {elements} elements; {limits.elements} is most")
    if tensor.data_type not in _widths():
        raise Refused(f"{name!r} is of type {tensor.data_type}, which is not accepted")
    width = _widths()[tensor.data_type]
    held = taken or len(tensor.raw_data)
    if (taken or tensor.HasField("raw_data")) and held != elements * width:
        raise Refused(f"{name!r} holds {held} bytes, its dimensions say {elements * width}")
    return int(elements * width)


@functools.cache
def _widths() -> dict[int, int]:
    from onnx import TensorProto as T

    widths = {T.BOOL: 1, T.INT8: 1, T.UINT8: 1, T.INT16: 2, T.UINT16: 2, T.FLOAT16: 2, T.BFLOAT16: 2}
    widths |= {T.INT32: 4, T.UINT32: 4, T.FLOAT: 4, T.INT64: 8, T.UINT64: 8, T.DOUBLE: 8}
    return {int(kind): width for kind, width in widths.items()}


def _domains() -> str:
    return ", ".join(sorted({domain or "ai.onnx" for domain in OPSETS}))
