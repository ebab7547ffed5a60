"""Whether callers notice that versions are published, promoted, rolled back and retired: one operation each second.

Callers run in a process of their own. Each follows the champion as a replica does, takes a lease when its call starts,
keeps its versions until the call ends, and sends a request every 160 ms to one of the four stages. The site runs beside
them: the real tritonserver, the keeper of its view, and somebody who operates the registry. Quiet and busy segments
alternate, so that a machine that drifts drifts under both.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.small_site import Publisher, small_inputs
from parley.bundle import FAMILIES, Manifest
from parley.errors import ParleyError
from parley.following import Follower
from parley.progress import ProgressHandle
from parley.serving.choice import open_engine
from parley.serving.onnx_engine import NUMPY_TYPES
from parley.serving.triton_engine import TritonEngine
from parley.serving.triton_server import TritonServer
from parley.settings import Settings
from registry.catalogue import manifest_of
from registry.housekeeping.collect import collect
from registry.housekeeping.retention import Policy
from registry.loading import SiteLoader
from registry.releasing import aliases
from registry.releasing.creating import create_release
from registry.releasing.documents import Release
from registry.releasing.leases import CallLeases
from registry.releasing.promotion import promote, rollback
from registry.releasing.releases import champion
from registry.served import Keeper, ServedView
from registry.site import Registry

CHUNK_S = 0.16
CALL_REQUESTS = 25
"""Requests of one call: four seconds."""
_WHO = "benchmark"


@contextmanager
def serving_site(registry: Registry) -> Iterator[TritonServer]:
    """The site's server with its keeper, as `parley serve` runs them."""
    view = ServedView(registry)
    view.prepare()
    with TritonServer.from_settings(registry.site, leave_out=view.leave_out) as server, Keeper(view):
        yield server


@dataclass
class Segment:
    """What the callers saw for a while."""

    latencies_ms: list[float] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    """On the machine's monotonic clock, one per latency."""
    failures: list[str] = field(default_factory=list)


class Callers:
    """Concurrent calls of one process.

    Args:
        site: whose server and catalogue.
        bot: whose champion.
        count: calls at once.
    """

    def __init__(self, site: Settings, bot: str, count: int) -> None:
        self._bot, self._count = bot, count
        self._registry = Registry.unmended(site)
        self._site = site
        self._leases = CallLeases(self._registry.catalogue, "benchmark callers")
        self._inputs: dict[str, dict[str, NDArray[Any]]] = {}

    def _champion(self) -> Release:
        with self._registry.catalogue.read() as c:
            return champion(c, self._bot)

    def _changes(self) -> int:
        with self._registry.catalogue.read() as c:
            return aliases.last_change_id(c, self._bot)

    async def serve(self, orders: Connection) -> None:
        """Run a segment of as many requests as each order says, until it says None."""
        engine = open_engine(self._site)
        assert isinstance(engine, TritonEngine)
        follower = Follower(self._changes, self._champion, self._champion(), "champion")
        with follower:
            while (requests := await asyncio.to_thread(orders.recv)) is not None:
                orders.send(await self._segment(engine, follower, requests))
        await engine.close()
        self._leases.close()
        self._registry.close()

    async def _segment(self, engine: TritonEngine, follower: Follower[Release], requests: int) -> Segment:
        seen = Segment()
        left = [requests]
        async with asyncio.TaskGroup() as calls:
            for index in range(self._count):
                calls.create_task(self._caller(engine, follower, seen, left, index))
        return seen

    async def _caller(
        self, engine: TritonEngine, follower: Follower[Release], seen: Segment, left: list[int], index: int
    ) -> None:
        """One call after the other; callers start evenly spread over a chunk's time."""
        due = time.monotonic() + CHUNK_S * index / self._count
        while left[0] > 0:
            release = follower.value
            refs = release.refs
            self._leases.take(refs)
            try:
                for turn in range(CALL_REQUESTS):
                    if left[0] <= 0:
                        return
                    left[0] -= 1
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                    due += CHUNK_S
                    await self._request(engine, *refs[(index + turn) % len(refs)], seen)
            finally:
                self._leases.drop(refs)

    async def _request(self, engine: TritonEngine, model: str, version: int, seen: Segment) -> None:
        inputs = self._inputs.get(model) or self._make_inputs(model, version)
        began = time.monotonic()
        try:
            answer = await engine.infer(model, version, inputs)
        except ParleyError as error:
            seen.failures.append(str(error))
            return
        seen.latencies_ms.append((time.monotonic() - began) * 1000)
        seen.sent_at.append(began)
        if "version" in answer and int(answer["version"].item()) != version:
            seen.failures.append(f"{model} {version} was asked, {answer['version'].item():g} answered")

    def _make_inputs(self, model: str, version: int) -> dict[str, NDArray[Any]]:
        """A request that the model's manifest allows."""
        with self._registry.catalogue.read() as c:
            manifest: Manifest = manifest_of(c, model, version)
        if {spec.name for spec in manifest.inputs} == small_inputs().keys():
            inputs = small_inputs()
        else:
            inputs = {
                spec.name: np.zeros(
                    [1, *(manifest.warmup.get(spec.name) or [max(1, size) for size in spec.dims])],
                    NUMPY_TYPES[spec.dtype],
                )
                for spec in manifest.inputs
            }
        self._inputs[model] = inputs
        return inputs


def _run_callers(site: Settings, bot: str, count: int, orders: Connection) -> None:
    asyncio.run(Callers(site, bot, count).serve(orders))


@contextmanager
def callers(site: Settings, bot: str, count: int) -> Iterator[Connection]:
    """A process of callers; send it a number of requests, receive a `Segment`."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_run_callers, args=(site, bot, count, there), daemon=True)
    process.start()
    there.close()
    try:
        yield here
        here.send(None)
        process.join(30)
    finally:
        process.terminate()
        process.join()


class Operator:
    """Somebody who publishes, promotes, rolls back and retires, and says what each took."""

    def __init__(self, registry: Registry, publisher: Publisher, bot: str) -> None:
        self._registry, self._publisher, self._bot = registry, publisher, bot
        self._loader = SiteLoader(registry)
        self.spans: list[tuple[str, float, float]] = []
        """Every operation: its name, when it began and when it ended."""
        self._turn = 0
        self._published: dict[str, int] = {}
        self._release = 0
        self._bundle = publisher.prepare(FAMILIES[0])

    def next(self) -> None:
        """The next operation."""
        steps: list[tuple[str, Callable[[], None]]] = [
            ("publish", self._publish),
            ("promote", self._promote),
            ("roll back", self._roll_back),
            ("promote", self._promote_again),
            ("retire", self._retire),
        ]
        name, step = steps[self._turn % len(steps)]
        began = time.monotonic()
        step()
        self.spans.append((name, began, time.monotonic()))
        self._turn += 1

    def _publish(self) -> None:
        family = FAMILIES[self._turn // 5 % len(FAMILIES)]
        self._published = {family: self._publisher.publish(self._bundle)}

    def _promote(self) -> None:
        self._release = create_release(self._registry, self._bot, self._published, who=_WHO, why="new").number
        self._promote_again()

    def _promote_again(self) -> None:
        promote(
            self._registry,
            self._bot,
            self._release,
            loader=self._loader,
            who=_WHO,
            why="measured elsewhere",
            force=True,
        )

    def _roll_back(self) -> None:
        rollback(self._registry, self._bot, loader=self._loader, who=_WHO, why="measuring")

    def _retire(self) -> None:
        collect(self._registry, Policy(keep=2, older_than_days=0.0), who=_WHO)
        # Made here, while nothing is measured against it but the callers: training runs on another machine.
        self._bundle = self._publisher.prepare(FAMILIES[(self._turn // 5 + 1) % len(FAMILIES)])


def measure_swaps(
    registry: Registry, publisher: Publisher, bot: str, bar: ProgressHandle, *, requests: int, segments: int, count: int
) -> dict[str, Any]:
    """Quiet and busy segments in turn, quiet first and last; see the module."""
    quiet: list[Segment] = []
    busy: list[Segment] = []
    each = requests // segments
    with serving_site(registry), callers(registry.site, bot, count) as orders:
        operator = Operator(registry, publisher, bot)
        for _ in range(2):  # both kinds once, unmeasured: caches, first imports, the clients' channels
            _segment(orders, each // 5, bar, operator.next)
        for _ in range(segments):
            quiet.append(_segment(orders, each, bar))
            busy.append(_segment(orders, each, bar, operator.next))
        quiet.append(_segment(orders, each, bar))
    return _report(quiet, busy, operator)


def _segment(
    orders: Connection, requests: int, bar: ProgressHandle, operate: Callable[[], None] | None = None
) -> Segment:
    """One segment; `operate` is called each second meanwhile."""
    orders.send(requests)
    due = time.monotonic() + 0.5
    while not orders.poll(max(0.0, due - time.monotonic()) if operate else None):
        due += 1.0
        if operate:
            operate()
    bar.advance(requests)
    seen: Segment = orders.recv()
    return seen


def _report(quiet: list[Segment], busy: list[Segment], operator: Operator) -> dict[str, Any]:
    sides = {"quiet": quiet, "busy": busy}
    figures = {name: _percentiles([ms for s in side for ms in s.latencies_ms]) for name, side in sides.items()}
    failures = [failure for segment in quiet + busy for failure in segment.failures]
    return {
        "requests": sum(len(s.latencies_ms) + len(s.failures) for s in busy),
        "failed": sum(len(s.failures) for s in busy),
        "failures": sorted(set(failures))[:10],
        "p99_ratio": round(figures["busy"]["p99"] / figures["quiet"]["p99"], 2),
        "quiet_ms": figures["quiet"] | {"requests": sum(len(s.latencies_ms) for s in quiet)},
        "busy_ms": figures["busy"],
        "p99_of_segments_ms": {
            name: [_percentiles(s.latencies_ms)["p99"] for s in side] for name, side in sides.items()
        },
        "operations": _operations(operator.spans, busy),
        "latencies_ms": {name: [round(ms, 3) for s in side for ms in s.latencies_ms] for name, side in sides.items()},
    }


def _operations(spans: list[tuple[str, float, float]], busy: list[Segment]) -> dict[str, Any]:
    """How often each was done, how long it took, and what requests sent in the second after its begin saw."""
    sent = np.concatenate([np.array(segment.sent_at) for segment in busy])
    took_ms = np.concatenate([np.array(segment.latencies_ms) for segment in busy])
    found = {}
    for name in dict.fromkeys(name for name, _, _ in spans):
        begins = [began for other, began, _ in spans if other == name]
        durations = [ended - began for other, began, ended in spans if other == name]
        near = np.zeros(len(sent), bool)
        for began in begins:
            near |= (sent >= began) & (sent < began + 1.0)
        found[name] = {
            "count": len(begins),
            "p50_s": round(float(np.median(durations)), 3),
            "max_s": round(max(durations), 3),
            "requests_p99_ms": _percentiles(took_ms[near].tolist()).get("p99"),
        }
    return found


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95, 99)} if values else {}
