"""The registry of a site: its repository and its catalogue together, a small value that every command works on.

    with open_for_writing(settings()) as registry:       # registry.writing: what was left behind is mended first
        create_release(registry, "barista", {"stt": 2}, who=who())

Opening is not repairing: what is here imports the catalogue and nothing that mends, seeds or collects.
"""

from __future__ import annotations

import getpass
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from parley.settings import Settings, settings
from registry import belonging
from registry.catalogue import Catalogue, numbers
from registry.layout import model_folders, version_numbers


@dataclass(frozen=True)
class Registry:
    """What every registry command works on."""

    site: Settings
    repo: Path
    """The Triton model repository."""
    catalogue: Catalogue

    @classmethod
    def as_recorded(cls, site: Settings) -> Self:
        """The registry of this site for who only reads what the catalogue knows: nothing on the disk and in the
        database changes. `registry.reading.open_for_reading` also shows what the next writer will take in.

        Raises:
            CatalogueUnavailable: the database does not answer.
            ParleyError: there is no site here, or the repository is another site's.
        """
        repo = belonging.repository(site)
        belonging.check(site)
        return cls(site, repo, Catalogue.look(site))

    @classmethod
    def unmended(cls, site: Settings, *, new: bool = False) -> Self:
        """The registry of this site for who may write, as the last command left it.
        `registry.writing.open_for_writing` mends it first.

        Args:
            site: whose repository and database.
            new: make the repository of a site that has none yet.

        Raises:
            CatalogueUnavailable: the database does not answer.
            ParleyError: there is no site here, or the repository is another site's.
        """
        repo = belonging.repository(site, new=new)
        belonging.check(site)
        return cls(site, repo, Catalogue.at(site))

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


def unknown_versions(registry: Registry) -> list[tuple[Path, list[int]]]:
    """The versions of each model's folder that the catalogue does not know. Names are compared."""
    with registry.catalogue.read() as c:
        known = numbers(c)
    unknown = [
        (directory, sorted(set(version_numbers(directory)) - known.get(directory.name, set())))
        for directory in model_folders(registry.repo)
    ]
    return [(directory, found) for directory, found in unknown if found]
