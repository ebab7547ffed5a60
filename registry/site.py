"""The registry of a site: its repository and its catalogue together.

with Registry.look(settings()) as registry, registry.catalogue.read() as c:      # reads, and changes nothing
    versions(c, model=resolve_model(registry, "stt"))
with Registry.at(settings()) as registry:                                         # may write: mended first
    create_release(registry, "barista", {"stt": 2}, who=who())
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
from registry import belonging
from registry import tables as t
from registry.catalogue import PUBLISHED, Catalogue, audit, versions


@dataclass
class Registry:
    """What every registry command works on."""

    site: Settings
    repo: Path
    """The Triton model repository."""
    catalogue: Catalogue

    @classmethod
    def look(cls, site: Settings, *, as_it_is: bool = False) -> Self:
        """The registry of this site for who only reads: nothing on the disk and in the database changes.

        What lies in the repository and was not taken into the catalogue yet is shown as the next command that writes
        will take it in.

        Args:
            site: whose repository and database.
            as_it_is: show the catalogue alone.

        Raises:
            CatalogueUnavailable: the database does not answer.
            ParleyError: there is no site here, or the repository is another site's.
        """
        repo = belonging.repository(site)
        belonging.check(site)
        registry = cls(site, repo, Catalogue.look(site))
        if not as_it_is:
            from registry.looking import look_ahead

            look_ahead(registry)
        return registry

    @classmethod
    def at(cls, site: Settings, *, mend: bool = True, new: bool = False) -> Self:
        """The registry of this site for who may write.

        Args:
            site: whose repository and database.
            mend: finish or undo what a killed command left behind.
            new: make the repository of a site that has none yet.

        Raises:
            CatalogueUnavailable: the database does not answer.
            ParleyError: there is no site here, the repository is another site's, or what was left behind cannot be
                mended.
        """
        repo = belonging.repository(site, new=new)
        belonging.check(site)
        registry = cls(site, repo, Catalogue.at(site))
        if mend:
            try:
                registry.mend()
            except BaseException:
                registry.close()
                raise
        return registry

    def mend(self) -> list[str]:
        """Finish or undo what a killed command left behind; a few small reads when there is nothing.

        A catalogue that was lost, and is empty now, is filled again from the repository. What the disk refuses now is
        left to the next command.

        Returns:
            What was mended, in words.

        Raises:
            CatalogueUnavailable: the database refuses.
        """
        from parley.progress import progress  # the terminal's bars take a tenth of a second to import
        from registry.housekeeping import collect
        from registry.releasing import releases
        from registry.versions.mending import mend_model, unsettled_models

        unsettled, done = unsettled_models(self), []
        if unsettled:
            with progress("mending the catalogue", len(unsettled)) as bar:
                for model in unsettled:
                    done += mend_model(self, model)
                    bar.advance()
        return done + collect.finish(self) + releases.seed(self)

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


def resolve_bot(registry: Registry, bot: str | None = None) -> str:
    """The bot a person means: the one they name, or the only one whose champion has all four stages.

    Raises:
        ParleyError: it is no bot, or none is named and none or several can answer calls.
    """
    from registry.releasing import releases

    def lives(name: str) -> bool:
        return (registry.site.bots_dir / name / "bot.yaml").is_file()

    with registry.catalogue.read() as c:
        known = list(c.scalars(sa.select(t.alias_changes.c.bot).distinct().order_by(t.alias_changes.c.bot)))
        complete = [name for name in known if set(releases.champion(c, name).stages) == set(FAMILIES)]
    if bot is not None:
        if bot in known or lives(bot):
            return bot
        raise ParleyError("no such bot", where=bot, mend=f"there is: {', '.join(known) or 'none'}")
    if len(complete) > 1:  # one whose folder is gone is nobody's to move by default
        complete = [name for name in complete if lives(name)] or complete
    if len(complete) == 1:
        return str(complete[0])
    raise ParleyError(
        f"{'several bots have' if complete else 'no bot has'} a champion with all four stages",
        where=", ".join(complete or known),
        mend="name one with --bot",
    )


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did, and what the catalogue holds now."""

    done: list[str]
    """In words."""
    versions: int
    releases: int


def rebuild(registry: Registry) -> Rebuilt:
    """Take everything into the catalogue that the repository holds and it does not.

    Versions come from their directories, signatures verified; releases and pointers from their documents. Who published
    a version, the verdicts and the audit are in the catalogue only: those of a lost one come from a backup.

    Raises:
        ParleyError: the disk or the database refuses.
    """
    done = registry.mend()
    with registry.catalogue.write() as c:
        held = [c.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (t.versions, t.releases)]
        audit(c, who(), "rebuild", "catalogue", "", {"done": done, "versions": held[0], "releases": held[1]})
    return Rebuilt(done, held[0], held[1])


def check(registry: Registry) -> list[str]:
    """Where repository and catalogue disagree, in words; names are compared, `parley verify` reads the content."""
    from registry.versions.mending import unsettled_models

    found = [f"{model}: its folder, the catalogue and the pins disagree" for model in unsettled_models(registry)]
    with registry.catalogue.read() as c:
        known = versions(c, state=PUBLISHED)
        parts = t.release_stages.join(t.releases)
        query = sa.select(t.release_stages).select_from(parts).where(t.releases.c.state == "kept")
        used = [(row.model, row.version, f"release {row.number} of {row.bot}") for row in c.execute(query)]
    here = {(row.model, row.number) for row in known if (registry.repo / row.model / str(row.number)).is_dir()}
    found += [
        f"{row.model} {row.number}: its folder is gone; restore it from a backup or the shared repository"
        for row in known
        if (row.model, row.number) not in here
    ]
    return found + [f"{name} names {model} {n}, which is not here" for model, n, name in used if (model, n) not in here]
