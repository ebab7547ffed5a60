"""Bringing versions and releases to the repository that sites share, and taking them from there.

    push(registry, SharedStore.at(site))        # what this site published and the others lack
    pull(registry, SharedStore.at(site))        # what the others published and this site lacks

`<model>/<number>.tar` is a packed version (`registry.housekeeping.archive`), `releases/<bot>/<number>.json` a
release's document, signed (`registry.housekeeping.envelope`).
Both are written once and never replaced. What is pulled is verified: the store is not trusted.
"""

from __future__ import annotations

import filecmp
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import sqlalchemy as sa
from pydantic import ValidationError

from parley.errors import ParleyError
from parley.files import write_atomic
from registry import catalogue
from registry import tables as t
from registry.catalogue import PUBLISHED, VersionRow
from registry.housekeeping.archive import pack, unpack
from registry.housekeeping.canonical_tar import Limits
from registry.housekeeping.envelope import seal, unseal
from registry.housekeeping.shared_store import SharedStore
from registry.releasing import documents, releases
from registry.releasing.checking import check_release
from registry.releasing.creating import record_release
from registry.releasing.documents import Release, ReleaseDocument
from registry.releasing.holds import KEPT, Ref
from registry.site import Registry
from registry.site import who as user
from registry.versions.signing import trusted_keys

_LARGEST_DOCUMENT = 16 << 20
_TRANSFERS = ("push", "pull")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Transfer:
    """What became of one version or release."""

    subject: str
    outcome: str
    """``pushed``, ``pulled``, ``restored``, ``there already``, ``here already``, ``collected here`` or ``refused``."""
    problem: ParleyError | None = None


Report = Callable[[Transfer], None]


def push(
    registry: Registry,
    store: SharedStore,
    refs: Sequence[Ref] = (),
    *,
    who: str = "",
    report: Report = lambda transfer: None,
) -> list[Transfer]:
    """Bring versions to the shared repository; without `refs`, all that are here, and all releases that are kept.

    Raises:
        ParleyError: a named version is not known. What goes wrong with one of them is in its transfer.
    """
    with registry.catalogue.read() as c:
        rows = [catalogue.version(c, *ref) for ref in refs] or catalogue.versions(c, state=PUBLISHED)
        bots = [] if refs else list(c.scalars(sa.select(t.releases.c.bot).distinct().order_by(t.releases.c.bot)))
        kept = [release for bot in bots for release in releases.releases(c, bot) if release.state == KEPT]
    jobs = [Job(f"{row.model} {row.number}", partial(_push_version, registry, store, row, who)) for row in rows]
    jobs += [Job(f"{each.bot} release {each.number}", partial(_push_release, registry, store, each)) for each in kept]
    return _each(jobs, report)


def pull(
    registry: Registry,
    store: SharedStore,
    model: str | None = None,
    number: int | None = None,
    *,
    who: str = "",
    report: Report = lambda transfer: None,
) -> list[Transfer]:
    """Take versions from the shared repository: one, a model's, or all of them and the releases too.

    What was collected here stays so, unless it is named by its number.

    Raises:
        ParleyError: the store does not answer, or what is named is not there.
    """
    there = store.versions(model)
    if model is not None and number is not None:
        there = [(model, number)]
    elif model is not None and not there:
        raise ParleyError("nobody pushed a version of it", where=f"{store.where}/{model}", mend="parley push there")
    named = number is not None
    jobs = [Job(f"{ref[0]} {ref[1]}", partial(_pull_version, registry, store, ref, who, named)) for ref in there]
    for bot, release in store.releases() if model is None else []:
        jobs.append(Job(f"{bot} release {release}", partial(_pull_release, registry, store, bot, release)))
    return _each(jobs, report)


class Job(NamedTuple):
    """One thing to push or pull."""

    subject: str
    run: Callable[[], str]


def _each(jobs: Sequence[Job], report: Report) -> list[Transfer]:
    """Do every job; one that is refused does not hold up the others."""
    done = []
    for subject, run in jobs:
        try:
            transfer = Transfer(subject, run())
        except catalogue.CatalogueUnavailable:
            raise
        except ParleyError as error:
            transfer = Transfer(subject, "refused", error)
        except OSError as error:
            problem = ParleyError(str(error.strerror or error), where=str(error.filename or ""), mend="check the disk")
            transfer = Transfer(subject, "refused", problem)
        report(transfer)
        done.append(transfer)
    return done


# --- versions ------------------------------------------------------------------------------------------------------


def _push_version(registry: Registry, store: SharedStore, row: VersionRow, who: str) -> str:
    if _transferred_before(registry, store, row):
        return "there already"
    name, outcome = f"{row.model}/{row.number}.tar", "pushed"
    with _workplace(registry) as folder:
        packed = pack(registry, row.model, row.number, folder / "ours.tar")
        try:
            store.put(name, packed)
        except FileExistsError:
            theirs = folder / "theirs.tar"
            store.fetch(name, theirs, _largest())
            if not filecmp.cmp(theirs, packed, shallow=False):
                raise _taken(store, row) from None
            outcome = "there already"
    _note(registry, store, row, who, "push")
    return outcome


def _taken(store: SharedStore, row: VersionRow) -> ParleyError:
    free = max((number for model, number in store.versions(row.model) if model == row.model), default=row.number) + 1
    return ParleyError(
        f"another site pushed another {row.model} {row.number} before; nothing there was changed",
        where=f"{store.where}/{row.model}/{row.number}.tar",
        mend=f"the signature binds the number, so publish the run again under a number that is free at both: "
        f"{max(free, row.number + 1)} is the next (`parley pull {row.model}` takes in the others first)",
    )


def _pull_version(registry: Registry, store: SharedStore, ref: Ref, who: str, named: bool) -> str:
    model, number = ref
    with registry.catalogue.read() as c:
        row = next((row for row in catalogue.versions(c, model=model) if row.number == number), None)
    if row is not None and row.state == PUBLISHED and _transferred_before(registry, store, row):
        return "here already"
    if row is not None and row.state != PUBLISHED and not named:
        return "collected here"
    with _workplace(registry) as folder:
        archive = folder / f"{model}-{number}.tar"
        store.fetch(f"{model}/{number}.tar", archive, _largest())
        found = unpack(registry, archive, who=who, why=f"from {store.where}")
    if (found.model, found.number) != ref:
        raise ParleyError(
            f"it held {found.model} {found.number}, which is here now",
            where=f"{store.where}/{model}/{number}.tar",
            mend="somebody put it under a wrong name: remove it there",
        )
    with registry.catalogue.read() as c:
        row = catalogue.version(c, model, number)
    _note(registry, store, row, who, "pull")
    return {"new": "pulled"}.get(found.outcome, found.outcome)


def _largest() -> int:
    limits = Limits()
    return limits.total_bytes + limits.entries * 1024 + 10240


def _transferred_before(registry: Registry, store: SharedStore, row: VersionRow) -> bool:
    """Whether this very version was seen there: what lies there is never replaced, so it need not be read again."""
    audits = t.registry_audit.c
    query = sa.select(audits.detail).where(audits.subject == f"{row.model} {row.number}", audits.what.in_(_TRANSFERS))
    with registry.catalogue.read() as c:
        return any(detail == {"digest": row.digest, "store": store.where} for detail in c.scalars(query).all())


def _note(registry: Registry, store: SharedStore, row: VersionRow, who: str, what: str) -> None:
    """Write down what was transferred. It was, also where the database is busy: then it is read once more next time."""
    try:
        with registry.catalogue.write() as c:
            detail = {"digest": row.digest, "store": store.where}
            catalogue.audit(c, who or user(), what, f"{row.model} {row.number}", "", detail)
    except ParleyError as error:
        _log.warning("%s %d: the %s is not in the audit: %s", row.model, row.number, what, error)


@contextmanager
def _workplace(registry: Registry) -> Iterator[Path]:
    """A folder for archives on their way; the system's temporary one may be small."""
    registry.site.state_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=registry.site.state_dir, prefix="transfer-") as folder:
        yield Path(folder)


# --- releases ------------------------------------------------------------------------------------------------------


def _push_release(registry: Registry, store: SharedStore, release: Release) -> str:
    name = f"releases/{release.bot}/{release.number}.json"
    source = documents.folder_of(registry.repo, release.bot) / f"{release.number}.json"
    document = documents.read_document(registry.repo, release.bot, release.number)
    try:
        with _workplace(registry) as folder:
            write_atomic(folder / "release.json", seal(source.read_bytes(), registry.site))
            store.put(name, folder / "release.json")
    except FileExistsError:
        theirs = _fetch_document(registry, store, release.bot, release.number)
        if not _same(theirs.release, document.release):
            raise _other(store, release, "the shared repository") from None
        return "there already"
    return "pushed"


def _pull_release(registry: Registry, store: SharedStore, bot: str, number: int) -> str:
    """Take in a release whose versions are here; no alias points to it until somebody promotes it."""
    document = _fetch_document(registry, store, bot, number)
    release = document.release

    def make(c: sa.Connection) -> ReleaseDocument | None:
        known = next((each for each in releases.releases(c, bot) if each.number == number), None)
        if known is None:
            check_release(c, registry.repo, release, document.dialogue)
            return document
        if not _same(known, release):
            raise _other(store, release, "this site")
        return None

    return "here already" if record_release(registry, make) is None else "pulled"


def _fetch_document(registry: Registry, store: SharedStore, bot: str, number: int) -> ReleaseDocument:
    name = f"releases/{bot}/{number}.json"
    with _workplace(registry) as folder:
        store.fetch(name, folder / "release.json", _LARGEST_DOCUMENT)
        sealed = (folder / "release.json").read_bytes()
    content = unseal(sealed, trusted_keys(registry.site), f"{store.where}/{name}")
    try:
        document = ReleaseDocument.model_validate_json(content)
    except ValidationError as error:
        raise ParleyError(
            f"no release: {documents.reason_of(error)}", where=f"{store.where}/{name}", mend="remove it there"
        ) from None
    if (document.release.bot, document.release.number) != (bot, number):
        raise ParleyError(f"it holds the {document.release}", where=f"{store.where}/{name}", mend="remove it there")
    return document


def _same(one: Release, other: Release) -> bool:
    """Whether two releases answer calls alike; who made them when is not compared."""
    return (one.stages, one.dialogue_digest) == (other.stages, other.dialogue_digest)


def _other(store: SharedStore, release: Release, where: str) -> ParleyError:
    stages = " ".join(f"{stage}={ref.version}" for stage, ref in release.stages.items())
    return ParleyError(
        f"{where} has another {release}; neither was changed",
        where=f"{store.where}/releases/{release.bot}/{release.number}.json",
        mend=f"make a release of the same versions under the next number: parley releases create {stages}",
    )
