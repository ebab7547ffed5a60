"""Drill: the server dies in the middle of a promotion. It ends in the old release or the new one, and calls go on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import httpx
import pytest
from drill_site import BAD, DrillSite, drill_site

from calling.caller import CallOptions, place_call
from parley.errors import ParleyError
from parley.serving.triton_record import read_record
from registry.loading import SiteLoader
from registry.releasing.aliases import current_aliases, history
from registry.releasing.holds import Ref
from registry.releasing.promotion import promote, rollback
from registry.writing import open_for_writing

pytestmark = [pytest.mark.serve, pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(600)]
WITHIN_S = 90.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillSite]:
    with drill_site(tmp_path_factory.mktemp("drill")) as running:
        yield running


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.05)


def ready(site: DrillSite) -> dict[str, Any]:
    try:
        body: dict[str, Any] = httpx.get(f"{site.app.http}/readyz", timeout=10, trust_env=False).json()
        return body
    except (httpx.HTTPError, ValueError):
        return {}


@pytest.mark.parametrize("when", ["before the versions are loaded", "after they are loaded"])
def test_a_server_killed_in_mid_promotion_leaves_old_or_new_and_calls_are_answered(site: DrillSite, when: str) -> None:
    killed = []

    def kill() -> None:
        record = read_record(site.settings.state_dir)
        assert record is not None
        killed.append(record.pid)
        os.kill(record.pid, signal.SIGKILL)

    class Interrupted(SiteLoader):
        def make_ready(self, refs: Sequence[Ref]) -> None:
            if when.startswith("before"):
                kill()
            super().make_ready(refs)
            if when.startswith("after"):
                kill()

    with open_for_writing(site.settings) as registry:
        with registry.catalogue.read() as c:
            changes = len(history(c, "barista"))
        try:
            promote(registry, "barista", BAD, loader=Interrupted(registry), who="tester", why="drill", force=True)
            champion = BAD
        except ParleyError:
            champion = 1
        with registry.catalogue.read() as c:
            assert current_aliases(c, "barista").champion == champion
            assert len(history(c, "barista")) - changes == (champion == BAD)

        eventually(lambda: ready(site).get("ready") is True and ready(site)["release"] == champion)
        report = asyncio.run(place_call(site.caller[:1], CallOptions(site.app.address, wait_s=30.0)))
        assert all(one.voice_to_voice_ms is not None for one in report.said)
        if champion == BAD:
            rollback(registry, "barista", loader=SiteLoader(registry), who="tester", why="drill")
    eventually(lambda: ready(site).get("ready") is True and ready(site)["release"] == 1)
    report = asyncio.run(place_call(site.caller[:1], CallOptions(site.app.address, wait_s=30.0)))

    assert killed
    assert [dict(event.data)["intent"] for event in report.events if event.kind == "understanding"] == ["orderDrink"]
