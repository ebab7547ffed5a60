"""Triton over gRPC, asynchronously: the engine of production.

Every request names its version, so nothing that is published or promoted meanwhile can change what a call in progress
is answered by. A `TritonEngine` belongs to the event loop on which it is first used.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc.aio as triton
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from parley.bundle import read_manifest
from parley.errors import ParleyError
from parley.serving.engine import (
    DEFAULT_TIMEOUT_S,
    EngineError,
    EngineRejected,
    EngineTimeout,
    EngineUnavailable,
)
from parley.serving.triton_control import CONTROL_HEADER, GRPC_PREFIX, KEY_MEND

_CHANNEL_OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # gRPC waits up to two minutes between attempts by default; a restarted server must be found within a second.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    # Without this, channels to one address share one connection, and several channels would buy nothing.
    ("grpc.use_local_subchannel_pool", 1),
]


@dataclass(frozen=True)
class _Contract:
    """What the server knows of a version: tensors by name, each with whether it is one number per item: [batch] in the
    graph, [batch, 1] on Triton's wire."""

    name: str
    """Of its model there."""
    inputs: dict[str, bool]
    outputs: dict[str, bool]


class TritonEngine:
    """See `parley.serving.engine.Engine`.

    Args:
        address: `host:port` of Triton's gRPC service, or `unix:` and the path of its socket.
        control_key: where the server was started with one; only `load` and `unload` need it.
        channels: connections used in turn. One carries some hundred calls.
        repo: the model repository, whose manifests say under which name the server knows a version; left out, every
            version is known by its model's own name.
    """

    def __init__(self, address: str, *, control_key: str = "", channels: int = 1, repo: Path | None = None) -> None:
        self.address = address
        self._repo = repo
        self.control_key = control_key
        self._count = max(1, channels)
        self._clients: list[triton.InferenceServerClient] = []
        self._turn = itertools.count()
        self._contracts: dict[tuple[str, int], _Contract] = {}

    async def __aenter__(self) -> TritonEngine:
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
        """See `Engine.infer`."""
        where = f"{model} version {version}"
        try:
            async with asyncio.timeout(timeout_s):
                contract = await self._contract(model, version, timeout_s)
                tensors = [
                    _tensor(where, name, array, contract.inputs.get(name, False)) for name, array in inputs.items()
                ]
                result = await self._client().infer(
                    contract.name, tensors, model_version=str(version), client_timeout=timeout_s
                )
        except InferenceServerException as error:
            raise self._translate(error, where, timeout_s) from None
        except TimeoutError:
            raise _timeout(where, timeout_s) from None
        outputs = {}
        for name, scalar in contract.outputs.items():
            array = result.as_numpy(name)
            if array is None or (scalar and array.ndim != 2):
                raise EngineUnavailable(f"the answer lacks {name!r}", where=where, mend="restart the server")
            outputs[name] = array[:, 0] if scalar else array
        return outputs

    async def ready(self, model: str, version: int) -> bool:
        """Whether the server has this version ready; False when there is no server."""
        try:
            name = await self._served_name(model, version)
            return bool(await self._client().is_model_ready(name, str(version), client_timeout=DEFAULT_TIMEOUT_S))
        except InferenceServerException:
            return False

    async def load(self, model: str, *, timeout_s: float = 60.0) -> None:
        """Load the model's versions as its `config.pbtxt` says; versions already loaded and unchanged go on answering.

        Raises:
            EngineError: the server is not there, refuses the key, cannot load a version (with its reason), or takes
                too long.
        """
        await self._control("load", model, timeout_s)

    async def unload(self, model: str, *, timeout_s: float = 60.0) -> None:
        """Unload all versions of the model. Raises as `load`."""
        await self._control("unload", model, timeout_s)

    async def close(self) -> None:
        """Close the connections."""
        clients, self._clients = self._clients, []
        for client in clients:
            await client.close()

    def _client(self) -> triton.InferenceServerClient:
        if not self._clients:  # made here, not in __init__: grpc.aio binds a channel to the running loop
            self._clients = [
                triton.InferenceServerClient(self.address, channel_args=_CHANNEL_OPTIONS) for _ in range(self._count)
            ]
        return self._clients[next(self._turn) % len(self._clients)]

    async def _control(self, verb: str, model: str, timeout_s: float) -> None:
        client = self._client()
        method = client.load_model if verb == "load" else client.unload_model
        try:
            await method(model, headers={GRPC_PREFIX + CONTROL_HEADER: self.control_key}, client_timeout=timeout_s)
        except InferenceServerException as error:
            raise self._translate(error, f"{verb} {model}", timeout_s) from None

    async def _contract(self, model: str, version: int, timeout_s: float) -> _Contract:
        known = self._contracts.get((model, version))
        if known is None:
            name = await self._served_name(model, version)
            config = (await self._client().get_model_config(name, str(version), client_timeout=timeout_s)).config
            known = _Contract(
                name,
                {tensor.name: tensor.HasField("reshape") for tensor in config.input},
                {tensor.name: tensor.HasField("reshape") for tensor in config.output},
            )
            self._contracts[model, version] = known
        return known

    async def _served_name(self, model: str, version: int) -> str:
        known = self._contracts.get((model, version))
        if known is not None or self._repo is None:
            return known.name if known is not None else model
        try:
            return (await asyncio.to_thread(read_manifest, self._repo / model / str(version))).served_as
        except ParleyError:  # not published here: the server says what it thinks of it
            return model

    def _translate(self, error: InferenceServerException, where: str, timeout_s: float) -> EngineError:
        status, text = str(error.status()), " ".join(str(error.message()).split())[:500]
        if status.endswith("DEADLINE_EXCEEDED"):
            return _timeout(where, timeout_s)
        if "restricted" in text:
            return EngineRejected(text, where=where, mend=KEY_MEND)
        if status.endswith("UNAVAILABLE") and (
            "unknown model" in text or "not at ready state" in text or "not ready" in text
        ):
            return EngineUnavailable(text, where=where, mend="load the version, or correct the release")
        if status.endswith(("UNAVAILABLE", "CANCELLED")):
            return EngineUnavailable(
                f"Triton at {self.address} does not answer",
                where=where,
                mend="start it, or read its log if it stopped",
            )
        if "not healthy" in text or "unhealthy" in text:
            return EngineUnavailable(text, where=where, mend="restart the server")
        return EngineRejected(text, where=where)


def _tensor(where: str, name: str, array: NDArray[Any], scalar: bool) -> triton.InferInput:
    dtype = np_to_triton_dtype(array.dtype)
    if dtype is None or array.ndim == 0:
        raise EngineRejected(f"input {name!r} is {array.dtype} with shape {list(array.shape)}", where=where)
    wire = np.ascontiguousarray(array[:, np.newaxis] if scalar and array.ndim == 1 else array)
    tensor = triton.InferInput(name, list(wire.shape), dtype)
    tensor.set_data_from_numpy(wire)
    return tensor


def _timeout(where: str, timeout_s: float) -> EngineTimeout:
    return EngineTimeout(f"no answer within {timeout_s:g} s", where=where, mend="lower the load or raise the timeout")
