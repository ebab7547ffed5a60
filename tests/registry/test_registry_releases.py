"""Releases: what one is made of, the seed, and getting all of it back from the repository alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from release_site import add_verdict, add_version, add_versions, make_site, write_seed

from parley.bundle import FAMILIES
from parley.errors import ParleyError
from registry import tables as t
from registry.loading import SiteLoader
from registry.releasing import documents, releases
from registry.releasing.aliases import current_aliases, history
from registry.releasing.creating import create_release
from registry.releasing.promotion import promote
from registry.releasing.releases import champion, dialogue_text, read_release, read_seed
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.writing import open_for_writing

ALL = dict.fromkeys(FAMILIES, 1)


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    """Two versions of each of the barista's models, no release."""
    with open_for_writing(make_site(tmp_path, database_url)) as opened:
        add_versions(opened, 2)
        yield opened


def forget_releases(registry: Registry) -> None:
    """Lose what the catalogue knows of releases, as with a new database; the versions are adopted by others."""
    with registry.catalogue.write() as c:
        allow = {"sqlite": "alias_changes_no_delete", "postgresql": "alias_changes_append_only ON alias_changes"}
        c.exec_driver_sql(f"DROP TRIGGER {allow[c.dialect.name]}")
        for table in (t.alias_changes, t.release_stages, t.releases, t.dialogues):
            c.execute(table.delete())


def test_a_release_holds_versions_by_digest_and_the_dialogue_as_it_was(registry: Registry) -> None:
    made = create_release(registry, "barista", ALL, who="ada", why="first")
    path = registry.site.bots_dir / "barista" / "bot.yaml"
    text = path.read_text()
    path.write_text(text + "\n# edited afterwards\n")

    with registry.catalogue.read() as c:
        found = read_release(c, "barista", 1)
        digest = c.scalar(sa.select(t.versions.c.digest).where(t.versions.c.model == "barista_stt").limit(1))
        kept = dialogue_text(c, found.dialogue_digest)

    assert found.stages == made.stages and list(found.stages) == list(FAMILIES)
    assert found.stages["stt"].digest == digest
    assert kept == text
    assert (found.who, found.why) == ("ada", "first")


def test_a_release_starts_from_the_champion_and_takes_the_bot_yaml_of_now(registry: Registry) -> None:
    create_release(registry, "barista", ALL, who="ada")
    promote(registry, "barista", 1, loader=SiteLoader(registry), who="ada")
    path = registry.site.bots_dir / "barista" / "bot.yaml"
    path.write_text(path.read_text() + "\n# new\n")

    second = create_release(registry, "barista", {"stt": 2}, who="ada")

    assert {stage: ref.version for stage, ref in second.stages.items()} == {**ALL, "stt": 2}
    document = documents.read_document(registry.repo, "barista", 2)
    assert document.dialogue.endswith("# new\n") and document.release.stages == second.stages


@pytest.mark.parametrize(
    ("stages", "says"),
    [
        ({"asr": 1}, "is no stage"),
        ({"stt": 9}, "there is no version 9"),
        ({}, "without versions"),
    ],
)
def test_a_release_of_what_is_not_there_is_refused(registry: Registry, stages: dict[str, int], says: str) -> None:
    with pytest.raises(ParleyError, match=says) as refused:
        create_release(registry, "barista", stages, who="ada")

    assert refused.value.mend
    assert documents.release_numbers(registry.repo, "barista") == []


def test_a_dialogue_that_asks_for_what_was_never_learned_is_refused(registry: Registry) -> None:
    number = add_version(registry, "nlu", constants={"intents": ["orderDrink", "affirm"]}).number

    with pytest.raises(ParleyError, match="never learned.*deny"):
        create_release(registry, "barista", {**ALL, "nlu": number}, who="ada")


def test_two_makers_at_once_make_two_releases(registry: Registry) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda n: create_release(registry, "barista", ALL, who=f"w{n}"), range(4)))

    assert sorted(release.number for release in made) == [1, 2, 3, 4]
    for release in made:
        assert documents.read_document(registry.repo, "barista", release.number).release.who == release.who


def test_the_seed_becomes_release_one_and_champion_once(registry: Registry) -> None:
    write_seed(registry.site, ALL)

    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: mend_releases(registry), range(4)))

    assert sum(len(words) for words in done) == 1
    with registry.catalogue.read() as c:
        assert champion(c, "barista").refs == [(f"barista_{stage}", 1) for stage in FAMILIES]
        assert [change.what for change in history(c, "barista")] == ["first"]
    written = documents.read_aliases(registry.repo, "barista")
    assert written is not None and (written.champion, written.seq) == (1, 1)


def test_a_seed_whose_versions_are_not_here_stops_nobody_else(registry: Registry) -> None:
    write_seed(registry.site, {"stt": 7})

    assert mend_releases(registry) == []

    with registry.catalogue.read() as c, pytest.raises(ParleyError, match="the bot has no release"):
        champion(c, "barista")


def test_releases_and_pointers_come_back_from_the_repository_alone(registry: Registry) -> None:
    write_seed(registry.site, ALL)
    mend_releases(registry)
    second = create_release(registry, "barista", {"stt": 2}, who="ada", why="better")
    add_verdict(registry, 2, 1)
    promote(registry, "barista", 2, loader=SiteLoader(registry), who="ada")
    with registry.catalogue.read() as c:
        before = current_aliases(c, "barista")
    forget_releases(registry)

    said = mend_releases(registry)

    with registry.catalogue.read() as c:
        after = current_aliases(c, "barista")
        assert read_release(c, "barista", 2) == second
        assert sorted(change.champion or 0 for change in history(c, "barista")) == [1, 2]
    assert (after.champion, after.candidate, after.previous) == (before.champion, before.candidate, before.previous)
    assert len(said) == 3
    assert mend_releases(registry) == []


def test_a_document_that_was_edited_is_not_taken_up(registry: Registry) -> None:
    create_release(registry, "barista", ALL, who="ada")
    forget_releases(registry)
    path = documents.folder_of(registry.repo, "barista") / "1.json"
    edited = json.loads(path.read_text())
    edited["release"]["stages"]["stt"]["digest"] = "0" * 64
    path.write_text(json.dumps(edited))

    assert mend_releases(registry) == []

    with registry.catalogue.read() as c:
        assert releases.releases(c, "barista") == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("{", "not a release"),
        ('{"number": 0, "stages": {}}', "number"),
        ('{"number": 1, "stages": {"asr": {"model": "m", "version": 1}}}', "stages.asr"),
        ('{"number": 1, "stages": {"stt": {"model": "m"}}}', "stages.stt.version"),
        ('{"number": 1, "stages": {"stt": {"model": "../m", "version": 1}}}', "stages.stt.model"),
        ('{"number": 1, "stages": {"stt": {"model": "m", "version": "latest"}}}', "stages.stt.version"),
    ],
)
def test_a_bad_seed_is_refused_with_its_key(tmp_path: Path, text: str, names: str) -> None:
    path = tmp_path / "release.json"
    path.write_text(text)

    with pytest.raises(ParleyError, match=names) as caught:
        read_seed(path)

    assert caught.value.where.endswith("release.json") and caught.value.mend
