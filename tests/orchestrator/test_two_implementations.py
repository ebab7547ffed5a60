"""A second implementation of the NLU beside the first, under one model name, compared by an experiment."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from call_fakes import FakeGateway, FakeLine, LineClock, answer_line
from fake_models import FakeModels
from starters import copy_starters
from toy_nlu import keyword_bundle, register

from experiments import commands
from experiments.store import ExperimentStore
from models.contracts import NluClient
from models.pool import ClientPool
from orchestrator.replica import Replica
from parley.bot import load_bot
from parley.bundle import VersionRef, read_manifest
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import Settings
from registry.versions.publish import publish
from registry.writing import open_for_writing

ROOT = Path(__file__).parents[2]
CALLERS = [f"+1415555{number:04d}" for number in range(8)]
ACT_OF = {1: "ask.size", 2: "confirm.orderDrink"}
"""What the bot says to "I'd like a latte": the barista's own NLU hears no size, the keywords always a large one."""


class RealNlu(FakeModels):
    """Fakes but for the NLU, which is the repository's."""

    def __init__(self, pool: ClientPool) -> None:
        super().__init__(load_bot("barista"), words_s=0.03)
        self._pool = pool

    async def nlu(self, ref: VersionRef) -> NluClient:
        return await self._pool.nlu(ref)


async def calls(site: Settings) -> dict[str, tuple[int, str]]:
    """Each caller to the NLU version that his call was told, and what the bot answered him."""
    engine = OnnxEngine(site.repo_dir, Trust.of(site))
    pool = RealNlu(ClientPool(site.repo_dir, engine, Trust.of(site)))
    replica = Replica("barista", site, engine=engine, pool=pool)
    replica.services.clock = LineClock()
    await replica.open()
    answered = {}
    try:
        for caller in CALLERS:
            gateway = FakeGateway(FakeLine(), parameters={"parley_trace": "1", "caller": caller})
            async with asyncio.timeout(30), asyncio.TaskGroup() as group:
                group.create_task(answer_line(gateway.line, replica.services))
                await gateway.hear_reply(1)
                reply = await gateway.turn(300, 2)
                gateway.hang_up()
            (told,) = gateway.traces("call")
            answered[caller] = (told["versions"]["nlu"], reply["act"])
    finally:
        await replica.close()
    return answered


def test_callers_are_split_between_two_implementations_and_each_is_answered_by_his_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch)  # the line of registration
    site = Settings(
        bots_dir=ROOT / "bots", repo_dir=tmp_path / "repo", state_dir=tmp_path / "var",
        trusted_keys_dir=ROOT / "keys", engine="onnx", port=0,
    )  # fmt: skip
    copy_starters("barista", site.repo_dir)
    with open_for_writing(site) as registry:
        assert publish(keyword_bundle(tmp_path / "keywords"), registry) == 2
    first, second = (read_manifest(site.repo_dir / "barista_nlu" / str(number)) for number in (1, 2))
    assert (first.read_by, second.read_by) == ("joint-bio/1", "keyword/1") and first.inputs != second.inputs
    commands.start("keywords", "nlu", 1, 2, bot="barista", site=site)

    answered = asyncio.run(calls(site))

    assert {version for version, _ in answered.values()} == {1, 2}
    assert [act for _, act in answered.values()] == [ACT_OF[version] for version, _ in answered.values()]
    with ExperimentStore.at(site) as store:
        rows = [row for row in store.exposures() if row.stage == "nlu"]
    assert {(row.version, row.arm, row.reason) for row in rows} == {
        (1, "control", "experiment"), (2, "treatment", "experiment"),
    }  # fmt: skip
    told = [version for version, _ in answered.values()]
    assert [sum(row.version == number for row in rows) for number in (1, 2)] == [told.count(1), told.count(2)]
    assert {row.model for row in rows} == {"barista_nlu"}
