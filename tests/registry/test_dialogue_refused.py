"""No alias points to a release whose dialogue today's Parley refuses: no replica could answer with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from release_site import add_verdict, add_versions, make_site, write_seed

from parley.bundle import FAMILIES, Family
from parley.errors import ParleyError
from registry.catalogue import version
from registry.loading import SiteLoader
from registry.recovery import mend
from registry.releasing import documents
from registry.releasing.aliases import AliasChange, Aliases, current_aliases, record_change
from registry.releasing.documents import Release, ReleaseDocument, StageVersion, digest_of
from registry.releasing.promotion import promote, rollback, set_candidate
from registry.releasing.releases import insert_release
from registry.releasing.seeding import mend_releases, seed_bot
from registry.site import Registry
from registry.writing import open_for_writing

THEIRS = "language: one that this Parley does not speak\n"
"""The bot.yaml of a release that another Parley made."""


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Release 1 is champion; release 2, of the same versions, came from another Parley."""
    with open_for_writing(make_site(tmp_path)) as opened:
        versions = add_versions_of(opened)
        write_seed(opened.site, dict.fromkeys(FAMILIES, 1))
        mend_releases(opened)
        made_elsewhere(opened, 2, versions)
        yield opened


def add_versions_of(registry: Registry) -> dict[Family, StageVersion]:
    """Version 1 of every family."""
    add_versions(registry)
    with registry.catalogue.read() as c:
        rows = [version(c, f"barista_{family}", 1) for family in FAMILIES]
    return {
        family: StageVersion(model=row.model, version=row.number, digest=row.digest)
        for family, row in zip(FAMILIES, rows, strict=True)
    }


def made_elsewhere(registry: Registry, number: int, stages: dict[Family, StageVersion]) -> None:
    release = Release(
        number=number, bot="barista", stages=stages, dialogue_digest=digest_of(THEIRS), at=datetime.now(UTC)
    )
    documents.write_release(registry.repo, ReleaseDocument(release=release, dialogue=THEIRS))
    with registry.catalogue.write() as c:
        insert_release(c, release, THEIRS)


def now(registry: Registry) -> Aliases:
    with registry.catalogue.read() as c:
        return current_aliases(c, "barista")


def was_champion(registry: Registry, number: int) -> AliasChange:
    """As if this release had been champion, and the one before is again."""
    with registry.catalogue.write() as c:
        record_change(c, "barista", "promote", Aliases(number, None, 1), moved_from=1, moved_to=number, who="a", why="")
        after = Aliases(1, None, number)
        return record_change(c, "barista", "promote", after, moved_from=number, moved_to=1, who="a", why="")


def promoted(registry: Registry) -> object:
    return promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada", why="now", force=True)


def rolled_back(registry: Registry) -> object:
    was_champion(registry, 2)
    return rollback(registry, "barista", loader=SiteLoader(registry), who="bob")


def nominated(registry: Registry) -> object:
    verdict = add_verdict(registry, 2, 1)
    return set_candidate(registry, "barista", 2, verdict, who="ada")


@pytest.mark.parametrize("change", [promoted, rolled_back, nominated])
def test_no_alias_is_changed_to_it(registry: Registry, change: Callable[[Registry], object]) -> None:
    with pytest.raises(ParleyError, match="release 2 of barista, bot.yaml"):
        change(registry)

    assert (now(registry).champion, now(registry).candidate) == (1, None)


def test_a_refused_rollback_says_what_to_do(registry: Registry) -> None:
    with pytest.raises(ParleyError) as refused:
        rolled_back(registry)

    assert "this Parley cannot answer with its dialogue" in refused.value.what
    assert "parley releases create --dialogue FILE" in refused.value.mend


def test_a_champion_of_a_lost_catalogue_is_not_restored_and_nobody_takes_its_place(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    written = documents.read_aliases(registry.repo, "barista")
    assert written is not None
    documents.write_aliases(registry.repo, written.model_copy(update={"champion": 2, "champions": [1, 2], "seq": 2}))
    registry.close()
    for path in registry.site.state_dir.glob("parley.db*"):
        path.unlink()

    with open_for_writing(registry.site) as again:
        assert now(again).champion is None
        with pytest.raises(ParleyError, match="release 2 of barista, bot.yaml"):
            seed_bot(again, "barista")
        assert mend(again) == []
        promote(again, "barista", 1, loader=SiteLoader(again), who="ada", why="this one works")
        assert now(again).champion == 1
    assert "left alone" in caplog.text and "cannot answer with its dialogue" in caplog.text


def test_a_seed_whose_release_is_known_with_such_a_dialogue_does_not_answer(tmp_path: Path) -> None:
    with open_for_writing(make_site(tmp_path)) as registry:
        versions = add_versions_of(registry)
        made_elsewhere(registry, 1, versions)
        write_seed(registry.site, dict.fromkeys(FAMILIES, 1))

        with pytest.raises(ParleyError, match="this Parley cannot answer with its dialogue"):
            seed_bot(registry, "barista")

        assert mend_releases(registry) == [] and now(registry).champion is None
