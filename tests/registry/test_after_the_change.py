"""A command that changed an alias says so, whatever goes wrong afterwards: the change stands."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from release_site import add_verdict, add_versions, make_site, write_seed

from parley.bundle import FAMILIES
from registry import tables as t
from registry.catalogue import Catalogue, CatalogueUnavailable
from registry.gating.gate import Verdict
from registry.gating.verdict import record
from registry.loading import SiteLoader
from registry.releasing.aliases import current_aliases
from registry.releasing.creating import create_release
from registry.releasing.promotion import AliasChanged, promote, rollback, set_candidate
from registry.releasing.releases import release_numbers
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing

TROUBLES = {
    "busy": CatalogueUnavailable("the database does not answer: database is locked"),
    "table": sa.exc.ProgrammingError("INSERT", {}, Exception("no such table: leases")),
    "disk": OSError(28, "No space left on device"),
    "bug": ZeroDivisionError("a bug"),
}


class GoneAfterwards(Catalogue):
    """A catalogue that does not answer any more once an alias has changed."""

    gone: Exception | None = None
    trouble: Exception

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        if self.gone:
            raise self.gone
        with super().read() as c:
            yield c

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        if self.gone:
            raise self.gone
        with super().write() as c:
            before = self._changes(c)
            yield c
            changed = self._changes(c) != before
        if changed:
            self.gone = self.trouble

    @staticmethod
    def _changes(c: sa.Connection) -> int:
        return int(c.scalar(sa.select(sa.func.count()).select_from(t.alias_changes)) or 0)


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Release 1 is champion; there is a release 2."""
    with open_for_writing(make_site(tmp_path)) as opened:
        add_versions(opened, 2)
        write_seed(opened.site, dict.fromkeys(FAMILIES, 1))
        mend_releases(opened)
        create_release(opened, "barista", {"stt": 2}, who="ada")
        yield opened


def promoted(registry: Registry) -> AliasChanged:
    return promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)


def rolled_back(registry: Registry) -> AliasChanged:
    return rollback(registry, "barista", loader=SiteLoader(registry), who="bob")


def nominated(registry: Registry) -> AliasChanged:
    with registry.catalogue.read() as c:
        verdict = c.scalar(sa.select(t.verdicts.c.id))
    return set_candidate(registry, "barista", 2, verdict or 0, who="ada")


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize(("change", "champion"), [(promoted, 2), (rolled_back, 1), (nominated, 1)])
def test_what_fails_after_the_change_is_a_note(
    registry: Registry, change: Callable[[Registry], AliasChanged], champion: int, trouble: str
) -> None:
    if change is rolled_back:
        promoted(registry)
    add_verdict(registry, 2, 1)
    catalogue = GoneAfterwards(f"sqlite:///{registry.site.state_dir / 'parley.db'}")
    catalogue.trouble = TROUBLES[trouble]

    changed = change(replace(registry, catalogue=catalogue))

    assert changed.change.champion == champion and "is not written yet" in changed.warnings[-1]
    with registry.catalogue.read() as c:
        assert current_aliases(c, "barista").champion == champion


class NeverCommits(Catalogue):
    """A catalogue whose disk is full when the transaction ends."""

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        with super().write() as c:
            yield c
            raise CatalogueUnavailable("the database does not answer: disk is full")


def test_a_release_whose_transaction_fails_at_its_end_is_not_made_by_the_next_command(registry: Registry) -> None:
    catalogue = NeverCommits(f"sqlite:///{registry.site.state_dir / 'parley.db'}")

    with pytest.raises(CatalogueUnavailable):
        create_release(replace(registry, catalogue=catalogue), "barista", {"nlu": 2}, who="ada")

    assert mend_releases(registry) == []
    with registry.catalogue.read() as c:
        assert release_numbers(c, "barista") == [1, 2]


def test_an_accepted_verdict_whose_release_was_retired_stands_and_says_so(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        c.execute(t.releases.update().where(t.releases.c.number == 2).values(state="retired"))
    verdict = Verdict("barista", 2, 1, "better", True, "Accepted: release 2 is better.", (), {}, {}, {})

    recorded = record(registry, verdict, who="ada")

    assert recorded.candidate is None and "it is retired" in recorded.note
    with registry.catalogue.read() as c:
        assert c.scalars(sa.select(t.verdicts.c.id)).all() == [recorded.number]
