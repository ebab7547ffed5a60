"""Publishers that are killed, meet a full disk, or meet each other leave the old state or the new one.

Each scene runs in a process of its own: `publisher_kills` and `publisher_disk` say how.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from publisher_kills import MODEL, faults, unsettled
from serving_models import publish_all, registry_at, scaler_bundle

SUPPORT = Path(__file__).parents[1] / "support"
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
"""A mount namespace of one's own, where the system lets anybody have one."""


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: a kill loses nothing that a page cache holds, so no disk is needed."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else tmp_path) as folder:
        yield Path(folder)


def run(script: str, folder: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> dict[str, Any]:
    command = [*prefix, sys.executable, str(SUPPORT / script), str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.slow
def test_publisher_killed_at_any_step_leaves_the_old_state_or_the_new(memory: Path) -> None:
    report = run("publisher_kills.py", memory, "publish")

    assert report["faults"] == []
    assert report["kills"] > 50, "a kill between every two steps"
    # (rows, directories): old; visible and not known yet; new.
    assert report["seen"] == [[1, 1], [1, 2], [2, 2]]


@pytest.mark.slow
def test_mender_killed_at_any_step_is_finished_by_the_next(memory: Path) -> None:
    report = run("publisher_kills.py", memory, "adopt")

    assert report["faults"] == []
    assert report["kills"] > 50


@pytest.mark.slow
def test_full_disk_refuses_and_leaves_nothing(tmp_path: Path) -> None:
    probe = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], capture_output=True)
    mounted = probe.returncode == 0
    (tmp_path / "disk").mkdir()

    report = run(
        "publisher_disk.py", tmp_path / "disk", "mount" if mounted else "limit", prefix=NAMESPACE if mounted else ()
    )

    assert report["faults"] == []
    assert report["full"] >= (15 if mounted else 1) and report["versions"] == [1, 2]
    said = " ".join(report["messages"])
    assert ("No space left" in said and "full" in said) if mounted else "File too large" in said


def test_two_publishers_at_once_take_different_numbers(tmp_path: Path) -> None:
    first, second = scaler_bundle(tmp_path / "b2", 2), scaler_bundle(tmp_path / "b3", 3)
    site = publish_all(tmp_path, first)
    environment = {**os.environ} | {
        f"PARLEY_{name.upper()}": str(getattr(site, name))
        for name in ("repo_dir", "state_dir", "bots_dir", "trusted_keys_dir")
    }
    command = [sys.executable, "-m", "cli.main", "publish"]

    publishers = [
        subprocess.Popen([*command, str(bundle), str(bundle)], env=environment, stdout=subprocess.PIPE, text=True)
        for bundle in (first, second)
    ]
    said = [publisher.communicate(timeout=200)[0].split("\n") for publisher in publishers]

    assert [publisher.returncode for publisher in publishers] == [0, 0]
    lines = sorted(line for lines in said for line in lines if line)
    assert lines == [f"{MODEL} version {number}" for number in (2, 3, 4, 5)]
    with registry_at(tmp_path) as registry:
        assert faults(registry, [[1, 2, 3, 4, 5]]) + unsettled(registry) == []
