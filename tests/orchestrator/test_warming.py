"""Arms of experiments are served when they have answered once, and until then their callers get the release."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from call_fakes import FakeGateway, FakeLine, LineClock, answer_line
from fake_models import FakeModels, FakeNlu, ReadyEngine
from release_site import add_versions, make_site, write_seed

from experiments import commands
from experiments.exposures import Exposure
from experiments.store import ExperimentStore
from orchestrator.replica import Replica
from parley.bot import load_bot
from parley.bundle import FAMILIES, VersionRef
from parley.serving.engine import EngineUnavailable
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing

pytestmark = pytest.mark.anyio
WITHIN_S = 30.0
NLU_2 = ("barista_nlu", 2)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class NewNlu(FakeModels):
    """The fakes of a site whose second NLU is being read, until it is let go."""

    def __init__(self) -> None:
        super().__init__(load_bot("barista"), words_s=0.03)
        self.begun, self.go, self.dead = asyncio.Event(), asyncio.Event(), False

    async def nlu(self, ref: VersionRef) -> FakeNlu:
        if ref.version == 2:
            self.begun.set()
            await self.go.wait()
            if self.dead:
                raise EngineUnavailable("no answer", where="barista_nlu version 2")
        return await super().nlu(ref)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_for_writing(make_site(tmp_path)) as opened:
        add_versions(opened, 2)
        write_seed(opened.site, dict.fromkeys(FAMILIES, 1))
        mend_releases(opened)
        yield opened


@asynccontextmanager
async def open_replica(registry: Registry, models: FakeModels) -> AsyncIterator[Replica]:
    replica = Replica("barista", registry.site, engine=ReadyEngine(), pool=models)
    replica.services.clock = LineClock()
    await replica.open()
    try:
        yield replica
    finally:
        await replica.close()


async def until(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not what():
            await asyncio.sleep(0.01)


async def a_call(replica: Replica) -> int:
    """A call of one turn; the NLU version it was told."""
    gateway = FakeGateway(FakeLine())
    async with asyncio.timeout(WITHIN_S), asyncio.TaskGroup() as group:
        group.create_task(answer_line(gateway.line, replica.services))
        await gateway.hear_reply(1)
        await gateway.turn(300, 2)
        gateway.hang_up()
    (call,) = gateway.traces("call")
    return int(call["versions"]["nlu"])


def nlu_rows(registry: Registry) -> list[Exposure]:
    with ExperimentStore.at(registry.site) as store:
        return [row for row in store.exposures() if row.stage == "nlu"]


async def test_an_arm_that_is_being_read_holds_up_nobody_and_is_served_once_it_has_answered(
    registry: Registry,
) -> None:
    models = NewNlu()
    async with open_replica(registry, models) as replica:
        commands.start("nlu-2", "nlu", 2, 2, bot="barista", site=registry.site)
        await models.begun.wait()

        assert await a_call(replica) == 1
        models.go.set()
        await until(lambda: replica._warming.arm_available(*NLU_2))
        assert await a_call(replica) == 2

    rows = nlu_rows(registry)
    assert [(row.version, row.reason) for row in rows] == [(1, "arm_unavailable"), (2, "experiment")]
    assert {row.experiment for row in rows} == {"nlu-2"} and all(row.arm for row in rows), "nobody moved in silence"


async def test_an_arm_whose_graph_does_not_answer_is_left_to_the_release_until_it_does(registry: Registry) -> None:
    models = NewNlu()
    models.dead = True
    models.go.set()
    commands.start("nlu-2", "nlu", 2, 2, bot="barista", site=registry.site)

    async with open_replica(registry, models) as replica:  # which waits until everything was tried once
        assert models.begun.is_set() and replica.warm
        assert await a_call(replica) == 1
        models.dead = False
        commands.ramp("nlu-2", 0.9, site=registry.site)  # the routing is another, so it is tried at once
        await until(lambda: replica._warming.arm_available(*NLU_2))


async def test_an_arm_that_is_the_releases_own_version_waits_for_nothing(registry: Registry) -> None:
    models = NewNlu()
    async with open_replica(registry, models) as replica:
        commands.start("nlu-2", "nlu", 1, 2, bot="barista", site=registry.site)
        await models.begun.wait()

        assert replica._warming.arm_available("barista_nlu", 1)
        assert not replica._warming.arm_available(*NLU_2)
        models.go.set()


async def test_a_stopped_experiments_arm_is_tried_anew_by_the_next(registry: Registry) -> None:
    models = NewNlu()
    models.go.set()
    async with open_replica(registry, models) as replica:
        commands.start("nlu-2", "nlu", 2, 2, bot="barista", site=registry.site)
        await until(lambda: replica._warming.arm_available(*NLU_2))
        commands.stop("nlu-2", site=registry.site)
        await until(lambda: not replica._warming._arms)
        models.begun.clear()
        models.go.clear()
        commands.start("nlu-3", "nlu", 2, 2, bot="barista", site=registry.site)
        await models.begun.wait()

        assert not replica._warming.arm_available(*NLU_2)
        models.go.set()
