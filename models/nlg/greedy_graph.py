"""Join an exported step graph into a graph that writes whole replies: the greedy loop as an ONNX ``Loop``.

One request then makes one reply, with no round trip a token. The loop is the one of `NlgNetwork.generate`: a buffer of
tokens that starts with the prompts, a position that runs from left to right over all rows at once, rows whose prompt is
over append their best token, and the loop ends when every row has written its end mark.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.exporting import OPSET

PAD, END = 0, 1
STEP_INPUTS = ("token", "position", "cache")
STEP_OUTPUTS = ("logits", "cache_after")


def greedy_loop(step: onnx.ModelProto, buffer: int, prompt: int, cache: tuple[int, int, int]) -> onnx.ModelProto:
    """The reply graph: ``prompt_ids`` int64 [batch, prompt] to ``tokens`` int64 [batch, buffer] and ``logprob``.

    Args:
        step: graph of ``token`` int64 [batch], ``position`` int64 [], ``cache`` to ``logits`` and ``cache_after``.
        buffer: tokens of prompt and reply together.
        prompt: width of the prompts, padded at their end with 0.
        cache: (layers * 2, heads, head width).
    """
    constants = _constants(buffer, prompt, cache)
    inner = onnx.compose.add_prefix_graph(step.graph, "step/", rename_inputs=True, rename_outputs=True)
    nodes = [
        _node("Shape", ["prompt_ids"], "batch_axis", start=0, end=1),
        _node("Concat", ["batch_axis", "rest"], "rest_shape", axis=0),
        _node("Expand", ["pad", "rest_shape"], "rest_ids"),
        _node("Concat", ["prompt_ids", "rest_ids"], "buffer_start", axis=1),
        _node("Equal", ["prompt_ids", "pad"], "is_pad"),
        _node("Not", ["is_pad"], "is_prompt"),
        _node("Cast", ["is_prompt"], "prompt_ones", to=TensorProto.INT64),
        _node("ReduceSum", ["prompt_ones", "axis_1"], "lengths", keepdims=0),
        _node("Concat", ["batch_axis", "tail"], "cache_shape", axis=0),
        _node("Expand", ["nothing", "cache_shape"], "cache_start"),
        _node("Expand", ["no", "batch_axis"], "done_start"),
        _node("Expand", ["nothing", "batch_axis"], "total_start"),
        helper.make_node(
            "Loop", ["trips", "go", "buffer_start", "cache_start", "done_start", "total_start"],
            ["tokens", "cache_end", "done_end", "total_end"], body=_body(inner, buffer, cache),
        ),
        _node("Unsqueeze", ["total_end", "axis_1"], "logprob"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "reply",
        [helper.make_tensor_value_info("prompt_ids", TensorProto.INT64, ["batch", prompt])],
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, ["batch", buffer]),
            helper.make_tensor_value_info("logprob", TensorProto.FLOAT, ["batch", 1]),
        ],
        # The weights stand outside the loop; its body refers to them.
        [*(numpy_helper.from_array(value, name) for name, value in constants.items()), *inner.initializer],
    )
    opsets = [
        helper.make_opsetid(o.domain, max(o.version, OPSET) if not o.domain else o.version) for o in step.opset_import
    ]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=step.ir_version, producer_name="parley")
    onnx.checker.check_model(model)
    return model


def _constants(buffer: int, prompt: int, cache: tuple[int, int, int]) -> dict[str, NDArray[Any]]:
    """Small tensors that stand outside the loop, by name."""
    layers, heads, head_width = cache
    return {
        "rest": np.array([buffer - prompt], np.int64), "tail": np.array([layers, heads, buffer, head_width], np.int64),
        "places": np.arange(buffer, dtype=np.int64), "trips": np.array(buffer - 1, np.int64), "go": np.array(True),
        "one": np.array(1, np.int64), "pad": np.array(PAD, np.int64), "end": np.array(END, np.int64),
        "nothing": np.array(0.0, np.float32), "no": np.array(False), "axis_0": np.array([0], np.int64),
        "axis_1": np.array([1], np.int64), "axis_last": np.array([-1], np.int64),
    }  # fmt: skip


def _body(step: onnx.GraphProto, buffer: int, cache: tuple[int, int, int]) -> onnx.GraphProto:
    """One trip: the step, then its best token into the buffer of the rows that are writing."""
    layers, heads, head_width = cache
    renamed = {f"step/{name}": inside for name, inside in zip(STEP_INPUTS, ("token", "at", "cache"), strict=True)}
    renamed |= {"step/logits": "logits", "step/cache_after": "cache_next"}
    middle = []
    for original in step.node:
        node = onnx.NodeProto()
        node.CopyFrom(original)
        node.input[:] = [renamed.get(name, name) for name in original.input]
        node.output[:] = [renamed.get(name, name) for name in original.output]
        middle.append(node)
    before = [_node("Gather", ["buffer", "at"], "token", axis=1)]
    after = [
        _node("LogSoftmax", ["logits"], "scores", axis=-1),
        _node("ArgMax", ["scores"], "following", axis=-1, keepdims=0),
        _node("ReduceMax", ["scores", "axis_last"], "best", keepdims=0),
        _node("Add", ["at", "one"], "next_at"),
        _node("GreaterOrEqual", ["next_at", "lengths"], "past_prompt"),
        _node("Not", ["done"], "not_done"),
        _node("And", ["past_prompt", "not_done"], "writing"),
        _node("Equal", ["places", "next_at"], "column"),
        _node("Unsqueeze", ["writing", "axis_1"], "writing_rows"),
        _node("And", ["writing_rows", "column"], "cell"),
        _node("Unsqueeze", ["following", "axis_1"], "following_rows"),
        _node("Where", ["cell", "following_rows", "buffer"], "buffer_next"),
        _node("Where", ["writing", "best", "nothing"], "gain"),
        _node("Add", ["total", "gain"], "total_next"),
        _node("Equal", ["following", "end"], "is_end"),
        _node("And", ["writing", "is_end"], "ends"),
        _node("Or", ["done", "ends"], "done_next"),
        _node("Cast", ["done_next"], "done_ones", to=TensorProto.INT32),
        _node("ReduceMin", ["done_ones", "axis_0"], "all_ones", keepdims=0),
        _node("Cast", ["all_ones"], "all_done", to=TensorProto.BOOL),
        _node("Not", ["all_done"], "go_next"),
    ]
    info = helper.make_tensor_value_info
    cache_dims: list[str | int | None] = ["batch", layers, heads, buffer, head_width]

    def carried(suffix: str) -> list[onnx.ValueInfoProto]:
        return [
            info(f"buffer{suffix}", TensorProto.INT64, ["batch", buffer]),
            info(f"cache{suffix}", TensorProto.FLOAT, cache_dims),
            info(f"done{suffix}", TensorProto.BOOL, ["batch"]),
            info(f"total{suffix}", TensorProto.FLOAT, ["batch"]),
        ]

    inputs = [info("at", TensorProto.INT64, []), info("go_on", TensorProto.BOOL, []), *carried("")]
    outputs = [info("go_next", TensorProto.BOOL, []), *carried("_next")]
    return helper.make_graph([*before, *middle, *after], "write_one_token", inputs, outputs)


def _node(kind: str, inputs: list[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs, [output], name=f"{kind}/{output}", **attributes)
