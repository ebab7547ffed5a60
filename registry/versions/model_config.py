"""Triton's configuration of a model, a pure function of one manifest.

`config.pbtxt` is for CPU nodes (this site's own backend, ONNX Runtime inside); `configs/gpu_onnxruntime.pbtxt` and
`configs/gpu_tensorrt.pbtxt` are for GPU nodes, which start the server with `--model-config-name=<name>`. Each version
carries its own, bound by its signature; the files beside the versions are copies of the newest version's.

The text names no version and the policy is always `all`: what lies in the model's folder is served. Triton reloads
every version of a model when the text changes, so it changes only with the model's batching or warm-up. Versions whose
tensors differ, because another implementation reads them or because their sizes do, are models of their own to Triton,
each with its text and under its own name (`Manifest.served_as`): one text with open sizes for all of them would not do,
for Triton's ONNX Runtime backend of GPU nodes refuses a graph whose size is fixed where the text leaves it open, and a
warm-up has one size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from parley.bundle import Manifest, TensorSpec
from parley.errors import ParleyError
from parley.files import write_atomic

Target = Literal["cpu", "gpu_onnxruntime", "gpu_tensorrt"]
GPU_TARGETS: tuple[Target, ...] = ("gpu_onnxruntime", "gpu_tensorrt")
MAX_QUEUE_DELAY_US = 500
"""How long a lone request waits for company. Under load batches form while the instances are busy, so little is
enough."""
CONFIG = "config.pbtxt"
_HEADER = "# Generated from manifest.json; do not edit.\n"
_BACKENDS: dict[Target, str] = {
    "cpu": 'backend: "parley"\n',
    "gpu_onnxruntime": 'backend: "onnxruntime"\ndefault_model_filename: "model.onnx"\n',
    "gpu_tensorrt": 'platform: "tensorrt_plan"\ndefault_model_filename: "model.plan"\n',
}


def check_same_contract(known: Manifest, manifest: Manifest) -> None:
    """Check that two versions of one model keep one contract with what reads them.

    An implementation knows its graph's tensors by name, type and number of dimensions. Their sizes are each version's
    own; only those that a Triton server knows under one name have one configuration, and so the same sizes.

    Raises:
        ParleyError: names the versions and the tensor that differ.
    """
    if known.read_by != manifest.read_by:
        return
    one_name = known.served_as == manifest.served_as
    for side, old_specs, new_specs in (
        ("input", known.inputs, manifest.inputs),
        ("output", known.outputs, manifest.outputs),
    ):
        ours, theirs = ({spec.name: spec for spec in specs} for specs in (old_specs, new_specs))
        for name in sorted(ours.keys() | theirs.keys()):
            old, new = ours.get(name), theirs.get(name)
            if old == new or (old and new and _kind(old) == _kind(new) and not one_name):
                continue
            mend = f"versions of one model that {manifest.read_by} reads share names, types and ranks of tensors: "
            raise ParleyError(
                f"version {manifest.version or 'to publish'} has {side} {name!r} as {_show(new)}, "
                f"version {known.version} as {_show(old)}",
                where=manifest.model,
                mend=mend + ("publish it here from its bundle" if one_name else "export it under another model name"),
            )


def sizes_of(manifest: Manifest, earlier: Iterable[Manifest]) -> str:
    """What a version to be published says of its tensors' sizes (`Manifest.sizes`).

    Args:
        manifest: of the version.
        earlier: of all that were ever published under its model, the newest first.

    Returns:
        What an earlier version with the same tensors says; nothing where it is the first that its implementation reads;
        else the digest of its tensors.
    """
    alone = True
    for known in earlier:
        if known.read_by == manifest.read_by:
            alone = False
            if (known.inputs, known.outputs) == (manifest.inputs, manifest.outputs):
                return known.sizes
    tensors = [[spec.model_dump() for spec in side] for side in (manifest.inputs, manifest.outputs)]
    return "" if alone else hashlib.sha256(json.dumps(tensors).encode()).hexdigest()[:8]


def render(manifest: Manifest, target: Target = "cpu") -> str:
    """The text of a model's configuration.

    Args:
        manifest: its tensors, batch sizes, instance count and warm-up are taken.
        target: kind of node, see the module.

    Raises:
        ParleyError: the manifest cannot be served (no batch dimension, unknown warm-up input).
    """
    if manifest.max_batch_size < 1:
        raise ParleyError(
            "max_batch_size must be at least 1", where=manifest.model, mend="export with a batch dimension"
        )
    parts = [
        _HEADER,
        f"name: {_quote(manifest.served_as)}\n",
        _BACKENDS[target],
        f"max_batch_size: {manifest.max_batch_size}\n",
        *(_tensor("input", spec) for spec in manifest.inputs),
        *(_tensor("output", spec) for spec in manifest.outputs),
        _batching(manifest),
        _instances(manifest, target),
        "version_policy { all { } }\n",
        _warmup(manifest),
    ]
    if target == "gpu_onnxruntime":
        parts.append('parameters { key: "intra_op_thread_count" value: { string_value: "1" } }\n')
    return "".join(parts)


def config_files(manifest: Manifest) -> dict[str, str]:
    """All configurations of a version: relative name to text. See `render`."""
    return {CONFIG: render(manifest)} | {f"configs/{target}.pbtxt": render(manifest, target) for target in GPU_TARGETS}


def write_model_config(manifest: Manifest, directory: Path) -> bool:
    """Write a version's configurations into its model's folder, each in one rename and only where the text differs.

    In the repository, where all versions of a model share a folder, the configurations of those that are served under
    its own name lie beside them: Triton wants a model called as its folder.

    Returns:
        Whether anything was written, so that a running server has to be told.
    """
    changed = False
    if manifest.served_as != directory.name:
        return changed
    for name, text in config_files(manifest).items():
        path = directory / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            write_atomic(path, text)
            changed = True
    return changed


def _tensor(side: str, spec: TensorSpec) -> str:
    # Triton wants at least one dimension besides the batch; a scalar per item is [1] outside and reshaped to [] inside.
    shape = f"dims: {_ints(spec.dims)}" if spec.dims else "dims: [ 1 ] reshape { shape: [ ] }"
    return f"{side} [ {{ name: {_quote(spec.name)} data_type: TYPE_{spec.dtype} {shape} }} ]\n"


def _batching(manifest: Manifest) -> str:
    sizes = sorted({size for size in manifest.preferred_batch_sizes if 1 < size <= manifest.max_batch_size})
    preferred = f"preferred_batch_size: {_ints(sizes)} " if sizes else ""
    return f"dynamic_batching {{ {preferred}max_queue_delay_microseconds: {MAX_QUEUE_DELAY_US} }}\n"


def _instances(manifest: Manifest, target: Target) -> str:
    kind = "KIND_CPU" if target == "cpu" else "KIND_GPU"
    return f"instance_group [ {{ kind: {kind} count: {max(1, manifest.instance_count)} }} ]\n"


def _warmup(manifest: Manifest) -> str:
    """One request of zeros per version before it is ready, so that the first caller does not pay for lazy set-up."""
    names = {spec.name for spec in manifest.inputs}
    if unknown := sorted(set(manifest.warmup) - names):
        raise ParleyError(
            f"warm-up names {unknown[0]!r}, which is no input", where=manifest.model, mend="export it again"
        )
    inputs = []
    for spec in manifest.inputs:
        dims = manifest.warmup.get(spec.name, [size if size > 0 else 1 for size in spec.dims]) or [1]
        inputs.append(
            f"  inputs {{ key: {_quote(spec.name)} "
            f"value: {{ data_type: TYPE_{spec.dtype} dims: {_ints(dims)} zero_data: true }} }}\n"
        )
    return 'model_warmup [ { name: "zeros" batch_size: 1\n' + "".join(inputs) + "} ]\n"


def _ints(values: Sequence[int]) -> str:
    return "[ " + ", ".join(str(value) for value in values) + " ]"


def _quote(text: str) -> str:
    return json.dumps(text)


def _kind(spec: TensorSpec) -> tuple[str, int]:
    return spec.dtype, len(spec.dims)


def _show(spec: TensorSpec | None) -> str:
    return "absent" if spec is None else f"{spec.dtype} {_ints(spec.dims)}"
