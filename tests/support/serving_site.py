"""A small site with real versions, signed and catalogued, and the real tritonserver on its view."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import numpy as np
from serving_models import scaler_bundle

from parley.serving.triton_control import HttpControl
from parley.serving.triton_engine import TritonEngine
from parley.serving.triton_server import TritonServer
from parley.settings import Settings
from registry.releasing.holds import hold
from registry.served import ServedView
from registry.site import Registry
from registry.versions.publish import publish
from registry.writing import open_for_writing

MODEL = "barista_nlu"
X = np.array([[1, 2]], np.float32)
STATE = np.array([10], np.float32)
GOOD = {"x": X, "state": STATE}


def open_site(folder: Path, versions: int = 0) -> Registry:
    """The registry of an empty site in `folder`, with so many versions of `MODEL`: version n multiplies by n + 1.

    An experiment holds all of them, so that all are served.
    """
    site = Settings(
        repo_dir=folder / "repo", state_dir=folder / "var", bots_dir=folder / "bots", trusted_keys_dir=folder / "keys"
    )
    site.repo_dir.mkdir(parents=True)
    registry = open_for_writing(site)
    for number in range(1, versions + 1):
        add_version(registry, folder / f"bundle{number}", number)
    keep(registry, *range(1, versions + 1))
    return registry


def add_version(registry: Registry, bundle: Path, number: int) -> None:
    """Publish the next version of `MODEL`, which must become `number`."""
    assert publish(scaler_bundle(bundle, number + 1), registry) == number


def keep(registry: Registry, *numbers: int) -> None:
    """Have an experiment hold these versions of `MODEL`, and no others."""
    with registry.catalogue.write() as c:
        hold(c, "experiment test", [(MODEL, number) for number in numbers])


@contextmanager
def serving(registry: Registry) -> Iterator[TritonServer]:
    """The site's server, on what is wanted now."""
    view = ServedView(registry)
    view.prepare()
    with TritonServer.from_settings(registry.site, leave_out=view.leave_out) as server:
        yield server


def engine_of(server: TritonServer, *, channels: int = 1) -> TritonEngine:
    """An engine on the server."""
    return TritonEngine(server.grpc_address, channels=channels)


def control_of(server: TritonServer) -> HttpControl:
    """Model control of the server."""
    return HttpControl(server.http_address)


@asynccontextmanager
async def flowing(engine: TritonEngine, *versions: int) -> AsyncIterator[dict[int, int]]:
    """Requests without a pause to these versions while the block runs; any that fails, or answers wrongly, raises."""
    counts, stop = dict.fromkeys(versions, 0), asyncio.Event()

    async def flow(version: int) -> None:
        while not stop.is_set():
            answer = await engine.infer(MODEL, version, GOOD)
            np.testing.assert_array_equal(answer["y"], X * (version + 1))
            counts[version] += 1

    async with asyncio.TaskGroup() as flows:
        for version in [*versions, *versions]:
            flows.create_task(flow(version))
        try:
            yield counts
            before = dict(counts)
            while min(counts[version] - before[version] for version in versions) < 20:
                await asyncio.sleep(0.01)
        finally:
            stop.set()


def children_of(pid: int) -> set[int]:
    """Process numbers of a server's children, those that ended and were not waited for too."""
    processes = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]
    return {each for each in processes if f"PPid:\t{pid}\n" in _status(each)}


def _status(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:  # it ended while we looked
        return ""
