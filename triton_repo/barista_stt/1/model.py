"""Triton Python backend that serves one published Parley version with ONNX Runtime.

`registry.publish` copies this file, unchanged, into every version directory beside `model.onnx` and `manifest.json`;
the manifest lists its sha256 like any other file's. It knows no model family: names, types and shapes come from the
manifest. It runs inside Triton's Python stub, so it uses nothing but the standard library, numpy, ONNX Runtime and
Triton's own module.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils

NUMPY_TYPES: dict[str, Any] = {
    "FP32": np.float32,
    "FP16": np.float16,
    "INT64": np.int64,
    "INT32": np.int32,
    "INT16": np.int16,
    "INT8": np.int8,
    "UINT8": np.uint8,
    "BOOL": np.bool_,
}

Arrays = dict[str, np.ndarray[Any, Any]]


def verify_files(directory: Path, digests: dict[str, str]) -> None:
    """Raise `TritonModelException` naming the first file that is missing or differs from its sha256 in the manifest."""
    for relative, expected in sorted(digests.items()):
        path = directory / relative
        if not path.is_file():
            raise pb_utils.TritonModelException(f"{relative} is missing from {directory}: publish the version again")
        actual = hashlib.sha256(path.read_bytes()).hexdigest()
        if actual != expected:
            raise pb_utils.TritonModelException(
                f"{relative} in {directory} is not the published file (sha256 {actual[:12]}, manifest says "
                f"{expected[:12]}): restore it or publish the version again"
            )


class TritonPythonModel:
    """One instance of one version: an ONNX Runtime session with a single thread (instances are the parallelism)."""

    def initialize(self, args: dict[str, str]) -> None:
        """Verify the version's files against its manifest and open the session.

        Raises:
            TritonModelException: a file is missing or altered; Triton refuses the version with this text.
        """
        directory = Path(args["model_repository"]) / args["model_version"]
        manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
        verify_files(directory, manifest["files"])
        self.inputs = {spec["name"]: NUMPY_TYPES[spec["dtype"]] for spec in manifest["inputs"]}
        self.outputs = {spec["name"]: NUMPY_TYPES[spec["dtype"]] for spec in manifest["outputs"]}
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.session = ort.InferenceSession(
            str(directory / "model.onnx"), sess_options=options, providers=["CPUExecutionProvider"]
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Answer a dynamic batch: requests whose shapes agree run as one batch, a bad request fails alone."""
        responses: list[Any] = [None] * len(requests)
        groups: dict[tuple[tuple[int, ...], ...], list[tuple[int, Arrays]]] = {}
        for index, request in enumerate(requests):
            try:
                arrays = self._arrays(request)
            except ValueError as error:
                responses[index] = _refusal(error)
                continue
            shapes = tuple(array.shape[1:] for array in arrays.values())
            groups.setdefault(shapes, []).append((index, arrays))
        for members in groups.values():
            self._run_group(members, responses)
        return responses

    def _arrays(self, request: Any) -> Arrays:
        arrays: Arrays = {}
        for name, dtype in self.inputs.items():
            tensor = pb_utils.get_input_tensor_by_name(request, name)
            if tensor is None:
                raise ValueError(f"input {name!r} is missing")
            array = tensor.as_numpy()
            if array.dtype != dtype:
                raise ValueError(f"input {name!r} is {array.dtype}, expected {np.dtype(dtype)}")
            arrays[name] = array
        if len({array.shape[0] for array in arrays.values()}) > 1:
            raise ValueError(
                "the inputs disagree about the batch size: " + str({n: a.shape for n, a in arrays.items()})
            )
        return arrays

    def _run_group(self, members: list[tuple[int, Arrays]], responses: list[Any]) -> None:
        """Run requests of equal shapes at once; when the batch fails, run each alone so that only the culprit is
        refused."""
        try:
            outputs = self._run([arrays for _, arrays in members])
        except Exception as error:  # ONNX Runtime's errors share no base class narrower than Exception
            if len(members) == 1:
                responses[members[0][0]] = _refusal(error)
                return
            for member in members:
                self._run_group([member], responses)
            return
        first = 0
        for index, arrays in members:
            last = first + next(iter(arrays.values())).shape[0]
            tensors = [
                pb_utils.Tensor(name, np.ascontiguousarray(value[first:last])) for name, value in outputs.items()
            ]
            responses[index] = pb_utils.InferenceResponse(output_tensors=tensors)
            first = last

    def _run(self, batch: list[Arrays]) -> Arrays:
        feed = batch[0] if len(batch) == 1 else {name: np.concatenate([a[name] for a in batch]) for name in self.inputs}
        values = self.session.run(list(self.outputs), feed)
        size = next(iter(feed.values())).shape[0]
        for name, value in zip(self.outputs, values, strict=True):
            if value.shape[:1] != (size,):
                raise ValueError(f"output {name!r} has shape {value.shape} for a batch of {size}")
        return {
            name: value.astype(dtype, copy=False)
            for (name, dtype), value in zip(self.outputs.items(), values, strict=True)
        }


def _refusal(error: Exception) -> Any:
    reason = " ".join(str(error).split())[:500]
    return pb_utils.InferenceResponse(output_tensors=[], error=pb_utils.TritonError(f"refused: {reason}"))
