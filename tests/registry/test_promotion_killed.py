"""Killed at any step, releases and aliases hold the old state or the new one, and the next command mends the rest."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from kill_steps import count_steps, killed_before
from release_site import add_versions, make_site, write_seed

from parley.bundle import FAMILIES
from parley.settings import Settings
from registry.binding import bind
from registry.layout import leftovers
from registry.loading import SiteLoader
from registry.releasing import documents
from registry.releasing.aliases import current_aliases, history
from registry.releasing.creating import create_release
from registry.releasing.holds import references
from registry.releasing.leases import STALE_AFTER_S, Heartbeats, sweep
from registry.releasing.promotion import promote, rollback
from registry.releasing.readiness import kept_loaded
from registry.releasing.releases import read_release, releases
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Settings:
    """Release 1 is champion; there is a second version of everything."""
    made = make_site(tmp_path, database_url)
    with open_for_writing(made) as registry:
        add_versions(registry, 2)
        write_seed(made, dict.fromkeys(FAMILIES, 1))
        mend_releases(registry)
        bind(registry)  # once, not in each of the steps that are killed
    return made


def whole(site: Settings) -> tuple[int, int, int]:
    """Champion, changes and releases after the next command has mended; fails when anything disagrees."""
    with open_for_writing(site) as registry, registry.catalogue.read() as c:
        changes, found = history(c, "barista"), releases(c, "barista")
        now = current_aliases(c, "barista")
        assert [change.seq for change in changes] == list(range(1, len(changes) + 1))
        assert [one.number for one in found] == documents.release_numbers(registry.repo, "barista")
        for one in found:
            assert set(one.stages) == set(FAMILIES)
            assert documents.read_document(registry.repo, "barista", one.number).release == one
        written = documents.read_aliases(registry.repo, "barista")
        assert written is not None
        assert (written.champion, written.previous, written.seq) == (now.champion, now.previous, now.seq)
        assert leftovers(documents.folder_of(registry.repo, "barista")) == []
        return now.champion or 0, len(changes), len(found)


def test_making_a_release_killed_at_any_step_leaves_all_of_it_or_nothing(site: Settings) -> None:
    def make() -> None:
        with open_for_writing(site) as registry:
            create_release(registry, "barista", {"stt": 2}, who="ada")

    steps = count_steps(make)
    before = whole(site)
    outcomes = set()
    for step in range(steps + 1):
        killed_before(step, make)
        after = whole(site)
        assert after[:2] == before[:2] and after[2] - before[2] in (0, 1)
        outcomes.add(after[2] - before[2])
        before = after

    assert steps > 10 and outcomes == {0, 1}


def test_a_promotion_and_a_rollback_killed_at_any_step_end_in_old_or_new(site: Settings) -> None:
    def forth() -> None:
        with open_for_writing(site) as registry:
            promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="try", force=True)

    def back() -> None:
        with Registry.unmended(site) as registry:
            rollback(registry, "barista", 1, loader=SiteLoader(registry), who="bob")

    with open_for_writing(site) as registry:
        create_release(registry, "barista", {"stt": 2}, who="ada")
    for work, undo, target in ((forth, back, 2), (back, forth, 1)):
        if target == 1:
            forth()
        steps = count_steps(work)
        undo()
        outcomes = set()
        for step in range(steps + 1):
            _, changed, _ = whole(site)
            killed_before(step, work)
            champion, changes, _ = whole(site)
            assert (champion == target) == (changes == changed + 1), (
                "a change without its row, or a row without its change"
            )
            outcomes.add(champion)
            if champion == target:
                undo()
        assert steps > 10 and outcomes == {1, 2}


def test_what_a_killed_promotion_kept_loaded_is_given_up_by_itself(site: Settings) -> None:
    with open_for_writing(site) as registry:
        create_release(registry, "barista", {"stt": 2}, who="ada")

    def half() -> None:
        with open_for_writing(site) as registry, registry.catalogue.read() as c:
            release = read_release(c, "barista", 2)
            with kept_loaded(registry, release.refs):
                os.kill(os.getpid(), signal.SIGKILL)

    killed_before(10**9, half)

    now = 0.0
    replica = Heartbeats(lambda: now)
    with open_for_writing(site) as registry, registry.catalogue.write() as c:
        assert any("promotion" in reason for reason in references(c, "barista_stt", 2))
        assert replica.stopped(c) == []
        now = STALE_AFTER_S
        sweep(c, replica.stopped(c))
        assert not any("promotion" in reason for reason in references(c, "barista_stt", 2))


def test_seeding_killed_at_any_step_is_finished_by_the_next_command(tmp_path: Path, database_url: str) -> None:
    made = make_site(tmp_path, database_url)
    with open_for_writing(made) as registry:
        add_versions(registry)
    write_seed(made, dict.fromkeys(FAMILIES, 1))

    def start() -> None:
        open_for_writing(made).close()

    for step in range(200):
        killed_before(step, start)
        with Registry.unmended(made) as registry, registry.catalogue.read() as c:
            if current_aliases(c, "barista").champion == 1:
                break
    assert step > 5
    assert whole(made) == (1, 1, 1)
