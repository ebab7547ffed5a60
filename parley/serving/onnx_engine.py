"""ONNX Runtime in this process, on the same repository that Triton serves.

For laptops without Linux, for `evaluate`, and as the floor that benchmarks compare a server with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from parley.bundle import Manifest, TensorSpec, verify_files
from parley.errors import ParleyError
from parley.serving.engine import DEFAULT_TIMEOUT_S, EngineRejected, EngineTimeout, EngineUnavailable
from parley.serving.trust import Trust

NUMPY_TYPES: dict[str, np.dtype[Any]] = {
    "FP32": np.dtype(np.float32),
    "FP16": np.dtype(np.float16),
    "INT64": np.dtype(np.int64),
    "INT32": np.dtype(np.int32),
    "INT16": np.dtype(np.int16),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


@dataclass(frozen=True)
class _Loaded:
    manifest: Manifest
    session: Any
    """`onnxruntime.InferenceSession`; its `run` may be called from several threads at once."""

    def check(self, inputs: Mapping[str, NDArray[Any]]) -> None:
        """Refuse what Triton would refuse, in the same words for both engines' users."""
        where = self.manifest.model
        specs = {spec.name: spec for spec in self.manifest.inputs}
        if unknown := sorted(inputs.keys() - specs.keys()):
            raise EngineRejected(f"unknown input {unknown[0]!r}", where=where, mend=f"inputs are {sorted(specs)}")
        sizes = set()
        for name, spec in specs.items():
            if name not in inputs:
                raise EngineRejected(f"input {name!r} is missing", where=where, mend=f"inputs are {sorted(specs)}")
            _check_array(where, spec, inputs[name])
            sizes.add(inputs[name].shape[0])
        if len(sizes) > 1 or not 1 <= max(sizes) <= self.manifest.max_batch_size:
            raise EngineRejected(
                f"batch sizes {sorted(sizes)}",
                where=where,
                mend=f"send one size, 1 to {self.manifest.max_batch_size}",
            )


def _check_array(where: str, spec: TensorSpec, array: NDArray[Any]) -> None:
    if array.dtype != NUMPY_TYPES[spec.dtype]:
        raise EngineRejected(
            f"input {spec.name!r} is {array.dtype}", where=where, mend=f"send {NUMPY_TYPES[spec.dtype]}"
        )
    shape = array.shape[1:]
    fits = len(shape) == len(spec.dims) and all(w in (-1, n) for w, n in zip(spec.dims, shape, strict=True))
    if not array.ndim or not fits:
        raise EngineRejected(
            f"input {spec.name!r} has shape {list(array.shape)}",
            where=where,
            mend=f"send [batch, *{spec.dims}]",
        )


class OnnxEngine:
    """The in-process engine; see `parley.serving.engine.Engine`.

    Sessions open at first use, after the version's signature and files were checked, and stay open. They run one
    thread each, in a small pool, so that the event loop is never blocked.

    Args:
        repo: the model repository.
        trust: the keys and pins that versions are checked against.
        threads: requests that run at once.
    """

    def __init__(self, repo: Path, trust: Trust, *, threads: int = 2) -> None:
        self._repo = repo
        self._trust = trust
        self._bundle: Path | None = None
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="onnx")
        self._loaded: dict[tuple[str, int], asyncio.Future[_Loaded]] = {}

    @classmethod
    def from_bundle(cls, directory: Path, *, threads: int = 2) -> OnnxEngine:
        """An engine for one unpublished bundle; the model and version arguments of its methods are then ignored."""
        engine = cls(directory, Trust((), directory), threads=threads)
        engine._bundle = directory
        return engine

    async def __aenter__(self) -> OnnxEngine:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def infer(
        self,
        model: str,
        version: int,
        inputs: Mapping[str, NDArray[Any]],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ) -> dict[str, NDArray[Any]]:
        """See `Engine.infer`. Opening a session for the first time does not count against `timeout_s`."""
        loaded = await self._get(model, version)
        loaded.check(inputs)
        names = [spec.name for spec in loaded.manifest.outputs]
        running = asyncio.get_running_loop().run_in_executor(self._pool, loaded.session.run, names, dict(inputs))
        try:
            values = await asyncio.wait_for(running, timeout_s)
        except TimeoutError:
            raise EngineTimeout(
                f"no answer within {timeout_s:g} s",
                where=f"{model} version {version}",
                mend="lower the load or raise the timeout",
            ) from None
        except Exception as error:  # ONNX Runtime's errors share no base class narrower than Exception
            raise EngineRejected(" ".join(str(error).split())[:500], where=f"{model} version {version}") from error
        return dict(zip(names, values, strict=True))

    async def ready(self, model: str, version: int) -> bool:
        """Whether the version's files are whole and its session opens."""
        try:
            await self._get(model, version)
        except (EngineRejected, EngineUnavailable):
            return False
        return True

    async def close(self) -> None:
        """Forget the sessions and end the pool after what runs in it."""
        self._loaded.clear()
        self._pool.shutdown(wait=False)

    async def _get(self, model: str, version: int) -> _Loaded:
        key = ("", 0) if self._bundle else (model, version)
        future = self._loaded.get(key)
        if future is None:
            try:
                future = asyncio.get_running_loop().run_in_executor(self._pool, self._open, model, version)
            except RuntimeError:
                raise EngineUnavailable("the engine is closed", where=f"{model} version {version}") from None
            self._loaded[key] = future
        try:
            # Shielded: one caller who gives up must not cancel the opening that others wait for.
            return await asyncio.shield(future)
        except EngineRejected:
            self._loaded.pop(key, None)  # a mended file is found by the next request
            raise

    def _open(self, model: str, version: int) -> _Loaded:
        """Verify a version and open its session.

        Raises:
            EngineRejected: the version does not exist, is not what this site accepted, or ONNX Runtime cannot read it.
        """
        directory = self._bundle or (self._repo / model / str(version)).resolve()
        try:
            if self._bundle:  # a run's own output: nobody has signed it yet
                manifest = verify_files(directory)
            else:
                manifest = Manifest.model_validate(self._trust.verify(directory, model, version, pinned=False))
            from parley.serving.session import open_session  # brings ONNX Runtime, which a client of Triton never needs

            session = open_session(directory, manifest.model_dump())
        except ParleyError as error:
            raise EngineRejected(error.what, where=error.where, mend=error.mend) from None
        except Exception as error:  # as above
            raise EngineRejected(
                f"ONNX Runtime cannot open it: {' '.join(str(error).split())[:300]}",
                where=str(directory / "model.onnx"),
                mend="export the run again",
            ) from error
        return _Loaded(manifest, session)
