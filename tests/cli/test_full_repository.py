"""A repository that is full: what was changed is, what was not is said, and the next command makes up for it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from release_site import add_versions, make_site, write_seed

from cli.main import run
from parley.bundle import FAMILIES
from parley.settings import Settings
from registry.reading import open_for_reading
from registry.recovery import mend
from registry.releasing.creating import create_release
from registry.releasing.documents import read_aliases
from registry.writing import open_for_writing

FULL = OSError(errno.ENOSPC, "No space left on device", "pointers.json")


def site_at(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    site = make_site(folder)
    write_seed(site, dict.fromkeys(FAMILIES, 1))
    with open_for_writing(site) as registry:
        add_versions(registry, 2)
        mend(registry)
        create_release(registry, "barista", {"stt": 2}, who="ada")
    for field in ("bots_dir", "repo_dir", "state_dir", "engine"):
        monkeypatch.setenv(f"PARLEY_{field.upper()}", str(getattr(site, field)))
    return site


def parley(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cli.main", *words], capture_output=True, text=True, timeout=120)


def test_a_pointer_moves_although_its_copy_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    site = site_at(tmp_path, monkeypatch)
    replace = os.replace

    def full(source: str, target: Path) -> None:
        if Path(target).parent.parent == site.repo_dir / ".releases":
            raise FULL
        replace(source, target)

    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", full)
        assert run(["promote", "2", "--force", "--why", "drill"]) == 0
        told = capsys.readouterr()
        assert told.out == "barista: release 1 -> 2, seq 2, forced\n"
        assert "it is done, but its copy in the repository is not written yet (No space left on device)" in told.err
        assert run(["rollback"]) == 0
        assert run(["releases"]) == 0 and run(["gc"]) == 0, "later commands are not held up"
        with pytest.raises(OSError, match="No space"):  # which the command line says in one line
            run(["releases", "create", "nlu=2"])
    assert run(["gc"]) == 0
    written = read_aliases(site.repo_dir, "barista")
    assert written is not None and (written.champion, written.seq) == (1, 3)
    with open_for_reading(site) as registry, registry.catalogue.read() as c:
        assert c.exec_driver_sql("SELECT max(number) FROM releases").scalar_one() == 2, "what was refused is not there"


def test_a_disk_that_is_really_full_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = site_at(tmp_path, monkeypatch)
    documents = site.repo_dir / ".releases" / "barista"
    kept = {path.name: path.read_bytes() for path in documents.iterdir()}
    probe = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(documents)], capture_output=True)
    if probe.returncode:
        pytest.skip("this user may not mount a disk of its own")
    try:
        for file, content in kept.items():
            (documents / file).write_bytes(content)
        with pytest.raises(OSError, match="No space"), (documents / "filler").open("wb", buffering=0) as filler:
            while True:
                filler.write(b"x" * 4096)
        promoted, made = parley("promote", "2", "--force", "--why", "x"), parley("releases", "create", "nlu=2")
        listed, gone = parley("releases"), parley("gc")
        (documents / "filler").unlink()
        after = parley("gc")
        written = read_aliases(site.repo_dir, "barista")
    finally:
        subprocess.run(["umount", str(documents)], check=True)
    assert (promoted.returncode, made.returncode, listed.returncode, gone.returncode, after.returncode) == (
        0,
        2,
        0,
        0,
        0,
    )
    assert promoted.stdout == "barista: release 1 -> 2, seq 2, forced\n" and "it is done" in promoted.stderr
    assert "No space left" in made.stderr and "Traceback" not in made.stderr + gone.stderr + promoted.stderr
    assert written is not None and written.champion == 2, "the missing copy is made up for"
