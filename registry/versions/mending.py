"""Mending what a killed command left: afterwards repository, catalogue and pins say the same about a model.

A version directory without a row was renamed into its place and not recorded (or came with a clone of the repository):
it is verified and taken in. One that is proven to be altered is set aside, where `put_back` finds it; one that cannot
be verified here (a key is missing, a file is not there yet) stays as it is: nothing serves it, and nobody judges it.
A row without a pin gets its pin. What was being staged is swept away.
"""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError

from parley.bundle import SIGNATURE, Manifest, read_manifest
from parley.errors import ParleyError
from parley.files import fsync_dir
from parley.signatures import Altered, signed_by, verify_version
from registry import catalogue
from registry import tables as t
from registry.catalogue import PUBLISHED, VersionRow
from registry.layout import (
    REFUSED,
    leftovers,
    model_folders,
    model_lock,
    refused,
    refused_number,
    refused_numbers,
    version_numbers,
)
from registry.site import Registry, who
from registry.versions.model_config import check_same_contract, sizes_of, write_model_config
from registry.versions.signing import pinned_numbers, pins, read_pin, trusted_keys, write_pin

LOG = logging.getLogger(__name__)
_PUT_BACK = "put back"


def unsettled_models(registry: Registry) -> list[str]:
    """Models where repository, catalogue and pins disagree. Cheap: names are listed, no content is read."""
    with registry.catalogue.read() as c:
        known = catalogue.numbers(c)
    found = []
    for directory in model_folders(registry.repo):
        numbers = set(version_numbers(directory))
        rows = known.get(directory.name, set())
        pinned = set(pinned_numbers(registry.site, directory.name))
        swept = not any(leftovers(folder) for folder in _folders(registry, directory))
        if not swept or numbers - rows or numbers - pinned or _stale_config(directory, numbers & rows):
            found.append(directory.name)
    return found


def mend_model(registry: Registry, model: str) -> list[str]:
    """Make repository, catalogue and pins agree about one model. Does nothing while somebody publishes it.

    What the disk refuses is said, and left to the next command: it must not hold this one up.

    Returns:
        What was mended, in words.

    Raises:
        CatalogueUnavailable: the database refuses.
    """
    try:
        with model_lock(registry.repo, model, wait=False) as held:
            return mend_locked(registry, model) if held else []
    except OSError as error:
        where = error.filename or registry.repo / model
        LOG.warning("%s is not mended yet: %s (%s)", model, error.strerror or error, where)
        return []


def mend_locked(registry: Registry, model: str) -> list[str]:
    """`mend_model` for who holds the model's lock.

    Raises:
        CatalogueUnavailable: the database refuses.
        OSError: the disk refuses.
    """
    directory = registry.repo / model
    done = [words for folder in _folders(registry, directory) for words in _sweep(folder)]
    with registry.catalogue.read() as c:
        rows = {row.number: row for row in catalogue.versions(c, model=model)}
    unclear: dict[int, Exception] = {}
    for number in version_numbers(directory):
        row = rows.get(number)
        try:
            if row is None:
                done.append(_adopt(registry, directory, number))
            elif row.state == PUBLISHED and read_pin(registry.site, model, number) is None:
                done.append(_pin(registry, directory, row))
        except catalogue.CatalogueUnavailable:
            raise
        except (ParleyError, ValidationError) as error:
            unclear[number] = error
    # What nobody has verified has no say in how the model is served.
    for number in [number for number in version_numbers(directory) if number not in unclear][-1:]:
        if _stale_config(directory, {number}):
            write_model_config(read_manifest(directory / str(number)), directory)
    for words in done:
        LOG.info("mended: %s", words)  # ordinary: a fresh checkout's versions are taken in by the first command
    if unclear:
        first = next(iter(unclear))
        LOG.warning(
            "%s %s cannot be taken in and stays as it is: %s",
            model, catalogue.spans(sorted(unclear)), unclear[first],
        )  # fmt: skip
    return done


def highest_number(registry: Registry, model: str) -> int:
    """The highest number anything here knows for a model: its directories, those set aside, the pins."""
    directory = registry.repo / model
    known = version_numbers(directory) + refused_numbers(directory) + pinned_numbers(registry.site, model)
    return max(known, default=0)


def _folders(registry: Registry, directory: Path) -> tuple[Path, ...]:
    """Where a killed command may have left something of a model."""
    return directory, directory / "configs", pins(registry.site) / directory.name


def _stale_config(directory: Path, numbers: set[int]) -> bool:
    """Whether the files beside the versions are not the newest version's, where it is served under the model's name."""
    if not numbers:
        return False
    newest = directory / str(max(numbers))
    own = newest / "config.pbtxt"
    if not own.is_file() or f'name: "{directory.name}"\n' not in own.read_text(encoding="utf-8", errors="replace"):
        return False
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


@dataclass(frozen=True)
class Verified:
    """A version that was just verified."""

    directory: Path
    """Its own folder."""
    number: int
    manifest: Manifest
    key_id: str


def verified(registry: Registry, directory: Path, number: int) -> Verified:
    """A version of a model's folder, verified.

    Raises:
        Altered: its content is proven not to be what was signed.
        ParleyError: it is not what this site accepts, or that cannot be told.
        ValidationError: its manifest is none.
        OSError: it cannot be read.
    """
    version, model = directory / str(number), directory.name
    pin = read_pin(registry.site, model, number)
    found = verify_version(version, trusted_keys(registry.site), model=model, number=number, pin=pin)
    return Verified(version, number, Manifest.model_validate(found), signed_by(version / SIGNATURE))


def record(c: sa.Connection, found: Verified) -> VersionRow:
    """Take a verified version into the catalogue.

    Raises:
        ParleyError: its tensors are not those of its model's others, or its number or dataset is another's.
    """
    check_contract(c, found.manifest)
    return catalogue.record_version(c, found.directory, found.manifest, who=who(), key_id=found.key_id, what="adopt")


def _adopt(registry: Registry, directory: Path, number: int) -> str:
    """Take a version into the catalogue that is there and not known; set it aside where it is proven to be altered."""
    model = directory.name
    try:
        found = verified(registry, directory, number)
    except Altered as error:
        if _was_put_back(registry, model, number):
            raise
        return _set_aside(registry, directory / str(number), error)
    with registry.catalogue.write() as c:
        row = record(c, found)
    write_pin(registry.site, model, number, row.digest)
    return f"took {model} version {number} into the catalogue"


def check_contract(c: sa.Connection, manifest: Manifest) -> None:
    """Check that a version keeps the contract of those that its implementation reads and that were published before
    it (`check_same_contract`).

    Those that are served under one name share their tensors, so the newest of them that is known speaks for all.

    Raises:
        ParleyError: names the tensor that differs.
    """
    for other in _earlier(c, manifest, state=PUBLISHED):
        check_same_contract(other, manifest)
        if other.served_as == manifest.served_as:
            return


def with_sizes(c: sa.Connection, manifest: Manifest) -> Manifest:
    """The manifest of a version to be published, with what it says of its sizes (`sizes_of`)."""
    return manifest.model_copy(update={"sizes": sizes_of(manifest, _earlier(c, manifest))})


def _earlier(c: sa.Connection, manifest: Manifest, state: str | None = None) -> Iterator[Manifest]:
    """The manifests of the model's versions, the newest first; of those in one state, or of all, collected ones too."""
    for row in reversed(catalogue.versions(c, model=manifest.model, state=state)):
        yield catalogue.manifest_of(c, manifest.model, row.number)


def _set_aside(registry: Registry, version: Path, error: ParleyError) -> str:
    model, number = version.parent.name, version.name
    aside = version.with_name(f"{REFUSED}{number}-{time.time_ns()}")
    version.rename(aside)
    fsync_dir(version.parent)
    with registry.catalogue.write() as c:
        catalogue.audit(c, who(), "refuse", f"{model} {number}", str(error)[:500], {"moved_to": aside.name})
    words = f"set {model} {number} aside as {aside.name}: {error}"
    LOG.warning("%s; `parley catalogue restore %s %s` puts it back", words, model, number)
    return words


def set_aside(repo: Path, model: str | None = None, number: int | None = None) -> list[tuple[str, int, Path]]:
    """What was set aside: model, number and folder, the newest of a number last."""
    found = []
    for directory in model_folders(repo):
        for path in refused(directory):
            found.append((directory.name, refused_number(path) or 0, path))
    return sorted(each for each in found if model in (None, each[0]) and number in (None, each[1]))


def put_back(registry: Registry, model: str, number: int) -> str:
    """Give a version that was set aside its place again, and take it in where it verifies.

    One that does not verify is not served by anybody, but it is not set aside again either.

    Returns:
        What became of it, in words.

    Raises:
        ParleyError: nothing of this number was set aside, or another version has its place.
        OSError: the disk refuses.
    """
    directory = registry.repo / model
    place, kept = directory / str(number), set_aside(registry.repo, model, number)
    if not kept:
        raise ParleyError("nothing was set aside", where=f"{model} {number}", mend="parley catalogue restore lists all")
    with model_lock(registry.repo, model):
        if place.exists():
            raise ParleyError("another version has its place", where=str(place), mend=f"see both; it is {kept[-1][2]}")
        aside = kept[-1][2]
        aside.rename(place)
        try:
            fsync_dir(directory)
            with registry.catalogue.write() as c:
                catalogue.audit(c, who(), _PUT_BACK, f"{model} {number}", "", {"from": aside.name})
        except BaseException:
            place.rename(aside)  # nobody would know that a person put it back, and it would be set aside once more
            raise
        try:
            return _adopt(registry, directory, number)
        except (catalogue.CatalogueUnavailable, OSError) as error:
            return f"{model} {number} is back; the next command takes it in: {error}"
        except (ParleyError, ValidationError) as error:
            return f"{model} {number} is back; nothing serves it, for it does not verify: {error}"


def _was_put_back(registry: Registry, model: str, number: int) -> bool:
    """Whether a person has put this version back after it was set aside: it is theirs to judge."""
    audits = t.registry_audit.c
    query = sa.select(audits.what).where(audits.subject == f"{model} {number}", audits.what.in_(("refuse", _PUT_BACK)))
    with registry.catalogue.read() as c:
        return c.scalar(query.order_by(audits.id.desc()).limit(1)) == _PUT_BACK


def _pin(registry: Registry, directory: Path, row: VersionRow) -> str:
    """Write a missing pin, when the files are still those that the catalogue took in."""
    version = directory / str(row.number)
    verify_version(version, trusted_keys(registry.site), model=row.model, number=row.number, pin=row.digest)
    write_pin(registry.site, row.model, row.number, row.digest)
    return f"pinned {row.model} version {row.number}"
