"""What is known about one version: its record, who needs it, and whether its files are still what was signed.

described = describe(registry, "barista_stt", 3)
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from parley.bundle import Manifest
from parley.errors import ParleyError
from parley.signatures import verify_version
from registry import catalogue
from registry import tables as t
from registry.catalogue import COLLECTED, VersionRow
from registry.releasing.holds import references
from registry.site import Registry
from registry.versions.keys import key_names
from registry.versions.signing import read_pin, trusted_keys


@dataclass(frozen=True)
class Description:
    """Everything `parley show` says."""

    row: VersionRow
    manifest: Manifest
    references: list[str]
    """Why it must stay, in words."""
    why: str
    """What its publisher said."""
    key: str
    """The trusted key that made the signature, by its file; empty where no trusted key did."""
    verified: bool
    """Whether signature, files and pin were checked just now and are right."""
    problem: str
    """Why it is not verified."""

    def as_json(self) -> dict[str, Any]:
        """For a machine."""
        row = {**asdict(self.row), "published_at": self.row.published_at.isoformat()}
        rest = {name: getattr(self, name) for name in ("references", "why", "key", "verified", "problem")}
        return {**row, **rest, "manifest": json.loads(self.manifest.model_dump_json())}


def describe(registry: Registry, model: str, number: int | None = None) -> Description:
    """Describe a version; left out, the newest published one.

    Raises:
        ParleyError: it is not known; lists which are.
    """
    with registry.catalogue.read() as c:
        row = catalogue.version(c, model, number if number is not None else newest(c, model))
        manifest = catalogue.manifest_of(c, model, row.number)
        reasons = references(c, model, row.number)
        why = _said(c, row)
    problem = _problem(registry, row)
    names = key_names(registry.site)
    return Description(row, manifest, reasons, why, names.get(row.key_id, ""), not problem, problem)


def newest(c: sa.Connection, model: str) -> int:
    """The newest version of a model whose files are here.

    Raises:
        ParleyError: there is none.
    """
    known = catalogue.versions(c, model=model, state=catalogue.PUBLISHED)
    if not known:
        raise ParleyError("no version is here", where=model, mend="publish one")
    return known[-1].number


def _said(c: sa.Connection, row: VersionRow) -> str:
    """What was said when the version came into the catalogue."""
    audits = t.registry_audit.c
    query = sa.select(audits.why).where(audits.subject == f"{row.model} {row.number}", audits.why != "")
    return str(c.scalar(query.order_by(audits.id).limit(1)) or "")


def _problem(registry: Registry, row: VersionRow) -> str:
    """Why the files are not what was published; empty when they are."""
    if row.state == COLLECTED:
        return "it was collected: its files are gone, its record stays"
    directory = registry.repo / row.model / str(row.number)
    pin = read_pin(registry.site, row.model, row.number) or row.digest
    try:
        verify_version(directory, trusted_keys(registry.site), model=row.model, number=row.number, pin=pin)
    except (ParleyError, OSError) as error:
        return str(error)
    return ""
