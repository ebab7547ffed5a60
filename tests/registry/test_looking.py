"""Looking changes nothing: every verb that reads leaves repository, state folder and working folder as they were."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from release_site import add_versions, make_site, write_seed

from cli.main import run
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.settings import Settings
from parley.sqlite_look import open_to_look
from registry.loading import SiteLoader
from registry.reading import release_of
from registry.recovery import mend
from registry.releasing.creating import create_release
from registry.releasing.promotion import promote
from registry.writing import open_for_writing

ROOT = Path(__file__).parents[2]
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
    with open_for_writing(site) as registry:
        add_versions(registry, 2)
        mend(registry)
        promote(registry, "barista", create_release(registry, "barista", {"stt": 2}, who="ada").number,
                loader=SiteLoader(registry), who="ada", why="try", force=True)  # fmt: skip
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


@contextmanager
def nobody(site: Path) -> Iterator[Callable[[str], subprocess.CompletedProcess[str]]]:
    """Runs commands as a user to whom nothing belongs, on a site that nobody may write; undoes both."""
    if os.geteuid() != 0:
        pytest.skip("only root may become somebody else")

    def command(line: str) -> subprocess.CompletedProcess[str]:
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-m", "cli.main"]
        return subprocess.run([*words, *line.split()], capture_output=True, text=True, timeout=120, cwd=ROOT)

    for path in (site, *site.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    opened = [parent for parent in site.parents if not parent.stat().st_mode & 0o001]
    for parent in opened:
        parent.chmod(parent.stat().st_mode | 0o001)
    try:
        yield command
    finally:
        for parent in opened:
            parent.chmod(parent.stat().st_mode & ~0o001)
        for path in (site, *site.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("kind", [as_it_is, with_leftovers])
def test_another_user_reads_a_site_that_may_not_be_written(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Callable[[Settings], Settings]
) -> None:
    site = kind(copied(made, tmp_path))
    name(site, monkeypatch)
    with nobody(tmp_path / "site") as parley:
        before = snapshot(tmp_path / "site")
        shown, listed, refused = parley("show stt 2"), parley("releases"), parley("releases create")
        assert snapshot(tmp_path / "site") == before
    assert shown.returncode == listed.returncode == 0, shown.stderr + listed.stderr
    assert "verified     yes" in shown.stdout and "champion" in listed.stdout
    assert refused.returncode == 2 and "Traceback" not in refused.stderr


def test_a_reader_sees_what_is_committed_while_others_write_and_close(tmp_path: Path) -> None:
    """Every writer's last connection folds its journal into the file; a reader must never see half of that."""
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE t (a, b)")
        made.executemany("INSERT INTO t VALUES (?, ?)", [(0, 0)] * 500)
    made.close()
    code = (
        "import sqlite3, sys\nfor _ in range(100):\n c = sqlite3.connect(sys.argv[1], timeout=30)\n"
        " c.execute('UPDATE t SET a = a + 1, b = b + 1'); c.commit(); c.close()"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(2)]
    reads = 0
    while any(writer.poll() is None for writer in writers) or not reads:
        looking = open_to_look(path)
        assert looking.execute("SELECT count(*), sum(a - b), max(a) - min(a) FROM t").fetchone() == (500, 0, 0)
        looking.close()
        reads += 1
    assert [writer.returncode for writer in writers] == [0, 0]
    looking = open_to_look(path)
    assert looking.execute("SELECT max(a) FROM t").fetchone() == (200,)
    with pytest.raises(sqlite3.OperationalError):
        looking.execute("UPDATE t SET a = 0")
    looking.close()


def test_a_checkout_shows_its_starters_before_anything_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made: Path
) -> None:
    name(nobodys(copied(made, tmp_path)), monkeypatch)

    assert run(["releases"]) == 0
    assert capsys.readouterr().out.startswith("1  stt=1 nlu=1 nlg=1 tts=1")
    assert run(["releases", "create", "stt=2"]) == 0, "the first command that writes makes it so"
    assert "release 2 of barista: stt=2" in capsys.readouterr().out


def test_a_catalogue_of_an_older_parley_is_left_to_a_writer(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = copied(made, tmp_path)
    with sqlite3.connect(site.state_dir / "parley.db") as opened:
        opened.execute("UPDATE alembic_version SET version_num = '0001'")
    opened.close()
    name(site, monkeypatch)
    with pytest.raises(ParleyError, match="parley catalogue upgrade"):
        run(["show", "stt"])


@pytest.mark.parametrize("line", ["show stt N", "diff stt 1 N", "lineage stt N", "pack stt N x.tar", "pull stt N",
                                  "push stt N", "gc --version stt N", "gate N", "gate stt=N", "releases show N",
                                  "releases create stt=N", "promote N", "rollback --to N", "catalogue restore x N",
                                  "experiment start x --stage stt --control N --treatment 2"])  # fmt: skip
def test_a_number_that_is_none_is_one_line_for_every_verb(
    made: Path, monkeypatch: pytest.MonkeyPatch, line: str
) -> None:
    site = Settings(bots_dir=made / "bots", repo_dir=made / "repo", state_dir=made / "var", engine="onnx")
    name(site, monkeypatch)
    for number in ("99999999999999999999", "³", "٣", "1e3", " 3"):
        with pytest.raises(ParleyError):
            run([number if word == "N" else word.replace("=N", f"={number}") for word in line.split()])


def test_who_looks_takes_no_lock_from_another_connection_of_the_process(tmp_path: Path) -> None:
    """Closing any handle of a file would: another process could then fold the journal in under a writer."""
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("PRAGMA journal_mode=WAL")
        made.execute("CREATE TABLE t (n INTEGER)")
    looking = open_to_look(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("INSERT INTO t VALUES (1)")
        looking.close()
        for _ in range(3):  # also where handles come and go
            open_to_look(path).close()
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        own = [line for line in locks if line[1] == "POSIX" and line[4] == str(os.getpid())
               and line[5].endswith(f":{path.stat().st_ino}")]  # fmt: skip
        assert own, "SQLite's lock of the file itself is there still"
