"""The folder a site's Triton server is started on: a folder of links per version that is served, a configuration per
model of the server's.

The server has one set of tensors for each of its models. A site's model whose versions differ in theirs is therefore
several models there (`Manifest.served_as`), and here is where that is known: everybody else names a model and a
version. The folder knows no catalogue: `registry.served` decides what belongs into it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from parley.bundle import read_manifest
from parley.files import write_json
from parley.folder import MANIFEST
from parley.implementation import model_of
from parley.serving.triton_control import LOAD_TIMEOUT_S, Control
from parley.serving.triton_install import view_of
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
        found: dict[str, set[int]] = {}
        for path in self._folders():
            if numbers := version_numbers(path):
                found.setdefault(model_of(path.name), set()).update(numbers)
        return found

    def served_names(self, model: str) -> dict[str, set[int]]:
        """The names that the server knows a model by, each with its versions in the folder."""
        return {path.name: set(version_numbers(path)) for path in self._folders(model)}

    def link(self, model: str, number: int) -> None:
        """Put a version in. The caller has verified it."""
        version = self._repo / model / str(number)
        path = self._place(model, number)
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
        for directory in self._folders(model):
            _remove(directory / str(number))

    def configure(self, model: str) -> list[str]:
        """Write the model's configuration, or configurations, from the newest version that each is for, where the text
        differs; one without versions goes.

        Returns:
            The names that went, as the server calls its models: it does not find out by itself.
        """
        gone = []
        for directory in self._folders(model):
            if numbers := version_numbers(directory):
                write_model_config(read_manifest(directory / str(numbers[-1])), directory)
            else:
                shutil.rmtree(directory, ignore_errors=True)
                gone.append(directory.name)
        return gone

    def _place(self, model: str, number: int) -> Path:
        """Where a version of the repository belongs in the view."""
        return self.directory / read_manifest(self._repo / model / str(number)).served_as / str(number)

    def _folders(self, model: str | None = None) -> list[Path]:
        """The folders of the server's models; those of one model of the site."""
        if not self.directory.is_dir():
            return []
        return [path for path in self.directory.iterdir() if path.is_dir() and model in (None, model_of(path.name))]

    def reset(self, refs: Iterable[Ref]) -> None:
        """Make the folder hold exactly these versions, whatever it holds now."""
        wanted = {self._place(*ref): ref for ref in sorted(set(refs))}
        for directory in self._folders():
            for entry in directory.iterdir():
                if entry.is_symlink() or (entry.is_dir() and entry.name != "configs" and entry not in wanted):
                    _remove(entry)
        for ref in wanted.values():
            self.link(*ref)
        for model in {model_of(directory.name) for directory in self._folders()}:
            self.configure(model)

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


class ViewControl:
    """`Control` of a server by the site's names: a model is all that the view holds of it.

    Args:
        server: by its own names.
        folder: that the server is started on.
    """

    def __init__(self, server: Control, folder: ViewFolder) -> None:
        self._server, self._folder = server, folder

    def live(self, *, timeout_s: float) -> bool:
        """See `Control`."""
        return self._server.live(timeout_s=timeout_s)

    def load(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """See `Control`."""
        until = time.monotonic() + timeout_s
        for name in self._folder.served_names(model):
            self._server.load(name, timeout_s=max(1.0, until - time.monotonic()))

    def unload(self, model: str, *, timeout_s: float = LOAD_TIMEOUT_S) -> None:
        """See `Control`; by the server's own name, for the view holds nothing of it any more."""
        self._server.unload(model, timeout_s=timeout_s)

    def ready(self, model: str, version: int, *, timeout_s: float = 2.0) -> bool:
        """See `Control`."""
        names = [name for name, numbers in self._folder.served_names(model).items() if version in numbers]
        return any(self._server.ready(name, version, timeout_s=timeout_s) for name in names)

    def serving(self, *, timeout_s: float = 2.0) -> dict[str, set[int]]:
        """See `Control`."""
        found: dict[str, set[int]] = {}
        for name, numbers in self._server.serving(timeout_s=timeout_s).items():
            found.setdefault(model_of(name), set()).update(numbers)
        return found


def _remove(entry: Path) -> None:
    if entry.is_dir() and not entry.is_symlink():
        shutil.rmtree(entry)
    else:
        entry.unlink(missing_ok=True)
