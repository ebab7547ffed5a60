"""What lies in a model repository, by names alone, and the locks that its writers share."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from parley.typed import is_number

STAGING = ".staging-"
"""A version in the making; under the model's lock it is a killed publisher's remnant."""
REFUSED = ".refused-"
"""`.refused-<n>-<time>`: a version the catalogue did not know, proven to be altered, set aside for a person."""
LOCKS = ".locks"
_REFUSED_NUMBER = re.compile(re.escape(REFUSED) + r"([1-9][0-9]*)-.*")


def model_lock(repo: Path, model: str, *, wait: bool = True) -> contextlib.AbstractContextManager[bool]:
    """Be the only one who adds, mends or removes versions of a model; see `file_lock`."""
    return file_lock(repo / LOCKS / f"{model}.lock", wait=wait)


@contextlib.contextmanager
def file_lock(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a lock among processes. The system releases it when the holder dies.

    Yields:
        Whether the lock is held; only False when `wait` is False and somebody else has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        yield True


def model_folders(repo: Path) -> list[Path]:
    """The folders of models, also of those that have no version (any more), sorted by name."""
    if not repo.is_dir():
        return []
    return sorted(path for path in repo.iterdir() if path.is_dir() and not path.name.startswith("."))


def model_directories(repo: Path) -> list[Path]:
    """The models of a repository that have at least one version, sorted by name."""
    if not repo.is_dir():
        return []
    return sorted(path for path in repo.iterdir() if path.is_dir() and version_numbers(path))


def version_numbers(model_directory: Path) -> list[int]:
    """Numbers of a model's version directories, ascending. Every other name is no version."""
    if not model_directory.is_dir():
        return []
    with os.scandir(model_directory) as entries:  # knows what a folder is without asking for each
        return sorted(int(entry.name) for entry in entries if is_number(entry.name) and entry.is_dir())


def refused(directory: Path) -> list[Path]:
    """The versions of a model that were set aside, by number, the oldest first."""
    if not directory.is_dir():
        return []
    found = (path for path in directory.iterdir() if refused_number(path) is not None)
    return sorted(found, key=lambda path: (refused_number(path) or 0, path.name))


def refused_number(path: Path) -> int | None:
    """The number of a version that was set aside."""
    match = _REFUSED_NUMBER.fullmatch(path.name)
    return int(match[1]) if match else None


def refused_numbers(directory: Path) -> list[int]:
    """Numbers of the versions of a model that were set aside; they are not given away again."""
    return sorted(refused_number(path) or 0 for path in refused(directory))


def leftovers(directory: Path) -> list[Path]:
    """What a killed command may have left in a folder of the registry: staged versions, half-written files."""
    if not directory.is_dir():
        return []
    # Of ten thousand versions none begins with a dot: names are cheap, paths are not.
    hidden = (directory / name for name in os.listdir(directory) if name.startswith("."))
    return sorted(path for path in hidden if path.name.startswith(STAGING) or _half_written(path))


def _half_written(path: Path) -> bool:
    # parley.files.write_atomic writes `.<name>.<random>` first.
    return (
        path.name.startswith(".") and not path.name.startswith(REFUSED) and path.name.count(".") > 1 and path.is_file()
    )
