"""From torch to ONNX, with a parity check on real inputs that fails the export when it is off."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import nn

from models.weights import store_weights
from parley.errors import ParleyError

OPSET = 18
PRECISIONS = ("fp32", "fp16", "fp16-weights", "int8", "int8-weights")
"""What each means, and what it costs and gains: `benchmarks.speed.variants`, docs/quality.md."""

Feeds = dict[str, NDArray[Any]]
"""Inputs of a graph by name."""
Reference = Callable[[Feeds], Sequence[NDArray[Any]]]
"""What torch gives for a graph's inputs: its outputs, in the graph's order."""


@contextmanager
def staged(bundle: Path) -> Iterator[Path]:
    """A folder beside ``bundle`` that takes its place when the block ends well.

    An export that fails (its parity check, a full disk) leaves the bundle that was there.
    """
    staging = bundle.with_name(f".{bundle.name}")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    shutil.rmtree(bundle, ignore_errors=True)
    staging.rename(bundle)


def to_onnx(
    module: nn.Module,
    example: tuple[torch.Tensor, ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
    dynamic_axes: dict[str, dict[int, str]],
) -> None:
    """Export ``module`` (in eval mode) by tracing; the file carries its weights.

    Args:
        module: called with tensors of ``example``'s kinds.
        example: one tensor an input, batch first.
        inputs: names in order.
        outputs: names in order.
        path: the file to write.
        dynamic_axes: tensor name to its axes that may change, as ``torch.onnx.export`` takes them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    module.eval()
    with torch.no_grad():
        torch.onnx.export(
            module, example, str(path), input_names=list(inputs), output_names=list(outputs),
            dynamic_axes=dynamic_axes, opset_version=OPSET, dynamo=False, do_constant_folding=True,
        )  # fmt: skip
    onnx.checker.check_model(str(path), full_check=True)


def convert(path: Path, precision: str, keep_fp32: Sequence[str] = ()) -> None:
    """Convert an fp32 model in place: ``int8`` is dynamic quantisation of its matrix products, ``fp16-weights`` and
    ``int8-weights`` store weights small (`models.weights`) and leave the arithmetic in single precision.

    Inputs and outputs keep their types. ``keep_fp32`` names operator types (fp16) or nodes (int8) left alone; the
    weights of such nodes are stored in half precision by ``int8-weights``.
    """
    if precision == "fp32":
        return
    if precision == "fp16":
        from onnxruntime.transformers.float16 import convert_float_to_float16
        from onnxruntime.transformers.onnx_model import OnnxModel

        model = convert_float_to_float16(
            onnx.load(str(path)), keep_io_types=True, op_block_list=list(keep_fp32) or None
        )
        # The converter puts its casts behind their readers; ONNX wants them before.
        sorter = OnnxModel(model)
        sorter.topological_sort()
        onnx.save(sorter.model, str(path))
    elif precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        out = path.with_suffix(".int8.onnx")
        quantize_dynamic(
            str(path), str(out), weight_type=QuantType.QInt8, per_channel=True, nodes_to_exclude=list(keep_fp32),
            op_types_to_quantize=["MatMul", "Gemm"], extra_options={"EnableSubgraph": True},
        )  # fmt: skip
        shutil.move(out, path)
    elif precision == "int8-weights":
        store_weights(path, 8, keep_fp32)
        store_weights(path, 16)
    elif precision == "fp16-weights":
        store_weights(path, 16)
    else:
        raise ParleyError(f"unknown precision {precision!r}", mend=f"one of {', '.join(PRECISIONS)}")


def session(path: Path) -> onnxruntime.InferenceSession:
    """A one-thread CPU session."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_parity(run_torch: Reference, path: Path, feeds: Sequence[Feeds], tolerance: float) -> dict[str, Any]:
    """Compare torch with the exported graph on real inputs, element by element.

    Args:
        run_torch: the reference, from feeds to outputs in the graph's order.
        path: the model to check, *after* any conversion of its precision.
        feeds: real inputs.
        tolerance: largest absolute difference allowed, relative to the larger of 1 and the output's peak.

    Returns:
        What the manifest records: the figures and how many inputs they rest on.

    Raises:
        ParleyError: an output differs by more than ``tolerance``; names the output.
    """
    graph = session(path)
    names = [o.name for o in graph.get_outputs()]
    worst = dict.fromkeys(names, 0.0)
    for feed in feeds:
        expected = run_torch(feed)
        for name, mine, theirs in zip(names, expected, graph.run(None, feed), strict=True):
            if mine.shape != theirs.shape:
                raise ParleyError(f"parity: {name} has shape {theirs.shape}, torch {mine.shape}", where=str(path))
            scale = max(1.0, float(np.max(np.abs(mine), initial=0.0)))
            gap = np.max(np.abs(mine.astype(np.float64) - theirs.astype(np.float64)), initial=0.0)
            worst[name] = max(worst[name], float(gap) / scale)
    for name, error in worst.items():
        if not error <= tolerance:
            raise ParleyError(
                f"parity: {name} differs by {error:.2e}, allowed {tolerance:.0e}",
                where=str(path),
                mend="export with --precision fp32, or mend the network",
            )
    return {"max_abs_error": worst, "tolerance": tolerance, "inputs_checked": len(feeds)}


def tensorrt(
    path: Path, shapes: dict[str, tuple[Sequence[int], Sequence[int], Sequence[int]]], *, fp16: bool = True
) -> Path:
    """Build ``model.plan`` beside ``model.onnx`` for the GPU of this machine.

    Args:
        path: the ONNX file.
        shapes: input name to its (smallest, usual, largest) shape with the batch.
        fp16: allow half precision.

    Raises:
        ParleyError: no GPU or no TensorRT here, or the graph does not build; says what is missing.
    """
    mend = "run on a machine with an NVIDIA GPU and `pip install parley[gpu]`"
    if not torch.cuda.is_available():
        raise ParleyError("a TensorRT plan needs an NVIDIA GPU; none is here", where=str(path), mend=mend)
    try:
        import tensorrt as trt
    except ImportError:
        raise ParleyError("TensorRT is not installed", where=str(path), mend=mend) from None
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(path.read_bytes()):
        reasons = "; ".join(str(parser.get_error(i)) for i in range(parser.num_errors))
        raise ParleyError(f"TensorRT cannot read the graph: {reasons}", where=str(path), mend="export fp32 ONNX first")
    config = builder.create_builder_config()
    if fp16 and hasattr(trt.BuilderFlag, "FP16"):
        config.set_flag(trt.BuilderFlag.FP16)
    profile = builder.create_optimization_profile()
    for name, (smallest, usual, largest) in shapes.items():
        profile.set_shape(name, tuple(smallest), tuple(usual), tuple(largest))
    config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ParleyError("TensorRT could not build the plan", where=str(path), mend="see its messages above")
    target = path.with_name("model.plan")
    target.write_bytes(plan)
    return target
