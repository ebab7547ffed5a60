"""What binds an experiment to the catalogue: its arms are held, must fit, and are looked at again when it is served."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from release_site import add_version, add_versions, make_site, write_seed

from experiments import commands
from experiments.assignment import Arm, Experiment, ExperimentRefused, assign_call, start
from experiments.store import ExperimentStore
from orchestrator.routing import Routing, RoutingReader
from parley.bundle import FAMILIES, VersionRef
from registry import tables as t
from registry.catalogue import set_state
from registry.loading import SiteLoader
from registry.releasing.creating import create_release
from registry.releasing.holds import holders, references
from registry.releasing.promotion import PromotionRefused, promote, rollback
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing

ALL = dict.fromkeys(FAMILIES, 1)


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    """Release 1 is champion; there is a second version of everything."""
    with open_for_writing(make_site(tmp_path, database_url)) as opened:
        add_versions(opened, 2, constants={})
        write_seed(opened.site, ALL)
        mend_releases(opened)
        yield opened


class NoClients:
    def read(self, family: str, ref: VersionRef) -> None:
        return None


def routing(registry: Registry) -> Routing:
    return RoutingReader("barista", registry.catalogue, registry.repo, NoClients()).read()


def begin(registry: Registry, name: str = "stt-2", stage: str = "stt", treatment: int = 2) -> Experiment:
    return commands.start(name, stage, 1, treatment, who="ada", bot="barista", site=registry.site)


def test_a_live_experiment_holds_its_arms_until_it_stops(registry: Registry) -> None:
    begin(registry)
    with registry.catalogue.read() as c:
        assert holders(c, "barista_stt", 2) == ["experiment stt-2"]
        assert "experiment stt-2" in references(c, "barista_stt", 2)

    commands.ramp("stt-2", 0.5, site=registry.site)
    with registry.catalogue.read() as c:
        assert holders(c, "barista_stt") == ["experiment stt-2"]

    commands.stop("stt-2", site=registry.site)
    with registry.catalogue.read() as c:
        assert holders(c, "barista_stt") == []


def test_a_refused_start_holds_nothing(registry: Registry) -> None:
    begin(registry)

    with pytest.raises(ExperimentRefused, match="is live on this stage"):
        begin(registry, "other")

    with registry.catalogue.read() as c:
        assert holders(c, "barista_stt") == ["experiment stt-2"]


def test_an_experiment_from_before_is_held_when_the_store_is_opened(registry: Registry) -> None:
    begin(registry)
    with registry.catalogue.write() as c:
        c.execute(t.holds.delete())

    ExperimentStore.at(registry.site).close()

    with registry.catalogue.read() as c:
        assert holders(c, "barista_stt", 1) == holders(c, "barista_stt", 2) == ["experiment stt-2"]


def test_an_arm_cannot_be_promoted_away_and_can_once_the_experiment_is_stopped(registry: Registry) -> None:
    begin(registry)
    create_release(registry, "barista", {"stt": 2}, who="ada")

    with pytest.raises(PromotionRefused, match="stop stt-2"):
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)
    commands.stop("stt-2", site=registry.site)

    made = promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)
    assert made.change.moved_to == 2


def test_arms_must_fit_the_champion_and_each_other(registry: Registry) -> None:
    demanding = add_version(registry, "nlu", requires={"stt.casing": "lower"}).number

    with pytest.raises(ExperimentRefused, match="needs stt.casing") as refused:
        begin(registry, "nlu-3", "nlu", demanding)

    assert (refused.value.kind, refused.value.status) == ("does-not-fit", 409)
    with registry.catalogue.read() as c:
        assert holders(c, "barista_nlu") == []


def test_arms_of_two_experiments_must_fit_each_other(registry: Registry) -> None:
    lower = add_version(registry, "stt", provides={"casing": "lower"}).number
    upper = add_version(registry, "stt", provides={"casing": "upper"}).number
    create_release(registry, "barista", {"stt": lower}, who="ada")
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)
    demanding = add_version(registry, "nlu", requires={"stt.casing": "lower"}).number
    begin(registry, "nlu-3", "nlu", demanding)

    with pytest.raises(ExperimentRefused, match="needs stt.casing"):
        commands.start("stt-4", "stt", lower, upper, bot="barista", site=registry.site)


def test_a_collected_version_is_no_arm(registry: Registry) -> None:
    shutil.rmtree(registry.repo / "barista_stt" / "2")
    with registry.catalogue.write() as c:
        set_state(c, "barista_stt", 2, "collected")

    with pytest.raises(ExperimentRefused, match=r"version 2 is not published \(there is: 1\)"):
        begin(registry)


def served(registry: Registry, unit: str = "u") -> str:
    now = routing(registry)
    return assign_call(now.experiments, now.release, unit, now.arm_available)["stt"].reason


def test_an_arm_is_served_only_while_it_is_what_the_experiment_started_with(registry: Registry) -> None:
    begin(registry)
    assert served(registry) == "experiment"

    with registry.catalogue.write() as c:
        set_state(c, "barista_stt", 1, "collected")
        set_state(c, "barista_stt", 2, "collected")
    assert served(registry) == "arm_unavailable"


def test_an_arm_of_other_content_is_not_served(registry: Registry) -> None:
    arms = (Arm("control", 1, 0.5, "0" * 64), Arm("treatment", 2, 0.5, "1" * 64))
    with ExperimentStore.at(registry.site) as store:
        store.change("ada", "start", "", lambda known: start("stt-2", "stt", "barista_stt", arms, 1.0, known))

    assert served(registry) == "arm_unavailable"


def test_after_a_rollback_an_arm_that_no_longer_fits_gives_way_to_the_release(registry: Registry) -> None:
    lower = add_version(registry, "stt", provides={"casing": "lower"}).number
    demanding = add_version(registry, "nlu", requires={"stt.casing": "lower"}).number
    create_release(registry, "barista", {"stt": lower}, who="ada")
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)
    commands.start("nlu-3", "nlu", demanding, demanding, bot="barista", site=registry.site)
    assert routing(registry).arms == {("barista_nlu", demanding)}

    changed = rollback(registry, "barista", loader=SiteLoader(registry), who="bob", why="callers hang up")

    assert "nlu-3" in changed.warnings[0]
    assert routing(registry).arms == frozenset()


def test_the_standing_changes_its_number_with_every_move_and_every_epoch(registry: Registry) -> None:
    reader = RoutingReader("barista", registry.catalogue, registry.repo, NoClients())
    seen = [reader.version()]
    begin(registry)
    seen.append(reader.version())
    create_release(registry, "barista", {"tts": 2}, who="ada")
    assert reader.version() == seen[-1]
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)
    seen.append(reader.version())

    assert len(set(seen)) == 3
    now = reader.read()
    assert (now.release.number, now.seq, now.experiments.config_version) == (2, 2, 1)


def test_each_release_talks_by_its_own_dialogue(registry: Registry) -> None:
    reader = RoutingReader("barista", registry.catalogue, registry.repo, NoClients())
    first = reader.read()
    path = registry.site.bots_dir / "barista" / "bot.yaml"
    path.write_text(path.read_text() + "\n# edited\n")
    create_release(registry, "barista", {}, who="ada")
    assert reader.read().script is first.script, "an edited file changes nothing before it is released"

    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)
    second = reader.read()
    rollback(registry, "barista", loader=SiteLoader(registry), who="ada")

    assert second.script is not first.script
    assert reader.read().script is first.script, "its prompts are warm still"
    with registry.catalogue.read() as c:
        assert c.scalar(sa.select(sa.func.count()).select_from(t.dialogues)) == 2
