"""Looking changes nothing: every verb that reads leaves repository, state folder and working folder as they were."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from release_site import add_versions, make_site, write_seed

from parley.bundle import FAMILIES
from parley.cli.main import run
from parley.errors import ParleyError
from parley.settings import Settings
from registry.home import Registry
from registry.releasing.pointers import promote
from registry.releasing.releases import create_release, release_of

ROOT = Path(__file__).parent.parent
READING = (
    "show stt", "show stt 1 --json", "show stt --card", "verify", "lineage stt 1", "lineage --utterance x",
    "diff stt 1 2", "releases", "releases list --json", "releases show 1", "releases history",
    "experiment list --all --json",
    "experiment assign --ids ids.txt", "catalogue check", "gc --dry-run", "gc --dry-run --version stt 1", "gate --help",
    "catalogue restore", "triton status", "triton logs", "doctor", "pack stt 1 ../packed.tar",
)  # fmt: skip


def snapshot(*folders: Path) -> dict[str, tuple[int, int, str]]:
    """Name to mode, time of the last change and content of everything in these folders."""
    found = {}
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            facts = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
            found[str(path)] = (facts.st_mode, facts.st_mtime_ns, content)
    return found


def name(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands work on this site."""
    for field in ("bots_dir", "repo_dir", "state_dir", "trusted_keys_dir", "engine"):
        monkeypatch.setenv(f"PARLEY_{field.upper()}", str(getattr(site, field)))


def living(folder: Path) -> Settings:
    """A site that has published, released and promoted; it belongs to its repository."""
    site = make_site(folder).model_copy(update={"trusted_keys_dir": folder / "keys"})
    write_seed(site, dict.fromkeys(FAMILIES, 1))
    with Registry.at(site) as registry:
        add_versions(registry, 2)
        registry.mend()
        promote(registry, "barista", create_release(registry, "barista", {"stt": 2}, who="ada").number,
                who="ada", why="try", force=True)  # fmt: skip
    return site


def as_it_is(site: Settings) -> Settings:
    return site


def with_leftovers(site: Settings) -> Settings:
    """What killed commands leave: a staged version, half a file, a version nobody recorded, an open journal, no pin."""
    model = site.repo_dir / "barista_stt"
    shutil.copytree(model / "2", model / ".staging-abc")
    (model / ".config.pbtxt.xyz").write_text("half")
    shutil.copytree(model / "2", model / "3")
    (model / "config.pbtxt").write_text("stale")
    (site.state_dir / "pins" / "barista_nlu" / "1").unlink()
    (site.repo_dir / ".releases" / "barista" / "pointers.json").unlink()
    dying = "import sqlite3, sys, os; c = sqlite3.connect(sys.argv[1]); c.execute('create table x(y)'); os._exit(0)"
    subprocess.run([sys.executable, "-c", dying, str(site.state_dir / "parley.db")], check=True, timeout=30)
    assert (site.state_dir / "parley.db-wal").stat().st_size
    return site


def with_another_state_folder(site: Settings) -> Settings:
    """Mistyped: it does not exist."""
    return site.model_copy(update={"state_dir": site.state_dir.with_name("var-typo")})


def with_an_empty_state_folder(site: Settings) -> Settings:
    empty = site.state_dir.with_name("empty")
    empty.mkdir()
    return site.model_copy(update={"state_dir": empty})


def without_keys(site: Settings) -> Settings:
    (site.state_dir / "keys" / "signing.pub.pem").unlink()
    return site


def nobodys(site: Settings) -> Settings:
    """A repository that came as a checkout does, with the key of who signed it."""
    (site.repo_dir / ".parley-site.json").unlink()
    shutil.rmtree(site.repo_dir / ".releases")
    (site.state_dir.parent / "keys").mkdir()
    shutil.copy(site.state_dir / "keys" / "signing.pub.pem", site.state_dir.parent / "keys")
    return with_another_state_folder(site)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("living")
    living(folder)
    return folder


def copied(made: Path, folder: Path) -> Settings:
    """A site of this test's own; it bears the identity of the one that it is copied from."""
    shutil.copytree(made, folder / "site")
    at = {f"{part}_dir": folder / "site" / part for part in ("bots", "repo")}
    return Settings(**at, state_dir=folder / "site" / "var", trusted_keys_dir=folder / "site" / "keys", engine="onnx")


@pytest.mark.parametrize(
    "kind",
    [as_it_is, with_leftovers, with_another_state_folder, with_an_empty_state_folder, without_keys, nobodys],
)
def test_no_verb_that_reads_changes_anything(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Settings], Settings]
) -> None:
    site = kind(copied(made, tmp_path))
    here = tmp_path / "here"
    here.mkdir()
    (here / "ids.txt").write_text("+4930123\n")
    monkeypatch.chdir(here)
    name(site, monkeypatch)
    for line in READING:
        before = snapshot(tmp_path / "site", here)
        with suppress(ParleyError, SystemExit):  # some cannot answer on some of these sites
            run(line.split())
        assert snapshot(tmp_path / "site", here) == before, line
    with suppress(ParleyError):
        release_of(site, "barista")
    assert snapshot(tmp_path / "site", here) == before
