"""The registry of a site: its repository and its catalogue together, mended before they are used.

with Registry.at(settings()) as registry, registry.catalogue.read() as c:
    versions(c, model=resolve_model(registry, "stt"))
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.settings import Settings, settings
from registry import tables as t
from registry.catalogue import Catalogue


@dataclass
class Registry:
    """What every registry command works on."""

    site: Settings
    repo: Path
    """The Triton model repository."""
    catalogue: Catalogue

    @classmethod
    def at(cls, site: Settings, *, mend: bool = True) -> Self:
        """The registry of this site.

        Args:
            site: whose repository and database.
            mend: finish or undo what a killed command left behind.

        Raises:
            CatalogueUnavailable: the database does not answer.
            ParleyError: what was left behind cannot be mended.
        """
        return cls(site, Path(site.repo_dir), Catalogue.at(site))

    def close(self) -> None:
        """Let go of the database."""
        self.catalogue.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def who() -> str:
    """The person at this terminal, for audits: ``PARLEY_USER``, or the login."""
    try:
        return settings().user or getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number without a name
        return "unknown"


def resolve_model(registry: Registry, name: str, bot: str | None = None) -> str:
    """The model a person means: its full name (``barista_stt``), or a family (``stt``) where one bot has it.

    Raises:
        ParleyError: nothing of this name was published, or several bots have the family; says which.
    """
    with registry.catalogue.read() as c:
        query = sa.select(t.versions.c.model, t.versions.c.family, t.versions.c.bot).distinct()
        known = [tuple(row) for row in c.execute(query.order_by(t.versions.c.model))]
    if name in FAMILIES:
        fitting = [model for model, family, owner in known if family == name and bot in (None, owner)]
    else:
        fitting = [model for model, _, owner in known if model == name and bot in (None, owner)]
    if len(fitting) == 1:
        return str(fitting[0])
    if fitting:
        raise ParleyError("several bots have this family", where=name, mend=f"name one: {', '.join(fitting)}")
    have = ", ".join(model for model, _, _ in known) or "nothing"
    raise ParleyError("no such model was published", where=name, mend=f"there is: {have}")
