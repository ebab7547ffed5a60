"""The folder a site's Triton server is started on: a link per version that is served, a configuration per model.

It knows no catalogue and no server: `registry.served` decides what belongs into it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from parley.bundle import read_manifest
from parley.files import write_json
from parley.serving.triton_install import view_of
from parley.typed import is_number
from registry.versions.model_config import version_numbers, write_model_config

Ref = tuple[str, int]
"""A model and the number of its version."""


class ViewFolder:
    """`<state_dir>/triton/models`.

    Args:
        state_dir: of the site.
        repo: the model repository that the links lead to.
    """

    def __init__(self, state_dir: Path, repo: Path) -> None:
        self.directory = view_of(state_dir)
        self._repo = repo.absolute()
        self._lock = self.directory.with_suffix(".lock")
        self._scope = self.directory.with_name("scope.json")

    @contextlib.contextmanager
    def lock(self, *, wait: bool = True) -> Iterator[bool]:
        """Be the only process that changes the folder, or its server's mind; False when another is and `wait` is not
        asked for. The system releases the lock of a process that dies."""
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._lock.open("wb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            yield True

    def linked(self) -> dict[str, set[int]]:
        """The versions in the folder, by model."""
        if not self.directory.is_dir():
            return {}
        return {path.name: set(found) for path in self.directory.iterdir() if (found := version_numbers(path))}

    def link(self, model: str, number: int) -> None:
        """Put a version in. The caller has verified it."""
        path, target = self.directory / model / str(number), self._repo / model / str(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() and path.readlink() != target:  # the repository moved
            path.unlink()
        if not path.is_symlink():
            path.symlink_to(target, target_is_directory=True)

    def unlink(self, model: str, number: int) -> None:
        """Take a version out; its files in the repository stay."""
        (self.directory / model / str(number)).unlink(missing_ok=True)

    def configure(self, model: str) -> None:
        """Write the model's configuration from its newest version here, where the text differs; a model without
        versions goes."""
        directory = self.directory / model
        if numbers := version_numbers(directory):
            write_model_config(read_manifest(directory / str(numbers[-1])), directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)

    def reset(self, refs: Iterable[Ref]) -> None:
        """Make the folder hold exactly these versions, whatever it holds now."""
        wanted = set(refs)
        for directory in [path for path in self.directory.iterdir() if path.is_dir()]:
            for entry in directory.iterdir():
                is_wanted = is_number(entry.name) and (directory.name, int(entry.name)) in wanted
                if entry.is_symlink() and not is_wanted:
                    entry.unlink()
                elif entry.is_dir() and not entry.is_symlink() and entry.name != "configs":
                    shutil.rmtree(entry)
        for model, number in sorted(wanted):
            self.link(model, number)
        for directory in [path for path in self.directory.iterdir() if path.is_dir()]:
            self.configure(directory.name)

    def write_scope(self, bots: Iterable[str] | None) -> None:
        """Remember which bots the server serves; None is all of them."""
        write_json(self._scope, {"bots": None if bots is None else sorted(bots)})

    def read_scope(self) -> frozenset[str] | None:
        """The bots the server was started for; None is all of them."""
        try:
            bots = json.loads(self._scope.read_text(encoding="utf-8"))["bots"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return None if bots is None else frozenset(bots)
