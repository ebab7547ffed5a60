"""While the server cannot answer this process does, and no request waits long to find that out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pytest

from parley.errors import ParleyError
from parley.serving.engine import DEFAULT_TIMEOUT_S, EngineRejected, EngineTimeout, EngineUnavailable
from parley.serving.stand_in import StandIn

X = {"x": np.ones((1, 1), np.float32)}
REFUSED = EngineRejected("wrong tensor")


@dataclass
class Fake:
    """An engine that says who it is. ``state``: up, gone, hanging, refusing, slow."""

    name: str
    state: str = "up"
    address: str = "here:1"
    closed: bool = False
    asked: list[tuple[str, int]] = field(default_factory=list)
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def infer(
        self, model: str, version: int, inputs: Mapping[str, Any], *, timeout_s: float = DEFAULT_TIMEOUT_S
    ) -> dict[str, Any]:
        self.asked.append((model, version))
        if self.state == "gone":
            raise EngineUnavailable("no server")
        if self.state == "refusing":
            raise REFUSED
        if self.state == "slow":
            raise EngineTimeout("too slow")
        if self.state == "hanging":
            await self.goes_on.wait()
        return {"by": np.array([self.name])}

    async def ready(self, model: str, version: int) -> bool:
        return self.state == "up"

    async def close(self) -> None:
        self.closed = True


stand_in = partial(StandIn, look_again_s=0.002)


async def by(engine: StandIn, model: str = "m") -> str:
    return str((await engine.infer(model, 1, X))["by"][0])


async def eventually(what: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not what():
            await asyncio.sleep(0.001)


def test_the_server_answers_while_it_can() -> None:
    async def main() -> None:
        server, spare = Fake("server"), Fake("spare")
        engine = stand_in(lambda: server, spare)
        assert await by(engine) == "server" and spare.asked == []
        await engine.close()
        assert server.closed and spare.closed

    asyncio.run(main())


def test_a_server_that_is_gone_is_stood_in_for_and_found_again() -> None:
    async def main() -> None:
        server = Fake("server", "gone")
        engine = stand_in(lambda: server, Fake("spare"))
        assert [await by(engine), await by(engine)] == ["spare", "spare"]
        assert len(server.asked) == 1, "nothing is retried into it"
        assert engine.away == ["m 1"] and engine.stood_in == 2
        server.state = "up"
        await eventually(lambda: not engine.away)
        assert await by(engine) == "server"
        await engine.close()

    asyncio.run(main())


def test_only_the_version_that_it_lacks_is_answered_here() -> None:
    async def main() -> None:
        server, spare = Fake("server"), Fake("spare")
        engine = stand_in(lambda: server, spare)
        server.state = "gone"
        assert await by(engine, "new") == "spare"
        server.state = "up"
        assert await by(engine, "old") == "server"
        await engine.close()

    asyncio.run(main())


def test_a_server_that_hangs_costs_one_wait_and_the_next_request_none() -> None:
    async def main() -> None:
        server = Fake("server", "hanging")
        engine = stand_in(lambda: server, Fake("spare"), patience_s=0.01)
        assert [await by(engine), await by(engine)] == ["spare", "spare"]
        assert len(server.asked) == 1
        engine._patience_s = 3600.0  # whoever waits as long now fails the test
        assert await by(engine, "other") == "spare"
        server.state = "up"
        await eventually(lambda: not engine.away)
        assert await by(engine) == "server"
        await engine.close()

    asyncio.run(main())


def test_a_server_that_is_busy_but_answers_others_is_waited_for() -> None:
    async def main() -> None:
        server, spare, now = Fake("server", "hanging"), Fake("spare"), 0.0
        engine = stand_in(lambda: server, spare, patience_s=0.5, clock=lambda: now)
        waiting = asyncio.create_task(by(engine, "slow"))
        await eventually(lambda: bool(server.asked))
        server.state = "up"
        assert await by(engine, "other") == "server"
        server.goes_on.set()
        assert await waiting == "server" and spare.asked == []
        await engine.close()

    asyncio.run(main())


@pytest.mark.parametrize(("state", "error"), [("refusing", EngineRejected), ("slow", EngineTimeout)])
def test_what_the_server_refuses_or_does_late_is_not_asked_again(state: str, error: type[Exception]) -> None:
    async def main() -> None:
        spare = Fake("spare")
        engine = stand_in(lambda: Fake("server", state), spare)
        with pytest.raises(error):
            await by(engine)
        assert spare.asked == [] and engine.away == []
        await engine.close()

    asyncio.run(main())


def test_where_there_is_no_server_yet_this_process_answers_and_takes_it_when_it_comes() -> None:
    async def main() -> None:
        found: list[Fake] = []

        def find() -> Fake:
            if not found:
                raise ParleyError("no Triton server runs for this site")
            return found[0]

        engine = stand_in(find, Fake("spare"))
        assert await by(engine) == "spare"
        found.append(Fake("server"))
        await eventually(lambda: not engine.away)
        assert await by(engine) == "server"
        await engine.close()

    asyncio.run(main())


def test_a_server_that_comes_back_at_another_address_is_found() -> None:
    async def main() -> None:
        old, new = Fake("old", address="here:1"), Fake("new", address="here:2")
        engine = stand_in(lambda: new if old.state == "gone" else old, Fake("spare"))
        assert await by(engine) == "old"
        old.state = "gone"
        assert await by(engine) == "spare"
        await eventually(lambda: not engine.away)
        assert await by(engine) == "new" and old.closed
        await engine.close()

    asyncio.run(main())


def test_who_gives_up_leaves_no_request_behind() -> None:
    async def main() -> None:
        engine = stand_in(lambda: Fake("server", "hanging"), Fake("spare", "hanging"), patience_s=0.001)
        waiting = asyncio.create_task(by(engine))
        await asyncio.sleep(0.02)
        waiting.cancel()
        await asyncio.wait([waiting])
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        await engine.close()

    asyncio.run(main())


def test_ready_is_whether_anybody_answers() -> None:
    async def main() -> None:
        server, spare = Fake("server", "gone"), Fake("spare")
        engine = stand_in(lambda: server, spare)
        assert await engine.ready("m", 1)
        spare.state = "gone"
        assert not await engine.ready("m", 1)
        await engine.close()

    asyncio.run(main())
