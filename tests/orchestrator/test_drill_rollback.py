"""Drill: a bad release is promoted by force under calls and rolled back; no call fails, and each keeps its own."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import pytest
from drill_site import BAD, DrillSite, drill_site

from calling.caller import CallOptions, place_call
from calling.report import CallReport
from experiments.store import ExperimentStore
from registry.loading import SiteLoader
from registry.releasing.aliases import history
from registry.releasing.holds import references
from registry.releasing.promotion import promote, rollback
from registry.releasing.releases import champion
from registry.writing import open_for_writing

pytestmark = [pytest.mark.serve, pytest.mark.triton, pytest.mark.slow, pytest.mark.timeout(600)]
WITHIN_S = 60.0


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DrillSite]:
    with drill_site(tmp_path_factory.mktemp("drill")) as running:
        yield running


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.02)


def events(report: CallReport, kind: str) -> list[dict[str, object]]:
    return [dict(event.data) for event in report.events if event.kind == kind]


def release_of(report: CallReport) -> object:
    (call,) = events(report, "call")
    return call["release"]


def intents(report: CallReport) -> list[object]:
    return [event["intent"] for event in events(report, "understanding")]


def answering(site: DrillSite) -> int:
    return int(httpx.get(f"{site.app.http}/healthz", timeout=10, trust_env=False).json()["release"])


def test_a_bad_release_is_rolled_back_under_calls_and_no_call_fails(site: DrillSite) -> None:
    whole, half = site.caller, site.caller[:2]
    begun, promoted, calls = threading.Event(), threading.Event(), {}

    def place(name: str, said: list, on_event: Callable[[object], None] | None = None) -> None:
        calls[name] = asyncio.run(place_call(said, CallOptions(site.app.address, wait_s=30.0), on_event))

    def first_word(event: object) -> None:
        if getattr(event, "kind", "") == "partial":
            begun.set()

    def under_the_bad_one(event: object) -> None:
        if getattr(event, "kind", "") == "call":
            promoted.set()

    old = threading.Thread(target=place, args=("old", whole, first_word))
    old.start()
    assert begun.wait(WITHIN_S)
    with open_for_writing(site.settings) as registry:
        promote(registry, "barista", BAD, loader=SiteLoader(registry), who="tester", why="drill", force=True)
        eventually(lambda: answering(site) == BAD)
        bad = [threading.Thread(target=place, args=(f"bad {n}", half, under_the_bad_one)) for n in range(2)]
        for thread in bad:
            thread.start()
        assert promoted.wait(WITHIN_S)
        rollback(registry, "barista", loader=SiteLoader(registry), who="tester", why="it means the opposite")
        eventually(lambda: answering(site) == 1)
        place("after", half)
        for thread in (old, *bad):
            thread.join(WITHIN_S)
        with registry.catalogue.read() as c:
            changes = [(change.what, change.forced) for change in history(c, "barista")]
            first = champion(c, "barista")

    assert release_of(calls["old"]) == 1 and calls["old"].end == "goodbye"
    assert intents(calls["old"]) == ["orderDrink", "change", "affirm", "goodbye"]
    assert release_of(calls["after"]) == 1 and intents(calls["after"]) == ["orderDrink", "change"]
    on_bad = [report for name, report in calls.items() if name.startswith("bad") and release_of(report) == BAD]
    assert on_bad, "nobody was served by the bad release"
    for report in on_bad:
        assert "orderDrink" not in intents(report)
        assert all(one.voice_to_voice_ms is not None for one in report.said), "a turn was left silent"
    assert not {"internal_error", "wire_error"} & {report.end for report in calls.values()}
    assert changes == [("first", False), ("promote", True), ("rollback", False)]
    with ExperimentStore.at(site.settings) as store:
        rows = store.exposures(calls["old"].call_id)
    assert {(row.stage, row.version) for row in rows} == {(stage, ref.version) for stage, ref in first.stages.items()}


def test_what_was_rolled_back_is_kept_for_no_call_afterwards(site: DrillSite) -> None:
    def kept() -> list[str]:
        with open_for_writing(site.settings) as registry, registry.catalogue.read() as c:
            return [reason for reason in references(c, "barista_nlu", 2) if "call" in reason]

    eventually(lambda: kept() == [])
