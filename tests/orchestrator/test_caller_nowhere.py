"""A caller's number is kept nowhere: no file, table or log of a site holds it; one person is one unit."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
import sqlalchemy as sa
from call_fakes import FakeGateway, LineClock, call
from fake_models import FakeModels, ReadyEngine
from release_site import add_versions, make_site, write_seed

from calls import tables as t
from orchestrator.logs import log_to
from orchestrator.replica import Replica
from parley.bot import load_bot
from parley.bundle import FAMILIES
from parley.settings import Settings
from registry.releasing.seeding import mend_releases
from registry.writing import open_for_writing

WRITTEN = ("+4930987123654", "030 / 987 123-654", "0049 30 987123654", "sip:+4930987123654@pbx.example;user=phone")
"""One person, as gateways write him."""
TELLING = ("987123654", "987 123", "123-654")


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    made = make_site(tmp_path).model_copy(update={"engine": "triton", "region": "DE"})
    with open_for_writing(made) as registry:
        add_versions(registry)
        write_seed(made, dict.fromkeys(FAMILIES, 1), number=3)
        mend_releases(registry)
    log_to(made.state_dir / "logs", logging.DEBUG)
    return made


async def orders(gateway: FakeGateway) -> None:
    await gateway.hear_reply(1)
    # What a gateway says beside the calls's own messages may hold the number too; broken ones are logged.
    gateway.line.inbound.put_nowait('{"event":"news","from":"+4930987123654"}')
    gateway.line.inbound.put_nowait('{"event":"media","media":{"payload":"+4930987123654"}}')
    gateway.line.inbound.put_nowait('{"event":"dtmf","dtmf":{"digit":"030987123654"}}')
    await gateway.turn(800, 2)
    await gateway.turn(500, 3)
    gateway.hang_up()


def tables_of(replica: Replica) -> dict[str, list[tuple[object, ...]]]:
    with replica.row_log.read() as connection:
        names = sa.inspect(connection).get_table_names()
        return {name: [tuple(row) for row in connection.execute(sa.text(f'SELECT * FROM "{name}"'))] for name in names}


def test_the_number_of_a_caller_is_in_no_file_table_or_log_and_one_person_is_one_unit(
    site: Settings, tmp_path: Path
) -> None:
    async def serve() -> dict[str, list[tuple[object, ...]]]:
        replica = Replica("barista", site, engine=ReadyEngine(), pool=FakeModels(load_bot("barista")))
        replica.services.clock = LineClock()
        await replica.open()
        for number in WRITTEN:
            parameters = {"parley_trace": "1", "caller": number}
            _, reason = await call(replica.services, orders, parameters=parameters)
            assert reason == "caller_hung_up"
        assert replica.row_log.flush(30.0)
        found = tables_of(replica)
        with replica.row_log.read() as connection:
            units = list(connection.scalars(sa.select(t.calls.c.unit)))
            tasks = list(connection.scalars(sa.select(t.calls.c.tasks)))
        assert len(units) == len(WRITTEN) and len(set(units)) == 1
        assert tasks == [["orderDrink"]] * len(WRITTEN)
        await replica.close()
        return found

    tables = asyncio.run(serve())

    assert len(tables["calls"]) == len(tables["subjects"]) == len(WRITTEN)
    assert len(tables["turns"]) == 3 * len(WRITTEN) and tables["exposures"]
    log = (site.state_dir / "logs" / "orchestrator.jsonl").read_text()
    assert [json.loads(line)["message"] for line in log.splitlines()].count("call ended") == len(WRITTEN)
    everything = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.name == "parley.db" for path in everything)
    for telling in TELLING:
        assert telling not in str(tables)
        assert [path for path in everything if telling.encode() in path.read_bytes()] == []
