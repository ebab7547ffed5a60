"""What belongs into the served view, and what never gets there; without a server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from serving_models import damage, scaler_bundle
from serving_site import MODEL, add_version, keep, open_site

from parley.errors import ParleyError
from registry import served
from registry import tables as t
from registry.releasing.holds import hold
from registry.releasing.leases import FORGOTTEN_AFTER, lease
from registry.served import Patience, ServedView, wanted
from registry.site import Registry
from registry.versions.publish import publish
from registry.writing import open_for_writing


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Three versions, of which nothing holds any."""
    with open_site(tmp_path, versions=3) as opened:
        keep(opened)
        yield opened


@pytest.fixture
def view(registry: Registry) -> ServedView:
    return ServedView(registry)


def point(registry: Registry, **names: int) -> None:
    """Make a release n of each version n, and point the bot's names to them."""
    with registry.catalogue.write() as c:
        c.execute(t.dialogues.insert().values(digest="d", text=""))
        for number in (1, 2, 3):
            row = {"bot": "barista", "number": number}
            at = datetime.now(UTC)
            c.execute(t.releases.insert().values(**row, dialogue_digest="d", state="kept", at=at, who="", why=""))
            c.execute(t.release_stages.insert().values(**row, stage="nlu", model=MODEL, version=number))
        c.execute(
            t.alias_changes.insert().values(
                bot="barista", seq=1, what="first", forced=False, at=datetime.now(UTC), who="", why="", **names
            )
        )


@pytest.mark.parametrize("name", ["champion", "candidate", "previous"])
def test_a_release_that_a_name_points_to_is_wanted_and_no_other(registry: Registry, name: str) -> None:
    point(registry, **{name: 1})

    with registry.catalogue.read() as c:
        assert wanted(c) == {MODEL: {1, 3}}


def test_the_newest_version_is_wanted_and_a_collected_one_is_not(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        c.execute(t.versions.update().where(t.versions.c.number == 3).values(state="collected"))

    with registry.catalogue.read() as c:
        assert wanted(c) == {MODEL: {2}}


def test_what_an_experiment_holds_or_a_living_replica_uses_is_wanted(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        hold(c, "experiment a", [(MODEL, 1)])
        lease(c, "replica", {(MODEL, 2): 4})

    with registry.catalogue.read() as c:
        assert wanted(c) == {MODEL: {1, 2, 3}}


def test_what_a_dead_replica_used_is_not_wanted(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        lease(c, "replica", {(MODEL, 2): 4})
        before = datetime.now(UTC) - FORGOTTEN_AFTER
        c.execute(t.leases.update().values(seen_at=before))

    with registry.catalogue.read() as c:
        assert wanted(c) == {MODEL: {3}}


def test_only_the_bots_that_are_served_count(registry: Registry, tmp_path: Path) -> None:
    with registry.catalogue.read() as c:
        assert wanted(c, ["bank"]) == {}
        assert wanted(c, ["barista", "bank"]) == {MODEL: {3}}


def test_preparing_makes_the_view_what_is_wanted_whatever_it_held(registry: Registry, view: ServedView) -> None:
    model = view.folder.directory / MODEL
    model.mkdir(parents=True)
    (model / "1").symlink_to("/nowhere")
    (model / "2").mkdir()
    (model / "2" / "model.py").write_text("planted")
    (view.folder.directory / "gone").mkdir()
    (view.folder.directory / "gone" / "config.pbtxt").write_text("name: 'gone'")

    assert view.prepare() == []

    assert view.folder.linked() == {MODEL: {3}}
    served = {path.name: path.readlink() for path in (model / "3").iterdir()}
    assert served == {name: registry.repo / MODEL / "3" / name for name in ("manifest.json", "model.onnx")}
    assert sorted(path.name for path in view.folder.directory.iterdir()) == [MODEL]
    assert sorted(path.name for path in model.iterdir()) == ["3", "config.pbtxt", "configs"]
    assert 'backend: "parley"' in (model / "config.pbtxt").read_text()


def test_a_configuration_is_not_written_when_its_text_stays(
    registry: Registry, view: ServedView, tmp_path: Path
) -> None:
    view.prepare()
    config = view.folder.directory / MODEL / "config.pbtxt"
    before = config.stat()

    add_version(registry, tmp_path / "bundle", 4)
    view.ensure([(MODEL, 4), (MODEL, 1)])

    assert view.folder.linked() == {MODEL: {1, 3, 4}}
    assert (config.stat().st_ino, config.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_version_that_does_not_verify_is_left_out_and_the_others_are_not(
    registry: Registry, view: ServedView
) -> None:
    keep(registry, 1, 2)
    file = registry.repo / MODEL / "2" / "labels.json"
    damage(file)

    problems = view.prepare()

    assert [problem.where for problem in problems] == [str(file)]
    assert view.folder.linked() == {MODEL: {1, 3}}


def test_what_was_accepted_under_a_number_stays_what_it_was(
    registry: Registry, view: ServedView, tmp_path: Path
) -> None:
    """Another site of the same publisher has a version 1 as well: signed, whole, and not ours."""
    with open_site(tmp_path / "other") as other:
        (tmp_path / "other" / "var").mkdir(exist_ok=True)
        shutil.copytree(registry.site.state_dir / "keys", other.site.state_dir / "keys")
        publish(scaler_bundle(tmp_path / "theirs", 77), other)
    shutil.rmtree(registry.repo / MODEL / "1")
    shutil.copytree(other.repo / MODEL / "1", registry.repo / MODEL / "1")

    with pytest.raises(ParleyError, match="not the version this site accepted"):
        view.ensure([(MODEL, 1)])

    assert view.folder.linked() == {}


def test_a_version_the_catalogue_does_not_know_is_never_served(registry: Registry, view: ServedView) -> None:
    shutil.copytree(registry.repo / MODEL / "3", registry.repo / MODEL / "4")

    with pytest.raises(ParleyError, match="there is no version 4"):
        view.ensure([(MODEL, 4)])

    assert view.folder.linked() == {}


def test_a_pin_that_is_lost_comes_back_from_the_catalogue(registry: Registry, view: ServedView) -> None:
    pin = registry.site.state_dir / "pins" / MODEL / "3"
    before = pin.read_text()
    pin.unlink()

    assert view.prepare() == []

    assert pin.read_text() == before


def test_what_is_wanted_no_longer_stays_a_while_and_then_goes(
    registry: Registry, view: ServedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(served.time, "monotonic", lambda: now)
    keep(registry, 1)
    view.prepare()
    keep(registry)

    first = view.reconcile()
    now += Patience().linger_s - 0.1
    lingering = view.reconcile()
    now += 0.1
    after = view.reconcile()

    assert (first.removed, lingering.removed, after.removed) == ([], [], [(MODEL, 1)])
    assert view.folder.linked() == {MODEL: {3}}


def test_what_is_wanted_again_in_the_meantime_lingers_anew(
    registry: Registry, view: ServedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(served.time, "monotonic", lambda: now)
    keep(registry, 1)
    view.prepare()
    for held in ((), (1,), ()):
        keep(registry, *held)
        view.reconcile()
        now += Patience().linger_s - 0.1

    assert view.reconcile().removed == []


def test_looking_after_the_view_adds_what_came_and_says_what_cannot_be_served(
    registry: Registry, view: ServedView
) -> None:
    view.prepare()
    file = registry.repo / MODEL / "2" / "model.onnx"
    damage(file)
    keep(registry, 1, 2)

    changes = view.reconcile()

    assert changes.added == [(MODEL, 1)]
    assert {ref: problem.where for ref, problem in changes.problems.items()} == {(MODEL, 2): str(file)}
    assert view.folder.linked() == {MODEL: {1, 3}}


def test_a_refused_version_is_looked_at_again_later(
    registry: Registry, view: ServedView, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(served.time, "monotonic", lambda: now)
    file = registry.repo / MODEL / "3" / "model.onnx"
    content = damage(file)
    refused = view.reconcile()
    file.write_bytes(content)

    at_once = view.reconcile()
    now += Patience().retry_s
    later = view.reconcile()

    assert list(refused.problems) == list(at_once.problems) == [(MODEL, 3)]
    assert later.added == [(MODEL, 3)] and later.problems == {}


def test_only_one_process_changes_the_view_at_a_time(registry: Registry, view: ServedView) -> None:
    with view.folder.lock():
        assert ServedView(registry).reconcile().added == []
    assert ServedView(registry).reconcile().added == [(MODEL, 3)]


def test_a_server_started_for_one_bot_is_given_no_other_bots_versions(registry: Registry, tmp_path: Path) -> None:
    publish(scaler_bundle(tmp_path / "bank", 2, model="bank_nlu", bot="bank"), registry)
    ServedView(registry, ["barista"]).prepare()

    ServedView(registry).ensure([("bank_nlu", 1), (MODEL, 2)])
    ServedView(registry).reconcile()

    assert ServedView(registry).folder.linked() == {MODEL: {2, 3}}


def test_a_repository_that_moved_is_linked_anew(registry: Registry, view: ServedView, tmp_path: Path) -> None:
    view.prepare()
    moved = tmp_path / "moved"
    os.rename(registry.repo, moved)
    site = registry.site.model_copy(update={"repo_dir": moved})

    with open_for_writing(site) as again:
        assert ServedView(again).prepare() == []

    served = view.folder.directory / MODEL / "3"
    assert {path.readlink().parent for path in served.iterdir()} == {moved / MODEL / "3"}
