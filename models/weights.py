"""Weights stored small and run in single precision: a file of half or a quarter the size, no other speed.

`store_weights` puts each large weight into the file in half precision, or in 8 bits with a scale for each output
channel (symmetric, the largest value at 127), and the operators that make it single precision again before it.
ONNX Runtime and TensorRT fold those away when they load the file. Nothing is rounded at run time, so an answer does
not depend on what else is in its batch, which it does where activations are quantised on the fly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from parley.errors import ParleyError

SMALLEST = 1024
"""Weights with fewer values stay as they are: they are not what takes the space."""
_LARGEST_INT8 = 127


def store_weights(path: Path, bits: int, keep: Sequence[str] = (), smallest: int = SMALLEST) -> None:
    """Rewrite an fp32 model in place.

    Args:
        path: the model; its weights lie in it.
        bits: 16 (half precision) or 8 (an integer and a scale for each output channel).
        keep: names of nodes whose weights stay in single precision.
        smallest: values that a weight must have to be stored small.
    """
    model = onnx.load(str(path))
    graph = model.graph
    axes = _channel_axes(graph, frozenset(keep))
    expanding: list[onnx.NodeProto] = []
    stored: list[onnx.TensorProto] = []
    for tensor in graph.initializer:
        array = numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < smallest or tensor.name not in axes:
            stored.append(tensor)
        elif bits == 16:
            stored.append(numpy_helper.from_array(array.astype(np.float16), f"{tensor.name}_half"))
            expanding.append(helper.make_node("Cast", [f"{tensor.name}_half"], [tensor.name], to=TensorProto.FLOAT))
        else:
            values, scale = _quantised(array, axes[tensor.name])
            names = [f"{tensor.name}_int8", f"{tensor.name}_scale", f"{tensor.name}_whole"]
            stored += [numpy_helper.from_array(values, names[0]), numpy_helper.from_array(scale, names[1])]
            expanding.append(helper.make_node("Cast", [names[0]], [names[2]], to=TensorProto.FLOAT))
            expanding.append(helper.make_node("Mul", [names[2], names[1]], [tensor.name]))
    tensors, nodes = [onnx.TensorProto.FromString(t.SerializeToString()) for t in stored], list(graph.node)
    del graph.initializer[:], graph.node[:]
    graph.initializer.extend(tensors)
    graph.node.extend([*expanding, *nodes])
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node, those inside of loops and branches too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from nodes_of(attribute.g)


def _quantised(array: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    others = tuple(a for a in range(array.ndim) if a != axis)
    largest = np.abs(array).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest / _LARGEST_INT8, 1.0).astype(np.float32)
    return np.round(array / scale).astype(np.int8), scale


def _channel_axes(graph: onnx.GraphProto, keep: frozenset[str]) -> dict[str, int]:
    """Weight to the axis of its output channels, by its first reader; without those that a kept node reads."""
    ranks = {tensor.name: len(tensor.dims) for tensor in graph.initializer}
    axes: dict[str, int] = {}
    kept: set[str] = set()
    for node in nodes_of(graph):
        for place, name in enumerate(node.input):
            if name in ranks:
                axes.setdefault(name, _channel_axis(node, place, ranks[name]))
                kept |= {name} if node.name in keep else set()
    return {name: axis for name, axis in axes.items() if name not in kept and axis < ranks[name]}


def _channel_axis(node: onnx.NodeProto, place: int, rank: int) -> int:
    """Products are by [in, out] from the right; convolutions are [out, in, width], embeddings [row, width]."""
    if node.op_type == "MatMul":
        return max(0, rank - 1) if place else max(0, rank - 2)
    if node.op_type == "Gemm":
        transposed = any(a.name == "transB" and a.i for a in node.attribute)
        return 0 if transposed else 1
    return 1 if node.op_type == "ConvTranspose" else 0


def matching_nodes(path: Path, patterns: Sequence[str]) -> list[str]:
    """Names of a model's nodes that match one of the patterns (``/encoder/*``), those inside of loops too.

    Raises:
        ParleyError: a pattern matches nothing: the network has changed, and what was to be spared would not be.
    """
    names = [node.name for node in nodes_of(onnx.load(str(path)).graph)] if patterns else []
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise ParleyError(f"no node matches {pattern!r}", where=str(path), mend="correct the export's INT8_KEEPS")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]
