"""A lost catalogue is filled again from the repository, and who names a bot or model short is understood."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from release_site import add_version, add_versions, make_site, write_seed

from cli import main as cli
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.utterances import of_texts
from registry import tables as t
from registry.catalogue import (
    CatalogueUnavailable,
    manifest_text,
    next_number,
    versions,
)
from registry.lineage import learned_from
from registry.loading import SiteLoader
from registry.recovery import check, mend, rebuild
from registry.releasing.aliases import current_aliases, history
from registry.releasing.creating import create_release
from registry.releasing.documents import ALIASES_FILE, RELEASES
from registry.releasing.promotion import promote, rollback
from registry.releasing.releases import read_release
from registry.resolve import resolve_bot, resolve_model
from registry.site import Registry
from registry.writing import open_for_writing

HEARD = of_texts([("train", ["a latte please", "an espresso"]), ("test", ["nothing else"])])


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    site = make_site(tmp_path / "site", database_url)
    write_seed(site, dict.fromkeys(FAMILIES, 1))
    with open_for_writing(site) as opened:
        yield opened


def test_a_family_is_enough_where_one_bot_has_it(registry: Registry) -> None:
    add_version(registry, "stt")
    add_version(registry, "nlu")
    assert resolve_model(registry, "stt") == resolve_model(registry, "barista_stt") == "barista_stt"
    add_version(registry, "stt", bot="bank")
    with pytest.raises(ParleyError, match="bank_stt, barista_stt"):
        resolve_model(registry, "stt")
    assert resolve_model(registry, "stt", bot="bank") == "bank_stt"
    with pytest.raises(ParleyError, match="no such model"):
        resolve_model(registry, "tts")
    with pytest.raises(ParleyError, match="no such model"):
        resolve_model(registry, "barista_stt", bot="bank")


def test_a_bot_need_not_be_named_where_one_can_answer_calls(registry: Registry) -> None:
    with pytest.raises(ParleyError, match="no bot has"):
        resolve_bot(registry)
    add_versions(registry)
    mend(registry)
    assert resolve_bot(registry) == resolve_bot(registry, "barista") == "barista"
    with pytest.raises(ParleyError, match="there is: barista"):
        resolve_bot(registry, "bank")


def living_site(registry: Registry) -> None:
    """Two versions of each stage, three releases, promoted and rolled back."""
    add_versions(registry, 2)
    mend(registry)
    for stages in ({"stt": 2}, {"nlu": 2, "tts": 2}):
        release = create_release(registry, "barista", stages, who="ada", why="more look-ahead")
        promote(registry, "barista", release.number, loader=SiteLoader(registry), who="ada", why="try", force=True)
    rollback(registry, "barista", loader=SiteLoader(registry), who="bob", why="callers hang up")


def answers(registry: Registry) -> dict[str, object]:
    """What a catalogue says that the repository can prove."""
    with registry.catalogue.read() as c:
        return {
            "versions": [replace(row, published_by="") for row in versions(c)],
            "manifests": [manifest_text(c, row.model, row.number) for row in versions(c)],
            "utterances": c.execute(sa.select(t.dataset_utterances).order_by(*t.dataset_utterances.primary_key)).all(),
            "datasets": c.execute(sa.select(t.datasets).order_by(t.datasets.c.digest)).all(),
            "next": {row.model: next_number(c, row.model) for row in versions(c)},
            "releases": [read_release(c, "barista", number) for number in (1, 2, 3)],
            "pointers": replace(current_aliases(c, "barista")),
            "learned": learned_from(c, HEARD[0].sha256),
        }


def lose(registry: Registry, database_url: str) -> None:
    """The database after a disk's death: gone, or there and empty."""
    if "sqlite" in database_url:
        for path in Path(registry.catalogue.where).parent.glob("parley.db*"):
            path.unlink()
        return
    with registry.catalogue.write() as c:
        c.exec_driver_sql("DROP SCHEMA public CASCADE")
        c.exec_driver_sql("CREATE SCHEMA public")


def test_a_lost_catalogue_is_rebuilt_and_answers_as_before(registry: Registry, database_url: str) -> None:
    living_site(registry)
    before = answers(registry)
    lose(registry, database_url)
    with pytest.raises(CatalogueUnavailable):
        answers(registry)
    with Registry.unmended(registry.site) as again:
        with again.catalogue.read() as c:
            assert versions(c) == []
        report = rebuild(again)
        after = answers(again)
        assert check(again) == []
    assert (report.versions, report.releases) == (8, 3)
    assert after.pop("pointers").champion == before.pop("pointers").champion == 2  # type: ignore[attr-defined]
    assert after == before


def test_the_next_command_after_the_loss_rebuilds_by_itself(registry: Registry, database_url: str) -> None:
    living_site(registry)
    lose(registry, database_url)
    with open_for_writing(registry.site) as again, again.catalogue.read() as c:
        assert len(versions(c)) == 8
        assert history(c, "barista")[-1].champion == 2


def test_a_rebuild_takes_nothing_in_that_was_altered(registry: Registry, database_url: str) -> None:
    living_site(registry)
    weights = registry.repo / "barista_stt" / "2" / "model.onnx"
    weights.chmod(0o644)
    weights.write_text("poisoned")
    lose(registry, database_url)
    with Registry.unmended(registry.site) as again:
        report = rebuild(again)
        with again.catalogue.read() as c:
            assert [row.number for row in versions(c, model="barista_stt")] == [1]
    assert any("barista_stt 2 aside" in words and "altered" in words for words in report.done)


def test_a_rebuild_of_a_whole_catalogue_adds_only_its_own_audit_row(registry: Registry, database_url: str) -> None:
    living_site(registry)
    before = answers(registry)
    assert rebuild(registry).done == []
    assert answers(registry) == before
    with registry.catalogue.read() as c:
        what = list(c.scalars(sa.select(t.registry_audit.c.what).order_by(t.registry_audit.c.id)))
    assert what[-1] == "rebuild"
    assert what.count("rebuild") == 1


def test_check_says_what_is_missing(registry: Registry) -> None:
    living_site(registry)
    assert check(registry) == []
    shutil.rmtree(registry.repo / "barista_tts" / "2")
    shutil.copytree(registry.repo / "barista_nlu" / "2", registry.repo / "barista_nlu" / "9")
    found = "\n".join(check(registry))
    assert "barista_tts 2: its folder is gone" in found
    assert "release 3 of barista names barista_tts 2" in found
    assert "barista_nlu: its folder, the catalogue and the pins disagree" in found


def test_nothing_is_mended_where_nothing_is_wrong(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command opens the registry: content must not be read, and nothing written, to find that all is well."""
    living_site(registry)

    def refuse(*args: object, **named: object) -> None:
        raise AssertionError("read or written for nothing")

    monkeypatch.setattr("registry.versions.mending.verify_version", refuse)
    monkeypatch.setattr("registry.catalogue.Catalogue.write", refuse)
    with open_for_writing(registry.site) as again:
        assert mend(again) == []


def test_a_folder_beside_the_bots_is_no_bot(registry: Registry) -> None:
    """A copy that somebody puts aside, and takes away again, leaves no champion behind."""
    add_versions(registry)
    bots = registry.site.bots_dir
    for copy in ("barista.bak", "barista2", "Barista copy"):
        shutil.copytree(bots / "barista", bots / copy)
        with open_for_writing(registry.site):
            pass
        shutil.rmtree(bots / copy)
    assert resolve_bot(registry) == "barista"
    with registry.catalogue.read() as c:
        assert set(c.scalars(sa.select(t.alias_changes.c.bot))) == {"barista"}


def test_a_bot_whose_folder_went_is_not_in_the_way(registry: Registry) -> None:
    """Such a champion an older Parley may have made."""
    add_versions(registry)
    mend(registry)
    with registry.catalogue.write() as c:
        for table in (t.releases, t.release_stages, t.alias_changes):
            for row in c.execute(sa.select(table)).mappings().all():
                c.execute(table.insert().values({**row, "bot": "barista.bak", **({"id": 99} if "id" in row else {})}))
    assert resolve_bot(registry) == "barista"


# The command line


def at_site(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("bots_dir", "repo_dir", "state_dir", "database_url"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(registry.site, name)))


def test_the_command_checks_rebuilds_and_upgrades(
    registry: Registry, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    living_site(registry)
    at_site(registry, monkeypatch)
    assert cli.run(["catalogue", "check"]) == 0
    lose(registry, database_url)
    assert cli.run(["catalogue", "check"]) == 1
    assert cli.run(["catalogue", "rebuild"]) == 0
    assert "8 versions and 3 releases are known" in capsys.readouterr().out
    assert cli.run(["catalogue", "check"]) == 0
    assert cli.run(["catalogue", "upgrade"]) == 0
    assert (registry.repo / RELEASES / "barista" / ALIASES_FILE).is_file()


def test_a_damaged_database_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = make_site(tmp_path / "site")
    with open_for_writing(site):
        pass
    path = site.state_dir / "parley.db"
    with sqlite3.connect(path) as opened:
        opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    path.write_bytes(path.read_bytes()[:4096] + b"\0" * 40960)
    with pytest.raises(ParleyError) as error:
        open_for_writing(site)
    assert error.value.mend
