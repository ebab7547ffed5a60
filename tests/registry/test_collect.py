"""What nothing needs may go; each decision is explained, holds in the transaction, and survives a kill at any step."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from release_site import add_verdict, add_version, add_versions, make_site

from cli.main import run
from parley.errors import ParleyError
from parley.serving.triton_record import ServerRecord, process_started, write_record
from registry import catalogue
from registry import tables as t
from registry.catalogue import COLLECTED, COLLECTING, PUBLISHED
from registry.housekeeping import collect as collecting
from registry.housekeeping.collect import collect, collect_version, finish
from registry.housekeeping.retention import Decision, Policy, decide
from registry.loading import SiteLoader
from registry.recovery import mend
from registry.releasing.creating import create_release
from registry.releasing.holds import hold
from registry.releasing.leases import lease
from registry.releasing.promotion import promote, rollback
from registry.releasing.releases import releases
from registry.site import Registry
from registry.versions.signing import read_pin
from registry.view import ViewFolder
from registry.writing import open_for_writing

NOW = Policy(keep=1, older_than_days=0)
STT = "barista_stt"


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    """Three versions of every stage; nothing is released yet."""
    settings = make_site(tmp_path, database_url)
    with open_for_writing(settings) as registry:
        add_versions(registry, 3)
        yield registry


def _release(registry: Registry, version: int) -> int:
    """A release of the same version of every stage, promoted."""
    stages = dict.fromkeys(("stt", "nlu", "nlg", "tts"), version)
    number = create_release(registry, "barista", stages, who="ada").number
    promote(registry, "barista", number, loader=SiteLoader(registry), who="ada", why="test", force=True)
    return number


@pytest.fixture(autouse=True)
def _no_dialogue(monkeypatch: pytest.MonkeyPatch) -> None:
    # The versions here hold no real labels; whether they fit the dialogue is not what is tested.
    monkeypatch.setattr("registry.releasing.fit.check_dialogue", lambda *_: None)


def _decision(decisions: list[Decision], subject: str) -> Decision:
    return next(decision for decision in decisions if decision.subject == subject)


def _decide(registry: Registry, policy: Policy = NOW, now: datetime | None = None) -> list[Decision]:
    with registry.catalogue.read() as c:
        return decide(registry, c, policy, now)


def _state(registry: Registry, number: int, model: str = STT) -> str:
    with registry.catalogue.read() as c:
        return catalogue.version(c, model, number).state


def _folders(registry: Registry, model: str = STT) -> list[str]:
    return sorted(path.name for path in (registry.repo / model).iterdir() if path.is_dir() and path.name != "configs")


def test_unneeded_versions_lose_their_files_and_pins_and_keep_their_record(site: Registry) -> None:
    collect(site, NOW, who="ada")

    assert _folders(site) == ["3"]
    assert (_state(site, 1), _state(site, 2), _state(site, 3)) == (COLLECTED, COLLECTED, PUBLISHED)
    assert (read_pin(site.site, STT, 1), read_pin(site.site, STT, 3)) == (None, _digest(site, 3))
    with site.catalogue.read() as c:
        assert catalogue.manifest_of(c, STT, 1).version == 1
        rows = c.execute(sa.select(t.registry_audit).where(t.registry_audit.c.what == "collect")).all()
    assert {row.subject for row in rows} >= {f"{STT} 1", f"{STT} 2"}
    assert {row.who for row in rows} == {"ada"}
    assert all("no release, experiment or call needs it" in row.why for row in rows)


def _digest(registry: Registry, number: int) -> str:
    with registry.catalogue.read() as c:
        return catalogue.version(c, STT, number).digest


def test_dry_run_decides_the_same_and_changes_nothing(site: Registry) -> None:
    dry = collect(site, NOW, dry_run=True)

    assert _folders(site) == ["1", "2", "3"]
    assert [(d.subject, d.kept, d.reasons) for d in collect(site, NOW)] == [(d.subject, d.kept, d.reasons) for d in dry]
    assert _folders(site) == ["3"]


def _hold(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        hold(c, "experiment stt-2", [(STT, 1)])


def _lease(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        lease(c, "replica-1", {(STT, 1): 3})


def _candidate(registry: Registry) -> None:
    from registry.releasing.promotion import set_candidate

    _release(registry, 3)
    number = create_release(registry, "barista", {"stt": 1}, who="ada").number
    set_candidate(registry, "barista", number, add_verdict(registry, number, 1), who="gate")


def _previous(registry: Registry) -> None:
    _release(registry, 1), _release(registry, 3)


def _accepted(registry: Registry) -> None:
    _release(registry, 3)
    number = create_release(registry, "barista", {"stt": 1}, who="ada").number
    create_release(registry, "barista", {}, who="ada")  # so that the last one is another
    add_verdict(registry, number, 1)


def _seed(registry: Registry) -> None:
    from release_site import write_seed

    write_seed(registry.site, {"stt": 1})


def _loaded(registry: Registry) -> None:
    view = ViewFolder(registry.site.state_dir, registry.repo)
    view.directory.mkdir(parents=True)
    view.link(STT, 1)
    started = process_started(os.getpid())
    assert started is not None
    record = ServerRecord(
        pid=os.getpid(), started=started, owner_pid=0, owner_started=0, grpc="", http="", metrics="",
    )  # fmt: skip
    write_record(registry.site.state_dir, record)


NEEDED: dict[str, tuple[Callable[[Registry], None], str]] = {
    "champion": (lambda r: _release(r, 1) and None, "release 1 of barista (champion)"),
    "previous": (_previous, "release 1 of barista (previous)"),
    "candidate": (_candidate, "release 2 of barista (candidate)"),
    "verdict": (_accepted, "release 2 of barista"),
    "experiment": (_hold, "experiment stt-2"),
    "calls": (_lease, "3 calls on replica-1"),
    "seed": (_seed, "named by the bot's release.json"),
    "loaded": (_loaded, "loaded by the running server"),
}


@pytest.mark.parametrize("why", NEEDED)
def test_needed_version_stays_for_its_reason_and_cannot_be_collected_by_hand(site: Registry, why: str) -> None:
    prepare, reason = NEEDED[why]
    assert not _decision(_decide(site), f"{STT} 1").kept
    prepare(site)

    decisions = collect(site, NOW)

    assert reason in _decision(decisions, f"{STT} 1").reasons
    assert "1" in _folders(site)
    with pytest.raises(ParleyError, match="it is needed: ") as caught:
        collect_version(site, STT, 1)
    assert reason in str(caught.value)


def test_newest_version_of_a_model_stays_although_nothing_names_it(site: Registry) -> None:
    assert _decision(collect(site, NOW), f"{STT} 3").reasons == ("newest of its model",)

    with pytest.raises(ParleyError, match="newest of its model"):
        collect_version(site, STT, 3)


def test_young_stays_until_its_day(site: Registry) -> None:
    policy, published = Policy(keep=1, older_than_days=30), datetime.now(UTC)

    young = _decide(site, policy, published + timedelta(days=29))
    old = _decide(site, policy, published + timedelta(days=31))

    assert _decision(young, f"{STT} 1").reasons == ("younger than 30 days",)
    assert not _decision(old, f"{STT} 1").kept


def test_last_releases_stay_older_ones_are_retired_and_then_their_versions_go(site: Registry) -> None:
    for version in (1, 2, 3):
        _release(site, version)
    create_release(site, "barista", {}, who="ada")

    decisions = collect(site, Policy(keep=1, older_than_days=0))

    kept = {d.number: d.reasons for d in decisions if d.kind == "release" and d.kept}
    assert kept == {2: ("previous",), 3: ("champion",), 4: ("one of the last 1 releases",)}
    assert _decision(decisions, "barista release 1").reasons == (
        "no alias points to it", "not one of the last 1 releases",
    )  # fmt: skip
    with site.catalogue.read() as c:
        assert {r.number: r.state for r in releases(c, "barista")} == {1: "retired", 2: "kept", 3: "kept", 4: "kept"}
    assert _folders(site) == ["2", "3"]


def test_retired_release_cannot_be_gone_back_to(site: Registry) -> None:
    for version in (1, 2, 3):
        _release(site, version)

    collect(site, NOW)

    with pytest.raises(ParleyError, match="retired"):
        rollback(site, "barista", 1, loader=SiteLoader(site), who="ada")


def test_need_that_comes_between_decision_and_deletion_keeps_the_version(
    site: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = collecting.decide

    def then_an_experiment_starts(*arguments: Any) -> list[Decision]:
        found = original(*arguments)
        _hold(site)
        return found

    monkeypatch.setattr(collecting, "decide", then_an_experiment_starts)

    decisions = collect(site, NOW)

    assert _decision(decisions, f"{STT} 1") == Decision(
        "version", STT, 1, True, ("experiment stt-2",), _decision(decisions, f"{STT} 1").size_bytes
    )
    assert _folders(site) == ["1", "3"]


def test_version_that_is_being_collected_can_join_no_release(site: Registry) -> None:
    with site.catalogue.write() as c:
        catalogue.set_state(c, STT, 1, COLLECTING)

    with pytest.raises(ParleyError, match="barista_stt 1 is collecting"):
        create_release(site, "barista", {"stt": 1}, who="ada")


def test_number_of_a_collected_version_is_never_given_away_again(site: Registry) -> None:
    collect(site, NOW)

    with site.catalogue.read() as c:
        assert catalogue.next_number(c, STT) == 4


def test_files_that_come_back_unaltered_are_published_again(site: Registry, tmp_path: Path) -> None:
    copy = shutil.copytree(site.repo / STT / "1", tmp_path / "backup")
    collect(site, NOW)
    shutil.copytree(copy, site.repo / STT / "1")

    assert finish(site) == [f"published {STT} version 1 again: its files are back"]

    assert (_state(site, 1), read_pin(site.site, STT, 1)) == (PUBLISHED, _digest(site, 1))


def test_other_files_under_a_collected_number_stay_unused(site: Registry, tmp_path: Path) -> None:
    collect(site, NOW)
    shutil.copytree(site.repo / STT / "3", site.repo / STT / "1")

    assert finish(site) == []

    assert (_state(site, 1), read_pin(site.site, STT, 1)) == (COLLECTED, None)


STEPS: dict[str, tuple[object, str, int]] = {
    "before it is marked": (catalogue, "set_state", 1),
    "before its audit": (catalogue, "audit", 1),
    "before its pin goes": (collecting, "remove_pin", 1),
    "before the rename": (os, "rename", 1),
    "after the rename": (collecting, "fsync_dir", 1),
    "before the deletion": (shutil, "rmtree", 1),
    "in the deletion": (os, "unlink", 3),
    "after the deletion": (collecting, "fsync_dir", 2),
    "before it is marked as collected": (catalogue, "set_state", 2),
}


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_any_step_a_version_is_here_or_gone_after_the_next_command(
    tmp_path: Path, site: Registry, step: str
) -> None:
    owner, name, at = STEPS[step]
    settings, untouched = site.site, _folders(site)
    site.close()

    died = _killed_child(settings, owner, name, at)

    assert died == signal.SIGKILL
    with open_for_writing(settings) as mended:
        here = _state(mended, 1)
        assert here in (PUBLISHED, COLLECTED)
        assert ("1" in _folders(mended)) == (here == PUBLISHED)
        assert (read_pin(settings, STT, 1) is not None) == (here == PUBLISHED)
        assert set(_folders(mended)) <= set(untouched)
        assert not list((mended.repo / STT).glob(".collecting-*"))
        assert mend(mended) == []
        assert (step in ("before it is marked", "before its audit")) == (here == PUBLISHED)
        if here == PUBLISHED:
            collect_version(mended, STT, 1)
            assert _state(mended, 1) == COLLECTED


def _killed_child(settings: Any, owner: object, name: str, at: int) -> int:
    """Collect version 1 in a child that kills itself at the `at`-th call of `name`; returns the signal it died of."""
    child = os.fork()
    if child == 0:
        calls, original = [], getattr(owner, name)

        def kill(*arguments: object, **named: object) -> object:
            calls.append(name)
            if len(calls) == at:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(*arguments, **named)

        try:
            with open_for_writing(settings) as registry:
                setattr(owner, name, kill)
                collect_version(registry, STT, 1, who="ada")
        finally:
            os._exit(0)
    return os.WTERMSIG(os.waitpid(child, 0)[1])


def test_disk_that_refuses_after_the_mark_is_a_note_and_the_next_command_finishes(
    site: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "/repo/barista_stt/1")

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", refuse)
        assert "not removed yet: Permission denied (/repo/barista_stt/1)" in collect_version(site, STT, 1)
        assert finish(site) == []

    assert finish(site) == [f"collected {STT} version 1"]
    assert _folders(site) == ["2", "3"]


def test_command_explains_each_decision_and_collects_one_version_by_name(
    site: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bots_dir", "repo_dir", "state_dir", "database_url"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(site.site, name)))
    add_version(site, "stt")

    assert run(["gc", "--dry-run", "--older-than", "0"]) == 0
    said = capsys.readouterr().out
    assert "0 releases would be retired, 9 versions would be collected" in said
    lines = {" ".join(line.split()[:3]): line for line in said.splitlines()}
    assert lines[f"keep {STT} 4"].endswith("newest of its model")
    assert "no release, experiment or call needs it" in lines[f"collect {STT} 1"]

    assert run(["gc", "--version", "stt", "1"]) == 0
    assert _folders(site) == ["2", "3", "4"]
    with pytest.raises(ParleyError, match="newest of its model"):
        run(["gc", "--version", "stt", "4"])
    with pytest.raises(ParleyError, match="collected already"):
        run(["gc", "--version", "stt", "1"])
