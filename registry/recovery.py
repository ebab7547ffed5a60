"""Recovery: what a killed command left behind is finished or undone, a lost catalogue is filled again.

It stands above everything that it mends: versions, collecting, releases. `registry.writing` calls it for who writes.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from registry import tables as t
from registry.catalogue import PUBLISHED, audit, versions
from registry.housekeeping import collect
from registry.releasing.seeding import mend_releases
from registry.site import Registry, who
from registry.versions.mending import mend_model, unsettled_models


def mend(registry: Registry) -> list[str]:
    """Finish or undo what a killed command left behind; a few small reads when there is nothing.

    A catalogue that was lost, and is empty now, is filled again from the repository. What the disk refuses now is
    left to the next command.

    Returns:
        What was mended, in words.

    Raises:
        CatalogueUnavailable: the database refuses.
    """
    unsettled, done = unsettled_models(registry), []
    if unsettled:
        from parley.progress import progress  # the terminal's bars take a tenth of a second to import

        with progress("mending the catalogue", len(unsettled)) as bar:
            for model in unsettled:
                done += mend_model(registry, model)
                bar.advance()
    return done + collect.finish(registry) + mend_releases(registry)


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild did, and what the catalogue holds now."""

    done: list[str]
    """In words."""
    versions: int
    releases: int


def rebuild(registry: Registry) -> Rebuilt:
    """Take everything into the catalogue that the repository holds and it does not.

    Versions come from their directories, signatures verified; releases and aliases from their documents. Who published
    a version, the verdicts and the audit are in the catalogue only: those of a lost one come from a backup.

    Raises:
        ParleyError: the disk or the database refuses.
    """
    done = mend(registry)
    with registry.catalogue.write() as c:
        held = [c.scalar(sa.select(sa.func.count()).select_from(table)) or 0 for table in (t.versions, t.releases)]
        audit(c, who(), "rebuild", "catalogue", "", {"done": done, "versions": held[0], "releases": held[1]})
    return Rebuilt(done, held[0], held[1])


def check(registry: Registry) -> list[str]:
    """Where repository and catalogue disagree, in words; names are compared, `parley verify` reads the content."""
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
