"""The folder a site's Triton server is started on: a folder of links per version that is served, a configuration per
model.

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
from parley.folder import MANIFEST
from parley.serving.triton_install import view_of
from parley.typed import is_number
from registry.layout import version_numbers
from registry.versions.model_config import write_model_config

Ref = tuple[str, int]
"""A model and the number of its version."""
SERVED = (MANIFEST, "model.onnx", "model.plan")
"""The files of a version that a server may see. Triton runs a backend's library that it finds beside them, before
anybody checks the version: what else lies in the repository stays out of the view."""


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
        path, version = self.directory / model / str(number), self._repo / model / str(number)
        wanted = {name: version / name for name in SERVED if (version / name).exists()}
        if path.is_symlink():  # of a view as it was made before
            path.unlink()
        path.mkdir(parents=True, exist_ok=True)
        for entry in path.iterdir():
            if not entry.is_symlink() or wanted.get(entry.name) != entry.readlink():  # planted, or the repository moved
                _remove(entry)
        for name, target in wanted.items():
            if not (path / name).is_symlink():
                (path / name).symlink_to(target)

    def unlink(self, model: str, number: int) -> None:
        """Take a version out; its files in the repository stay."""
        _remove(self.directory / model / str(number))

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
                if entry.is_symlink() or (entry.is_dir() and entry.name != "configs" and not is_wanted):
                    _remove(entry)
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


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
