"""A replica follows the aliases: new calls take the new release, calls in progress keep theirs, nothing waits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from call_fakes import FakeGateway, FakeLine, LineClock, answer_line
from fake_models import FakeModels, ReadyEngine
from release_site import add_version, add_versions, make_site, write_seed

from experiments import commands
from orchestrator.replica import Replica
from orchestrator.routing import RoutingReader
from parley.audio import Pcm
from parley.bot import load_bot
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from registry import tables as t
from registry.loading import SiteLoader
from registry.releasing.creating import create_release
from registry.releasing.documents import StageVersion
from registry.releasing.holds import references
from registry.releasing.promotion import promote, rollback
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing

pytestmark = pytest.mark.anyio
WITHIN_S = 30.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    """Release 1 is champion; there is a second version of everything."""
    with open_for_writing(make_site(tmp_path, database_url)) as opened:
        add_versions(opened, 2)
        write_seed(opened.site, dict.fromkeys(FAMILIES, 1))
        mend_releases(opened)
        yield opened


@asynccontextmanager
async def open_replica(registry: Registry) -> AsyncIterator[Replica]:
    models = FakeModels(load_bot("barista"), words_s=0.03)
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


@asynccontextmanager
async def calling(replica: Replica) -> AsyncIterator[FakeGateway]:
    """A call in progress, greeted; hangs up at the end of the block."""
    gateway = FakeGateway(FakeLine())
    async with asyncio.TaskGroup() as group:
        session = group.create_task(answer_line(gateway.line, replica.services))
        await gateway.hear_reply(1)
        yield gateway
        gateway.hang_up()
    assert session.result() == "caller_hung_up"


def told(gateway: FakeGateway) -> tuple[int, dict[str, int]]:
    (call,) = gateway.traces("call")
    return call["release"], call["versions"]


def force(registry: Registry, number: int) -> None:
    promote(registry, "barista", number, loader=SiteLoader(registry), who="ada", why="now", force=True)


async def test_a_new_call_takes_the_new_release_and_a_call_in_progress_keeps_its_own(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "orchestrator.replica")
    create_release(registry, "barista", {"stt": 2}, who="ada")

    async with open_replica(registry) as replica, calling(replica) as old:
        force(registry, 2)
        await until(lambda: replica.routing.release.number == 2)
        async with calling(replica) as new:
            replies = [await gateway.turn(300, 2) for gateway in (old, new)]

            assert told(old) == (1, dict.fromkeys(FAMILIES, 1))
            assert told(new) == (2, {**dict.fromkeys(FAMILIES, 1), "stt": 2})
            assert [reply["act"] for reply in replies] == ["ask.size", "ask.size"]
        rollback(registry, "barista", loader=SiteLoader(registry), who="bob")
        await until(lambda: replica.routing.release.number == 1)
        async with calling(replica) as after:
            assert told(after)[0] == 1
    changes = [vars(record) for record in caplog.records if record.getMessage() == "new calls are answered by"]
    assert [(change["release"], change["alias_change"]) for change in changes] == [(2, 2), (1, 3)]


async def test_each_call_talks_by_the_dialogue_of_its_release(registry: Registry) -> None:
    path = registry.site.bots_dir / "barista" / "bot.yaml"
    text = path.read_text()
    path.write_text(text.replace("What size would you like", "Which size do you want"))
    assert path.read_text() != text
    create_release(registry, "barista", {}, who="ada")

    async with open_replica(registry) as replica, calling(replica) as old:
        force(registry, 2)
        await until(lambda: replica.routing.release.number == 2)
        # Without its NLG a call says the templates of its dialogue.
        replica.services.pool.down.add("nlg")  # type: ignore[attr-defined]
        async with calling(replica) as new:
            assert (await new.turn(300, 2))["text"] == "Which size do you want for your latte?"
            assert (await old.turn(300, 2))["text"] == "What size would you like for your latte?"


async def test_a_slow_last_resort_of_a_new_release_stops_no_call(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The voice is gone, so nothing is warm and the last resort is all there is to say."""
    path = registry.site.bots_dir / "barista" / "bot.yaml"
    path.write_text(path.read_text().replace("What size would you like", "Which size do you want"))
    create_release(registry, "barista", {}, who="ada")
    said, begun, go, threads = np.ones(4000, np.int16), threading.Event(), threading.Event(), []

    def slow(text: str, voice: str) -> Pcm:
        threads.append(threading.current_thread().name)
        begun.set()
        assert go.wait(WITHIN_S)
        return said

    async with open_replica(registry) as replica:
        monkeypatch.setattr("orchestrator.prompts._system_voice", slow)
        replica.services.pool.down.add("tts")  # type: ignore[attr-defined]
        force(registry, 2)
        await until(begun.is_set)
        async with calling(replica) as gateway:  # whose audio goes on beside it
            assert told(gateway)[0] == 1
        go.set()
        await until(lambda: replica.routing.release.number == 2)

        assert replica.routing.script.prompts.apology().pcm is said
    assert threads == ["routing of barista-follower"]


async def test_versions_of_calls_in_progress_are_kept_until_the_last_one_ends(registry: Registry) -> None:
    create_release(registry, "barista", {"stt": 2}, who="ada")
    create_release(registry, "barista", {"tts": 2, "stt": 2}, who="ada")

    def calls(version: int) -> list[str]:
        with registry.catalogue.read() as c:
            return [reason for reason in references(c, "barista_stt", version) if "call" in reason]

    async with open_replica(registry) as replica:
        async with calling(replica):
            await until(lambda: len(calls(1)) == 1)
            force(registry, 2)
            force(registry, 3)
            await until(lambda: replica.routing.release.number == 3)
            async with calling(replica):
                await until(lambda: len(calls(2)) == 1)
                assert "1 call on replica" in calls(1)[0]
            await until(lambda: calls(2) == [])
        await until(lambda: calls(1) == [])


async def test_arms_of_experiments_are_kept_too(registry: Registry) -> None:
    commands.start("stt-2", "stt", 2, 2, bot="barista", site=registry.site)

    async with open_replica(registry) as replica, calling(replica) as gateway:
        assert told(gateway)[1]["stt"] == 2
        commands.stop("stt-2", site=registry.site)

        def kept() -> bool:
            with registry.catalogue.read() as c:
                return any("call" in reason for reason in references(c, "barista_stt", 2))

        await until(kept)


async def test_a_new_voice_is_warmed_behind_the_calls(registry: Registry) -> None:
    create_release(registry, "barista", {"tts": 2}, who="ada")

    async with open_replica(registry) as replica:
        prompts = replica.routing.script.prompts
        force(registry, 2)
        old, new = (StageVersion(model="barista_tts", version=number) for number in (1, 2))
        await until(lambda: prompts.find(prompts.texts["greet"], new) is not None)
        assert prompts.find(prompts.texts["greet"], old) is not None, "a rollback finds it warm"


async def test_while_the_catalogue_is_gone_calls_go_on_and_afterwards_it_is_followed_again(
    registry: Registry, database_url: str
) -> None:
    create_release(registry, "barista", {"stt": 2}, who="ada")

    async with open_replica(registry) as replica:
        async with calling(replica) as before:
            with gone(database_url):
                await until(lambda: replica._follower.stale)
                assert (await before.turn(300, 2))["act"] == "ask.size"
                async with calling(replica) as during:
                    assert told(during)[0] == 1
                    assert (await during.turn(800, 2))["act"] == "confirm.orderDrink"
        await until(lambda: not replica._follower.stale)
        force(registry, 2)
        await until(lambda: replica.routing.release.number == 2)


class gone:
    """The database cannot be used while the block runs: its file is away, or the server lets nobody in."""

    def __init__(self, url: str) -> None:
        self._url = sa.engine.make_url(url)

    def __enter__(self) -> None:
        if self._url.get_backend_name() == "sqlite":
            self._path = Path(self._url.database or "")
            self._path.rename(self._path.with_name("away.db"))
        else:
            self._allow(False)

    def __exit__(self, *_: object) -> None:
        if self._url.get_backend_name() == "sqlite":
            self._path.with_name("away.db").rename(self._path)
        else:
            self._allow(True)

    def _allow(self, connections: bool) -> None:
        name = self._url.database
        server = self._url.set(drivername="postgresql+psycopg", database="postgres")
        engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
        with engine.connect() as c:
            c.exec_driver_sql(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS {str(connections).lower()}')
            if not connections:
                c.exec_driver_sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        engine.dispose()


async def test_a_release_whose_dialogue_cannot_be_used_leaves_the_last_one(registry: Registry) -> None:
    create_release(registry, "barista", {"stt": 2}, who="ada")
    with registry.catalogue.write() as c:
        c.execute(t.dialogues.insert().values(digest="0" * 64, text="no: [bot"))
        c.execute(t.releases.update().where(t.releases.c.number == 2).values(dialogue_digest="0" * 64))
        seen = t.alias_changes.insert().values(
            bot="barista", seq=2, champion=2, previous=1, what="promote", moved_from=1, moved_to=2, forced=True,
            at=sa.func.now(), who="somebody", why="around the rules",
        )  # fmt: skip

    async with open_replica(registry) as replica:
        with registry.catalogue.write() as c:
            c.execute(seen)
        await until(lambda: not replica.following)
        async with calling(replica) as gateway:
            assert told(gateway)[0] == 1
        assert replica.loops()["routing of barista-follower"]["ok"] is False
        promote(registry, "barista", 1, loader=SiteLoader(registry), who="ada", why="the other is broken", force=True)
        await until(lambda: replica.following)


def test_a_dialogue_that_cannot_be_used_is_parsed_once(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed = []

    def refuse(text: str, where: str, **_: object) -> None:
        parsed.append(where)
        raise ParleyError("not a bot", where=where)

    monkeypatch.setattr("orchestrator.routing.parse_bot", refuse)
    reader = RoutingReader("barista", registry.catalogue, registry.repo, FakeModels(load_bot("barista")))

    for _ in range(3):
        with pytest.raises(ParleyError, match="not a bot"):
            reader.read()

    assert parsed == ["release 1 of barista, bot.yaml"]


async def test_a_replica_does_not_start_without_a_release(tmp_path: Path, database_url: str) -> None:
    site = make_site(tmp_path, database_url)
    with open_for_writing(site) as registry:
        add_version(registry, "stt")
        with pytest.raises(Exception, match="the bot has no release"):
            Replica("barista", site, engine=ReadyEngine(), pool=FakeModels(load_bot("barista")))


async def test_a_background_task_that_ends_by_a_bug_is_said_when_it_does(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_replica(registry) as replica:
        monkeypatch.setattr(replica.admission, "look", lambda *_: 1 / 0)
        await until(lambda: "a background task of this replica ended" in caplog.text)
    assert "ZeroDivisionError" in caplog.text
