"""Whether everything in a repository is what was signed and what the catalogue took in. Reads only, mends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from parley.bundle import MANIFEST
from parley.errors import ParleyError
from parley.files import sha256_file
from parley.signatures import verify_version
from registry import catalogue
from registry.catalogue import PUBLISHED, VersionRow
from registry.layout import REFUSED, STAGING, model_directories, version_numbers
from registry.site import Registry
from registry.versions.signing import read_pin, trusted_keys

_FORGED = "do not serve it; restore it from git or a backup, or publish the bundle again"


@dataclass(frozen=True)
class Found:
    """What was found about one version."""

    model: str
    number: int
    problem: ParleyError | None = None
    """Why it must not be served; names the file."""
    note: str = ""
    """What a person may want to know though nothing is wrong."""


def verify_repository(registry: Registry, repo: Path) -> Iterator[Found]:
    """Check every version of `repo`: signature, digests, identity; in this site's own repository also pin and row.

    A version of the site's own repository that is signed and not known yet is no difference: the next command that may
    write takes it into the catalogue. Another repository has numbers of its own, so rows and pins say nothing about it.
    """
    own = repo.resolve() == registry.repo.resolve()
    rows: dict[tuple[str, int], VersionRow] = {}
    if own:
        with registry.catalogue.read() as c:
            rows = {(row.model, row.number): row for row in catalogue.versions(c)}
    for directory in model_directories(repo):
        for number in version_numbers(directory):
            yield _verify(registry, directory, number, rows.pop((directory.name, number), None), own)
    for (model, number), row in sorted(rows.items()):
        if row.state == PUBLISHED:
            problem = ParleyError(
                "the files are missing; the catalogue has the version as published",
                where=str(repo / model / str(number)),
                mend="restore them from git or a backup",
            )
            yield Found(model, number, problem)


def remnants(repo: Path) -> list[str]:
    """What lies in a repository and is no version: set aside, or left by a killed command."""
    if not repo.is_dir():
        return []
    folders = [path for path in repo.iterdir() if path.is_dir() and not path.name.startswith(".")]
    hidden = [path for folder in folders for path in folder.iterdir()]
    kinds = {REFUSED: "was set aside, as nobody trusted has signed it", STAGING: "is what a killed command left"}
    return sorted(f"{path}: {words}" for path in hidden for kind, words in kinds.items() if path.name.startswith(kind))


def _verify(registry: Registry, directory: Path, number: int, row: VersionRow | None, own: bool) -> Found:
    version, model = directory / str(number), directory.name
    pin = read_pin(registry.site, model, number) if own else None
    try:
        verify_version(version, trusted_keys(registry.site), model=model, number=number, pin=pin)
        if row and sha256_file(version / MANIFEST) != row.digest:
            raise ParleyError("not the manifest the catalogue took in", where=str(version / MANIFEST), mend=_FORGED)
        if row and row.state != PUBLISHED:
            raise ParleyError(f"is {row.state} in the catalogue", where=str(version), mend="run: parley gc")
        if row and pin is None:
            mend = "any other command writes it again"
            raise ParleyError("has no pin, so no server loads it", where=str(version), mend=mend)
    except ParleyError as error:
        return Found(model, number, error)
    except OSError as error:
        where = str(error.filename or version)
        return Found(
            model, number, ParleyError(f"cannot be read: {error.strerror}", where=where, mend="see its rights")
        )
    note = "" if row or not own else "not in the catalogue yet; the next command takes it in"
    return Found(model, number, None, note)
