"""A site knows its repository: neither is taken for another's, and there is a way out."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from release_site import add_versions, make_site, write_seed
from test_looking import name, snapshot

from cli.main import run
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.settings import Settings
from registry import belonging
from registry.binding import bind
from registry.catalogue import versions
from registry.loading import SiteLoader
from registry.reading import open_for_reading
from registry.recovery import mend
from registry.releasing.creating import create_release
from registry.releasing.promotion import promote
from registry.writing import open_for_writing


def own(site: Settings) -> Settings:
    """Give the repository something of the site's own."""
    write_seed(site, dict.fromkeys(FAMILIES, 1))
    with open_for_writing(site) as registry:
        add_versions(registry)
        mend(registry)
        create_release(registry, "barista", {}, who="ada")
    return site


def other_state(site: Settings, folder: str = "other") -> Settings:
    return site.model_copy(update={"state_dir": site.state_dir.with_name(folder)})


def test_a_repository_is_nobodys_until_it_has_something_of_a_sites_own(tmp_path: Path, database_url: str) -> None:
    site = make_site(tmp_path, database_url)
    with open_for_writing(site) as registry:
        add_versions(registry)
    with open_for_writing(other_state(site)):
        pass  # as several sites may try the starter versions of one checkout
    own(site)
    assert (site.repo_dir / belonging.IN_REPOSITORY).is_file() and (site.state_dir / belonging.IN_STATE).is_file()


@pytest.mark.parametrize("line", ["show stt 1", "releases create", "promote", "rollback", "gc", "experiment stop x"])
def test_another_sites_repository_is_refused_with_the_ways_out_and_nothing_is_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    site = own(make_site(tmp_path))
    name(other_state(site), monkeypatch)
    before = snapshot(tmp_path)

    with pytest.raises(ParleyError) as refused:
        run(line.split())

    assert "belongs to another site" in refused.value.what and str(site.state_dir) in refused.value.what
    assert "PARLEY_STATE_DIR" in refused.value.mend and "adopt-repository" in refused.value.mend
    assert snapshot(tmp_path) == before


def test_a_state_folder_that_has_another_repository_is_refused(tmp_path: Path) -> None:
    ours, theirs = own(make_site(tmp_path / "ours")), own(make_site(tmp_path / "theirs"))
    for wrong in (theirs.repo_dir, make_site(tmp_path / "empty").repo_dir):
        with pytest.raises(ParleyError, match="not the repository of this site, which is at"):
            open_for_reading(ours.model_copy(update={"repo_dir": wrong}))
    with pytest.raises(ParleyError, match="the repository of this site is not there"):
        open_for_writing(ours.model_copy(update={"repo_dir": tmp_path / "nowhere"}), new=True)


def test_a_repository_changes_hands_by_a_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = own(make_site(tmp_path))
    shutil.copytree(site.state_dir / "keys", tmp_path / "keys")
    heir = other_state(site).model_copy(update={"trusted_keys_dir": tmp_path / "keys"})
    name(heir, monkeypatch)

    assert run(["catalogue", "adopt-repository"]) == 0

    with open_for_reading(heir) as registry, registry.catalogue.read() as c:
        assert len(versions(c)) == len(FAMILIES)
    with pytest.raises(ParleyError, match="belongs to another site"):
        open_for_writing(site)
    name(site, monkeypatch)
    assert run(["catalogue", "adopt-repository"]) == 0
    open_for_writing(site).close()


def test_hosts_that_share_a_database_are_one_site(tmp_path: Path, postgresql: object) -> None:
    url = postgresql.create()  # type: ignore[attr-defined]
    site = own(make_site(tmp_path, url))
    second = other_state(site)

    with open_for_writing(second) as registry:
        create_release(registry, "barista", {}, who="bob")

    assert (second.state_dir / belonging.IN_STATE).read_text() == (site.state_dir / belonging.IN_STATE).read_text()
    with pytest.raises(ParleyError, match="belongs to another site"):
        open_for_writing(other_state(site, "third").model_copy(update={"database_url": ""}))


def test_a_lost_state_folder_finds_its_repository_again(tmp_path: Path) -> None:
    site = own(make_site(tmp_path))
    keys = shutil.copytree(site.state_dir / "keys", tmp_path / "keys")
    shutil.rmtree(site.state_dir)
    site = site.model_copy(update={"trusted_keys_dir": keys})

    with open_for_writing(site) as registry:
        promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="again", force=True)

    assert (site.state_dir / belonging.IN_STATE).is_file()


def test_a_site_of_an_older_parley_is_not_bound_to_a_repository_without_its_versions(tmp_path: Path) -> None:
    site = make_site(tmp_path)
    with open_for_writing(site) as registry:
        add_versions(registry)
    wrong = make_site(tmp_path / "wrong").repo_dir
    with (
        open_for_writing(site.model_copy(update={"repo_dir": wrong})) as registry,
        pytest.raises(ParleyError, match="none of this site's 4 versions"),
    ):
        bind(registry)


def test_a_mistyped_state_folder_does_not_take_an_unbound_repository_from_its_site(tmp_path: Path) -> None:
    """The repository is an older Parley's: neither side knows the other, and the keys are in the other state folder."""
    site = make_site(tmp_path)
    write_seed(site, dict.fromkeys(FAMILIES, 1))
    with open_for_writing(site) as registry:
        add_versions(registry)
    before = snapshot(site.repo_dir)

    with open_for_writing(other_state(site)) as wrong:
        bind(wrong)
        with wrong.catalogue.read() as c:
            assert versions(c) == []

    assert {path for path in snapshot(site.repo_dir) if ".locks" not in path} == set(before)
    with open_for_writing(site) as registry:
        create_release(registry, "barista", {}, who="ada")


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    site = own(make_site(tmp_path))
    (site.repo_dir / belonging.IN_REPOSITORY).write_text("{}")
    with pytest.raises(ParleyError, match="which site and repository belong together"):
        open_for_reading(site)


@pytest.mark.parametrize("line", ["releases", "gc", "show stt", "experiment list", "experiment ramp x --coverage 1",
                                  "catalogue upgrade", "catalogue check", "promote 1", "triton start"])  # fmt: skip
def test_a_wrong_folder_is_said_and_stays_empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARLEY_STATE_DIR")
    with pytest.raises(ParleyError) as refused:
        run(line.split())
    assert "no site of Parley here" in refused.value.what and "PARLEY_REPO_DIR" in refused.value.mend
    assert list(tmp_path.iterdir()) == []


def test_a_release_of_a_version_whose_folder_is_gone_is_refused(tmp_path: Path) -> None:
    site = own(make_site(tmp_path))
    shutil.rmtree(site.repo_dir / "barista_tts" / "1")
    with open_for_writing(site) as registry, pytest.raises(ParleyError, match="the files of the tts are gone"):
        create_release(registry, "barista", {}, who="ada")
