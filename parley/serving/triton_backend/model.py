"""Triton backend `parley`: serves one published version with ONNX Runtime, after checking what it was given.

`parley.serving.triton_install` copies this file, unchanged, into the server's backend directory; versions hold no
code. It knows no model family: names, types and shapes come from the manifest. It runs inside Triton's Python stub,
one process per instance, so it imports little: numpy, ONNX Runtime, Triton's own module, `parley.serving.trust`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

STAND_BACK = 10
"""By how much niceness a version that gets ready stands back behind those that answer."""
T = TypeVar("T")


def stand_back(work: Callable[[], T]) -> T:
    """Do `work` in a thread of low priority and return its result, or raise what it raised.

    On Linux niceness is a thread's own, and only root may take it back: a thread that ends needs not.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            os.nice(STAND_BACK)
            done.append(work())
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="start")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return done[0]


def _import_what_takes_long() -> None:
    with contextlib.suppress(ImportError):  # what is missing is said where it is needed
        import parley.serving.session
        import parley.serving.trust  # noqa: F401


stand_back(_import_what_takes_long)
import numpy as np  # noqa: E402
import triton_python_backend_utils as pb_utils  # noqa: E402

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


def open_version(directory: Path, model: str, number: int) -> tuple[dict[str, Any], Any]:
    """Check a version and open its session, with a single thread: instances are the parallelism.

    Args:
        directory: the version as Triton sees it, a link into the repository.

    Returns:
        Its manifest and the session.

    Raises:
        ParleyError: the version is not what this site published or imported; names the file.
        Exception: ONNX Runtime cannot read the model; its errors share no narrower class.
    """
    from parley.serving.session import open_session
    from parley.serving.trust import Trust

    manifest = Trust.of_environment(os.environ).verify(directory.resolve(), model, number, pinned=True)
    return manifest, open_session(directory.resolve(), manifest)


class TritonPythonModel:
    """One instance of one version."""

    def initialize(self, args: dict[str, str]) -> None:
        """Verify the version and open its session.

        Raises:
            TritonModelException: with the reason in one line; Triton refuses the version with this text.
        """
        number = int(args["model_version"])
        directory = Path(args["model_repository"]) / args["model_version"]
        try:
            manifest, self.session = stand_back(lambda: open_version(directory, args["model_name"], number))
        except Exception as error:
            raise pb_utils.TritonModelException(" ".join(str(error).split())) from None
        self.inputs = {spec["name"]: NUMPY_TYPES[spec["dtype"]] for spec in manifest["inputs"]}
        self.outputs = {spec["name"]: NUMPY_TYPES[spec["dtype"]] for spec in manifest["outputs"]}

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
