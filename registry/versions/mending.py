"""Mending what a killed command left: afterwards repository, catalogue and pins say the same about a model.

A version directory without a row was renamed into its place and not recorded (or came with a clone of the repository):
it is verified and taken in, or set aside. A row without a pin gets its pin. What was being staged is swept away.
"""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from parley.bundle import SIGNATURE, Manifest, read_manifest
from parley.errors import ParleyError
from parley.files import fsync_dir
from parley.signatures import signed_by, verify_version
from registry import catalogue
from registry.catalogue import PUBLISHED, VersionRow
from registry.versions.layout import REFUSED, leftovers, model_lock, refused_numbers
from registry.versions.model_config import (
    check_same_contract,
    version_numbers,
    write_model_config,
)
from registry.versions.signing import pinned_numbers, pins, read_pin, trusted_keys, write_pin

if TYPE_CHECKING:
    from registry.home import Registry

LOG = logging.getLogger(__name__)


def unsettled_models(registry: Registry) -> list[str]:
    """Models where repository, catalogue and pins disagree. Cheap: names are listed, no content is read."""
    with registry.catalogue.read() as c:
        known = catalogue.numbers(c)
    found = []
    for directory in _directories(registry.repo):
        numbers = set(version_numbers(directory))
        rows = known.get(directory.name, set())
        pinned = set(pinned_numbers(registry.site, directory.name))
        swept = not any(leftovers(folder) for folder in _folders(registry, directory))
        if not swept or numbers - rows or numbers - pinned or _stale_config(directory, numbers):
            found.append(directory.name)
    return found


def mend_model(registry: Registry, model: str) -> list[str]:
    """Make repository, catalogue and pins agree about one model. Does nothing while somebody publishes it.

    Returns:
        What was mended, in words.

    Raises:
        ParleyError: the disk or the database refuses.
    """
    try:
        with model_lock(registry.repo, model, wait=False) as held:
            return mend_locked(registry, model) if held else []
    except OSError as error:
        raise ParleyError(
            f"cannot mend: {error.strerror or error}",
            where=str(error.filename or registry.repo / model),
            mend="check space and permissions of the repository",
        ) from error


def mend_locked(registry: Registry, model: str) -> list[str]:
    """`mend_model` for who holds the model's lock.

    Raises:
        ParleyError: the database refuses.
        OSError: the disk refuses.
    """
    directory = registry.repo / model
    done = [words for folder in _folders(registry, directory) for words in _sweep(folder)]
    with registry.catalogue.read() as c:
        rows = {row.number: row for row in catalogue.versions(c, model=model)}
    for number in version_numbers(directory):
        row = rows.get(number)
        if row is None:
            done.append(_adopt(registry, directory, number))
        elif row.state == PUBLISHED and read_pin(registry.site, model, number) is None:
            done += _pin(registry, directory, row)
    for number in version_numbers(directory)[-1:]:
        if _stale_config(directory, {number}):
            write_model_config(read_manifest(directory / str(number)), directory)
    for words in done:
        LOG.info("mended: %s", words)  # ordinary: a fresh checkout's versions are taken in by the first command
    return done


def _who() -> str:
    from registry.home import who  # the registry mends when it opens, so it imports this module

    return who()


def highest_number(registry: Registry, model: str) -> int:
    """The highest number anything here knows for a model: its directories, those set aside, the pins."""
    directory = registry.repo / model
    known = version_numbers(directory) + refused_numbers(directory) + pinned_numbers(registry.site, model)
    return max(known, default=0)


def _directories(repo: Path) -> list[Path]:
    """Folders of models, also of those that have remnants only."""
    if not repo.is_dir():
        return []
    return sorted(path for path in repo.iterdir() if path.is_dir() and not path.name.startswith("."))


def _folders(registry: Registry, directory: Path) -> tuple[Path, ...]:
    """Where a killed command may have left something of a model."""
    return directory, directory / "configs", pins(registry.site) / directory.name


def _stale_config(directory: Path, numbers: set[int]) -> bool:
    """Whether the files beside the versions are not the newest version's."""
    if not numbers:
        return False
    newest = directory / str(max(numbers))
    for source in (newest / "config.pbtxt", *sorted((newest / "configs").glob("*.pbtxt"))):
        copy = directory / source.relative_to(newest)
        if source.is_file() and not (copy.is_file() and copy.read_bytes() == source.read_bytes()):
            return True
    return False


def _sweep(directory: Path) -> list[str]:
    swept = []
    for path in leftovers(directory):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
        swept.append(f"swept away {path}")
    return swept


def _adopt(registry: Registry, directory: Path, number: int) -> str:
    """Take a version into the catalogue that is there and not known, or set it aside."""
    version, model = directory / str(number), directory.name
    try:
        pin = read_pin(registry.site, model, number)
        found = verify_version(version, trusted_keys(registry.site), model=model, number=number, pin=pin)
        manifest = Manifest.model_validate(found)
        with registry.catalogue.write() as c:
            check_contract(c, manifest)
            row = catalogue.record_version(
                c, version, manifest, who=_who(), key_id=signed_by(version / SIGNATURE), what="adopt"
            )
        write_pin(registry.site, model, number, row.digest)
        return f"took {model} version {number} into the catalogue"
    except catalogue.CatalogueUnavailable:
        raise
    except (ParleyError, ValueError) as error:  # ValueError: pydantic refuses the manifest
        return _set_aside(registry, version, error)


def check_contract(c: sa.Connection, manifest: Manifest) -> None:
    """Check that a version takes and gives the tensors of those that were published before it.

    They share theirs, so the newest one that is known speaks for all.

    Raises:
        ParleyError: names the tensor that differs.
    """
    others = [row.number for row in catalogue.versions(c, model=manifest.model, state=PUBLISHED)]
    if others:
        check_same_contract([catalogue.manifest_of(c, manifest.model, others[-1]), manifest])


def _set_aside(registry: Registry, version: Path, error: Exception) -> str:
    aside = version.with_name(f"{REFUSED}{version.name}-{time.time_ns()}")
    version.rename(aside)
    fsync_dir(version.parent)
    subject = f"{version.parent.name} {version.name}"
    with registry.catalogue.write() as c:
        catalogue.audit(c, _who(), "refuse", subject, str(error)[:500], {"moved_to": aside.name})
    words = f"set {subject} aside as {aside.name}: {error}"
    LOG.warning("%s", words)
    return words


def _pin(registry: Registry, directory: Path, row: VersionRow) -> list[str]:
    """Write a missing pin, when the files are still those that the catalogue took in."""
    version = directory / str(row.number)
    try:
        verify_version(version, trusted_keys(registry.site), model=row.model, number=row.number, pin=row.digest)
    except ParleyError as error:
        LOG.warning("%s version %s stays without a pin: %s", row.model, row.number, error)
        return []
    write_pin(registry.site, row.model, row.number, row.digest)
    return [f"pinned {row.model} version {row.number}"]
