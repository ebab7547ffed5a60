"""Publish a bundle as the next version of its model, so that a crash at any moment leaves all of it or nothing.

    number = publish(Path("runs/nlu/bundle"), Path("triton_repo"))

The version is staged beside its final place (`<model>/.staging-…`, a name Triton ignores, on the same file system),
every file and directory is synced, and one rename makes it visible. Published files are read-only and never change.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from parley.bundle import Manifest, read_manifest, verify_files, write_bundle
from parley.errors import ParleyError
from parley.files import fsync_dir
from registry.model_config import check_same_contract, render, version_numbers, write_model_config

LOG = logging.getLogger(__name__)
BACKEND_FILE = Path(__file__).parent / "triton_backend" / "model.py"
_STAGING = ".staging-"
_MODEL_NAME = re.compile(r"[a-z][a-z0-9_]*")


def publish(bundle_dir: Path, repo: Path) -> int:
    """Publish `bundle_dir` into `repo` and rewrite the model's configuration.

    A running server notices nothing until it is told to load the model (`registry.releases.load_into`).

    Returns:
        The version's number, one more than the highest that exists.

    Raises:
        ParleyError: a file differs from the manifest, the model's name is unfit, its tensors differ from the other
            versions', or the disk refuses. Nothing is published then.
    """
    manifest = verify_files(bundle_dir)
    if not _MODEL_NAME.fullmatch(manifest.model):
        raise ParleyError(
            f"{manifest.model!r} is no model name",
            where=str(bundle_dir),
            mend="use lower-case letters, digits and _",
        )
    if "model.onnx" not in manifest.files:
        raise ParleyError("the bundle has no model.onnx", where=str(bundle_dir), mend="export the run again")
    directory = repo / manifest.model
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _only_publisher(directory):
            _sweep(directory)
            number = _publish_locked(bundle_dir, manifest, directory)
            problems: list[ParleyError] = []
            write_model_config(directory, problems)
            for problem in problems:  # an older version that was damaged meanwhile must not stop the new one
                LOG.warning("left out of the configuration: %s", problem)
    except OSError as error:
        raise ParleyError(
            f"cannot publish: {error.strerror or error}",
            where=str(error.filename or directory),
            mend="check space and permissions of the repository, then publish again",
        ) from error
    return number


def _publish_locked(bundle_dir: Path, manifest: Manifest, directory: Path) -> int:
    versions = version_numbers(directory)
    number = max(versions, default=0) + 1
    check_same_contract([*(read_manifest(directory / str(old)) for old in versions), manifest])
    render(manifest, [*versions, number])  # a manifest that cannot be served must fail before it is visible
    staging = Path(tempfile.mkdtemp(dir=directory, prefix=_STAGING))
    try:
        _stage(bundle_dir, manifest.model_copy(update={"version": number}), staging)
        staging.rename(directory / str(number))
    except BaseException:
        _remove(staging)
        raise
    fsync_dir(directory)
    return number


def _stage(bundle_dir: Path, manifest: Manifest, staging: Path) -> None:
    """Fill `staging` with the complete version, verified against the bundle's digests and on disk."""
    for relative in manifest.files:
        target = staging / relative
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(bundle_dir / relative, target)
    shutil.copyfile(BACKEND_FILE, staging / BACKEND_FILE.name)
    staged = write_bundle(staging, manifest)
    for relative, digest in manifest.files.items():
        if relative != BACKEND_FILE.name and staged.files[relative] != digest:
            raise ParleyError(
                "the file changed while it was copied", where=str(bundle_dir / relative), mend="publish again"
            )
    directories = [staging]
    for path in staging.rglob("*"):
        if path.is_dir():
            directories.append(path)
            continue
        with path.open("rb") as file:
            os.fsync(file.fileno())
        path.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
    for path in directories:
        path.chmod(0o755)  # mkdtemp makes 0700; the server may run as another user
        fsync_dir(path)


@contextlib.contextmanager
def _only_publisher(directory: Path) -> Iterator[None]:
    """Hold the model's publishing lock; the system releases it when the holder dies."""
    with (directory / ".publish.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _sweep(directory: Path) -> None:
    """Remove what a killed publisher left; under the lock every staging directory is such a remnant."""
    for path in directory.glob(f"{_STAGING}*"):
        _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path, ignore_errors=True)
