"""The same requests to the same graphs: ONNX Runtime in this process, and the real tritonserver, in turns.

Both run one thread a session on one core, the client with them, so that what Triton adds (the wire, its scheduler) is
paid for out of the same core. Precisions, batches and engines alternate within one run: a machine that drifts drifts
under all of them.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.speed.losses import Feeds
from parley.bundle import read_manifest
from parley.serving.session import open_session
from parley.serving.triton_engine import TritonEngine
from parley.serving.triton_server import TritonServer
from parley.settings import Settings
from registry.releasing.holds import hold
from registry.served import ServedView
from registry.versions.publish import publish
from registry.writing import open_for_writing

BATCHES = (1, 2, 4, 8, 16)
_SINGLES = 4
"""Requests of one item in a round: they are the ones that calls make."""
_FEWEST_ROUNDS = 3
_PATIENCE_S = 60.0


def on_one_core() -> int | None:
    """Keep this process, and those it starts, on the last core it may use; the core, or None where that cannot be."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    return core


def batch_of(requests: Sequence[Feeds], size: int) -> Feeds:
    """``size`` real requests as one: taken evenly from all, padded with zeros at the end where widths differ."""
    picked = [requests[n * len(requests) // size] for n in range(size)] if requests else []
    return {name: _stacked([request[name] for request in picked]) for name in picked[0]}


def _stacked(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    shape = np.max([array.shape[1:] for array in arrays], axis=0).astype(int)
    padded = []
    for array in arrays:
        widths = [(0, int(want) - have) for want, have in zip(shape, array.shape[1:], strict=True)]
        padded.append(np.pad(array, [(0, 0), *widths]))
    return np.concatenate(padded)


def batch_mates(session: Any, requests: Sequence[Feeds]) -> float:
    """How far an answer moves with what else is in its batch: largest difference, relative to the answer's peak."""
    feed = batch_of(requests, 8)
    together = session.run(None, feed)
    worst = 0.0
    for row in range(8):
        alone = session.run(None, {name: array[row : row + 1] for name, array in feed.items()})
        for mine, theirs in zip(together, alone, strict=True):
            gap = np.abs(mine[row : row + 1].astype(np.float64) - theirs.astype(np.float64)).max(initial=0.0)
            worst = max(worst, float(gap) / max(1.0, float(np.abs(theirs).max(initial=0.0))))
    return worst


@contextmanager
def served(bundles: Mapping[str, Path]) -> Iterator[tuple[str, dict[str, tuple[str, int]]]]:
    """A Triton with these bundles as versions of their model, in a site of its own that is removed afterwards.

    Yields:
        Its gRPC address, and the name and version by which it serves each bundle.
    """
    with tempfile.TemporaryDirectory(prefix="parley-speed-") as name:
        folder = Path(name)
        site = Settings(
            repo_dir=folder / "repo", state_dir=folder / "var", bots_dir=folder / "bots",
            trusted_keys_dir=folder / "keys",
        )  # fmt: skip
        site.repo_dir.mkdir()
        with open_for_writing(site) as registry:
            refs = {}
            for precision, bundle in bundles.items():
                model = read_manifest(bundle).model
                refs[precision] = (model, publish(bundle, registry, who="benchmark"))
            with registry.catalogue.write() as c:
                hold(c, "experiment speed", refs.values())
            view = ServedView(registry)
            view.prepare()
            with TritonServer.from_settings(site, leave_out=view.leave_out) as server:
                # The engine has this address alone, so it asks by the server's own name.
                yield (
                    server.grpc_address,
                    {one: (read_manifest(bundle).served_as, refs[one][1]) for one, bundle in bundles.items()},
                )


@dataclass
class Timed:
    """Milliseconds by precision, engine and batch."""

    ms: dict[tuple[str, str, int], list[float]] = field(default_factory=dict)
    rounds: int = 0

    def add(self, key: tuple[str, str, int], began: float) -> None:
        """Note the time since ``began`` (performance counter)."""
        self.ms.setdefault(key, []).append((time.perf_counter() - began) * 1000)


async def measure(
    bundles: Mapping[str, Path], requests: Sequence[Feeds], seconds: float, batches: Sequence[int], triton: bool
) -> tuple[Timed, dict[str, float]]:
    """Time every precision for about ``seconds``; also what batch-mates change, by precision."""
    sessions = {p: open_session(path, read_manifest(path).model_dump()) for p, path in bundles.items()}
    mates = {precision: batch_mates(session, requests) for precision, session in sessions.items()}
    feeds = {size: batch_of(requests, size) for size in batches}
    if not triton:
        return await _rounds(sessions, feeds, None, {}, seconds), mates
    with served(bundles) as (address, refs):
        async with TritonEngine(address) as engine:
            return await _rounds(sessions, feeds, engine, refs, seconds), mates


async def _rounds(
    sessions: Mapping[str, Any], feeds: Mapping[int, Feeds], engine: TritonEngine | None,
    refs: Mapping[str, tuple[str, int]], seconds: float,
) -> Timed:  # fmt: skip
    timed, names = Timed(), list(sessions)

    async def ask(precision: str, size: int, side: str, note: bool) -> None:
        began = time.perf_counter()
        if side == "raw":
            sessions[precision].run(None, feeds[size])
        elif engine is not None:
            await engine.infer(*refs[precision], feeds[size], timeout_s=_PATIENCE_S)
        if note:
            timed.add((precision, side, size), began)

    sides = ["raw", "triton"] if engine is not None else ["raw"]
    for precision in names:  # the first request of a shape plans memory
        for size in feeds:
            for side in sides:
                await ask(precision, size, side, False)
    end = time.monotonic() + seconds
    while timed.rounds < _FEWEST_ROUNDS or time.monotonic() < end:
        turn = timed.rounds % len(names)
        for size in feeds:
            for precision in [*names[turn:], *names[:turn]]:
                for _ in range(_SINGLES if size == 1 else 1):
                    for side in sides if timed.rounds % 2 else reversed(sides):
                        await ask(precision, size, side, True)
        timed.rounds += 1
    return timed


def summarise(timed: Timed, precision: str, batches: Sequence[int]) -> dict[str, Any]:
    """By batch: p50 and p95 in milliseconds and items a second, of both engines, and Triton's p50 over the raw one."""
    found: dict[str, Any] = {}
    for size in batches:
        entry: dict[str, Any] = {}
        for side in ("raw", "triton"):
            if values := timed.ms.get((precision, side, size)):
                p50, p95 = (float(np.percentile(values, q)) for q in (50, 95))
                entry[side] = {"p50_ms": round(p50, 3), "p95_ms": round(p95, 3), "requests": len(values),
                               "items_per_s": round(1000 * size / p50, 1)}  # fmt: skip
        if "triton" in entry:
            entry["ratio"] = round(entry["triton"]["p50_ms"] / entry["raw"]["p50_ms"], 2)
        found[str(size)] = entry
    return found
