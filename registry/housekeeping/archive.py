"""One version as one file, from one site to another: verified where it leaves and where it arrives.

    pack(registry, "barista_stt", 3, Path("stt-3.tar"))
    unpack(other_registry, Path("stt-3.tar"))           # barista_stt 3 there, with the same bytes and signature

A version keeps its number, because its signature binds model and number. Where the number is taken by other content,
the archive is refused: the site that made it has to publish the version anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from pydantic import ValidationError

from parley.bundle import MANIFEST, SIGNATURE, Manifest
from parley.errors import ParleyError
from parley.files import fsync_dir, open_regular, sha256_file
from parley.signatures import signed_by, verify_version
from registry import catalogue
from registry.catalogue import PUBLISHED, VersionRow
from registry.housekeeping.canonical_tar import Contents, check, extract, write
from registry.layout import model_lock
from registry.site import Registry
from registry.site import who as user
from registry.versions.inspection import inspect_bundle
from registry.versions.keys import key_names
from registry.versions.mending import check_contract, mend_locked
from registry.versions.publish import open_witness, put_in_place, staging_folder
from registry.versions.signing import read_pin, trusted_keys
from registry.versions.staging import Staged, make_durable

GZIP_SUFFIXES = (".gz", ".tgz")


@dataclass(frozen=True)
class Unpacked:
    """What became of an archive."""

    model: str
    number: int
    outcome: Literal["new", "here already", "restored"]
    """``restored``: it had been collected here, and its files are back."""


def pack(registry: Registry, model: str, number: int, target: Path) -> Path:
    """Write a published version into `target`, complete or not at all; `.gz` and `.tgz` are compressed.

    Equal versions give equal bytes (compressed ones with equal versions of zlib).

    Raises:
        ParleyError: the version is not here or not as it was signed, or `target` exists or cannot be written.
    """
    directory, names = _verified(registry, model, number)
    if target.exists():
        raise ParleyError("the file exists", where=str(target), mend="name another, or remove it")
    handle, temporary = -1, ""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "w+b") as out:
            write(directory, names, f"{model}/{number}", out, compress=target.suffix in GZIP_SUFFIXES)
            out.flush()
            os.fsync(out.fileno())
            check(out)  # what another site will say to it
        os.chmod(temporary, 0o644)
        os.rename(temporary, target)
        fsync_dir(target.parent)
    except OSError as error:
        raise ParleyError(
            f"cannot be written: {error.strerror or error}", where=str(target), mend="check space and permissions"
        ) from error
    finally:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
    return target


def unpack(registry: Registry, archive: Path, *, who: str = "", why: str = "") -> Unpacked:
    """Take in a version that another site packed.

    Raises:
        ParleyError: the archive is hostile or damaged, nobody this site trusts signed the version, its content is not
            accepted here, or its number is taken by other content. Nothing is changed then.
    """
    try:
        with open_regular(archive) as file:
            return unpack_file(registry, file, who=who, why=why or f"from {archive.name}")
    except OSError as error:
        raise ParleyError(
            f"cannot be read or unpacked: {error.strerror or error}",
            where=str(error.filename or archive),
            mend="check the path, space and permissions",
        ) from error


def unpack_file(registry: Registry, file: BinaryIO, *, who: str, why: str) -> Unpacked:
    """`unpack` for an open file.

    Raises:
        ParleyError: as `unpack`.
        OSError: the disk refuses.
    """
    contents = check(file)
    model, number = contents.model, contents.number
    with model_lock(registry.repo, model), open_witness(registry) as witness:
        mend_locked(registry, model)
        with staging_folder(registry, model) as staging:
            extract(file, contents, staging)
            staged = _accepted(registry, contents, staging, str(getattr(file, "name", "archive")))
            known = _check_free(registry, staged)
            if known is not None and known.state == PUBLISHED:
                shutil.rmtree(staging)
                return Unpacked(model, number, "here already")
            with registry.catalogue.read() as c:
                check_contract(c, staged.manifest)
            make_durable(staging)
            put_in_place(registry, staged, witness, who=who, why=why, what="import")
            if known is not None:
                restore(registry, known, who=who, why=why)
    return Unpacked(model, number, "new" if known is None else "restored")


def restore(registry: Registry, row: VersionRow, *, who: str, why: str) -> None:
    """A collected version's files are back, verified: it counts as published again."""
    with registry.catalogue.write() as c:
        catalogue.set_state(c, row.model, row.number, PUBLISHED)
        catalogue.audit(c, who or user(), "restore", f"{row.model} {row.number}", why, {"digest": row.digest})


def _verified(registry: Registry, model: str, number: int) -> tuple[Path, list[str]]:
    """A version's folder and its files, verified just now."""
    with registry.catalogue.read() as c:
        row = catalogue.version(c, model, number)
    where = f"{model} version {number}"
    if row.state != PUBLISHED:
        raise ParleyError(
            "it was collected: its files are gone", where=where, mend="parley pull it, where it was pushed"
        )
    directory = registry.repo / model / str(number)
    manifest = verify_version(directory, trusted_keys(registry.site), model=model, number=number, pin=row.digest)
    return directory, [*manifest["files"], MANIFEST, SIGNATURE]


def _accepted(registry: Registry, contents: Contents, staging: Path, archive: str) -> Staged:
    """What was unpacked, if a trusted key signed it and its content may be published here."""
    signature = staging / SIGNATURE
    if SIGNATURE not in contents.sizes or MANIFEST not in contents.sizes:
        raise ParleyError("it holds no signed version", where=archive, mend="pack it again with `parley pack`")
    try:
        signer = signed_by(signature)
        known = key_names(registry.site)
        if signer not in known:
            raise ParleyError(
                f"signed with key {signer}, which this site does not trust",
                where=archive,
                mend=f"if you trust who made it, put their public key (.pem) into {registry.site.trusted_keys_dir}",
            )
        found = verify_version(staging, trusted_keys(registry.site), model=contents.model, number=contents.number)
        manifest = Manifest.model_validate(found)
        inspect_bundle(staging)
    except ValidationError as error:
        raise ParleyError(
            f"its manifest is not understood here: {error.errors()[0]['msg']}", where=archive, mend="update Parley"
        ) from None
    except ParleyError as error:
        # The staging folder is gone when this is read: name the file inside the archive.
        inside = error.where.replace(str(staging.resolve()), archive).replace(str(staging), archive)
        raise ParleyError(error.what, where=inside, mend=error.mend) from None
    return Staged(staging, manifest, sha256_file(staging / MANIFEST), signer)


def _check_free(registry: Registry, staged: Staged) -> VersionRow | None:
    """The version's row, where this very content is known; None where the number is free.

    Raises:
        ParleyError: the number is taken by other content.
    """
    model, number = staged.manifest.model, int(staged.manifest.version or 0)
    with registry.catalogue.read() as c:
        rows = catalogue.versions(c, model=model)
    row = next((row for row in rows if row.number == number), None)
    taken = row.digest if row is not None else read_pin(registry.site, model, number)
    if taken is not None and taken != staged.digest:
        free = max(known.number for known in rows) + 1 if rows else number + 1
        raise ParleyError(
            f"this site has another {model} {number} ({taken[:12]}, the archive's is {staged.digest[:12]}), "
            "and the signature binds the number",
            where=f"{model} version {number}",
            mend=f"ask its site to publish it again under a number that is free at both (here {free} and above)",
        )
    return row
