"""The catalogue: what was published stays known, once, under its number; loss and remnants mend at the next command."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa

from parley.bundle import MANIFEST, Lineage, Manifest, TensorSpec, read_manifest, write_bundle
from parley.errors import ParleyError
from parley.utterances import Utterance, Utterances, of_texts, write_utterances
from registry import tables as t
from registry.catalogue import (
    COLLECTED,
    Catalogue,
    CatalogueUnavailable,
    VersionRow,
    audit,
    manifest_of,
    manifest_text,
    next_number,
    numbers,
    record_version,
    set_state,
    version,
    versions,
)
from registry.lineage import learned_from

TENSOR = [TensorSpec(name="x", dtype="FP32", dims=[1])]
HEARD = of_texts([("train", ["a latte please", "an espresso"]), ("test", ["nothing else"])])


def make_version(folder: Path, number: int | None = 1, model: str = "barista_stt", heard: list[Utterance] = HEARD):
    """The directory of a version, unsigned: the catalogue takes what its caller verified."""
    bot, family = model.rsplit("_", 1)
    directory = folder / model / str(number)
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_text(f"{model} {number}")
    dataset = sha256(repr(heard).encode()).hexdigest()
    if heard:
        write_utterances(directory, Utterances(dataset, bot, "CC BY 4.0", tuple(heard)))
    manifest = Manifest(
        family=family, bot=bot, model=model, version=number, inputs=TENSOR, outputs=TENSOR,
        lineage=Lineage(dataset_digest=dataset if heard else ""),
    )  # fmt: skip
    return directory, write_bundle(directory, manifest)


@pytest.fixture
def catalogue(database_url: str) -> Iterator[Catalogue]:
    with Catalogue(database_url) as opened:
        yield opened


def record(catalogue: Catalogue, folder: Path, *args: object, **named: object) -> VersionRow:
    directory, manifest = make_version(folder, *args, **named)  # type: ignore[arg-type]
    with catalogue.write() as c:
        return record_version(c, directory, manifest, who="ada", key_id="k" * 64)


# Rows


def test_a_recorded_version_is_found_with_its_manifest_byte_for_byte(catalogue: Catalogue, tmp_path: Path) -> None:
    row = record(catalogue, tmp_path, 3)
    directory = tmp_path / "barista_stt" / "3"
    with catalogue.read() as c:
        assert version(c, "barista_stt", 3) == row
        assert manifest_text(c, "barista_stt", 3) == (directory / MANIFEST).read_text()
        assert manifest_of(c, "barista_stt", 3) == read_manifest(directory)
    assert row.digest == sha256((directory / MANIFEST).read_bytes()).hexdigest()
    assert row.size_bytes == sum(path.stat().st_size for path in directory.iterdir())
    assert (row.family, row.bot, row.state, row.published_by) == ("stt", "barista", "published", "ada")
    assert row.published_at.timestamp() == pytest.approx((directory / MANIFEST).stat().st_mtime, abs=1e-3)


def test_the_same_version_again_changes_nothing(catalogue: Catalogue, tmp_path: Path) -> None:
    row = record(catalogue, tmp_path)
    with catalogue.write() as c:
        directory = tmp_path / "barista_stt" / "1"
        assert record_version(c, directory, read_manifest(directory), who="bob", key_id="x") == row
        assert c.scalar(sa.select(sa.func.count()).select_from(t.registry_audit)) == 1


def test_a_number_is_never_given_to_other_content(catalogue: Catalogue, tmp_path: Path) -> None:
    row = record(catalogue, tmp_path)
    directory, manifest = make_version(tmp_path / "other", heard=HEARD[:1])
    with pytest.raises(ParleyError, match="other content"), catalogue.write() as c:
        record_version(c, directory, manifest, who="eve", key_id="x")
    with catalogue.read() as c:
        assert version(c, "barista_stt", 1) == row


def test_a_bundle_without_a_number_is_not_recorded(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="names no version"):
        record(catalogue, tmp_path, None)


def test_what_is_too_long_for_one_database_is_refused_by_both(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="bot is longer than 64"):
        record(catalogue, tmp_path, 1, f"{'b' * 65}_stt", heard=[])


def test_a_dataset_is_known_once_and_a_second_list_under_its_digest_is_refused(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    record(catalogue, tmp_path, 1)
    record(catalogue, tmp_path, 2)
    directory, manifest = make_version(tmp_path, 3)
    (directory / "utterances.tsv").unlink()
    write_utterances(
        directory, Utterances(manifest.lineage.dataset_digest, "barista", "", (replace(HEARD[0], split="test"),))
    )
    manifest = write_bundle(directory, manifest)
    with catalogue.read() as c:
        assert c.scalar(sa.select(sa.func.count()).select_from(t.dataset_utterances)) == len(HEARD)
    with pytest.raises(ParleyError, match="other utterances"), catalogue.write() as c:
        record_version(c, directory, manifest, who="eve", key_id="x")
    with catalogue.read() as c:
        assert [row.number for row in versions(c)] == [1, 2], "the refused version left no row"


def test_a_dataset_that_older_versions_listed_by_place_is_the_same_dataset(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    """A version that is made of it again names its rows by their content, each once."""
    numbered = [replace(row, id=f"{row.split}-{n:06d}") for n, row in enumerate([*HEARD, HEARD[0]])]
    directory, manifest = make_version(tmp_path, 1, heard=numbered)
    digest = manifest.lineage.dataset_digest
    again, other = make_version(tmp_path, 2, heard=HEARD)
    write_utterances(again, Utterances(digest, "barista", "CC BY 4.0", tuple(HEARD)))
    other = write_bundle(again, other.model_copy(update={"lineage": Lineage(dataset_digest=digest)}))

    with catalogue.write() as c:
        record_version(c, directory, manifest, who="ada", key_id="k" * 64)
        record_version(c, again, other, who="ada", key_id="k" * 64)

    with catalogue.read() as c:
        assert [v.number for v in learned_from(c, HEARD[0].sha256)] == [1, 2]


def test_a_list_of_another_dataset_is_refused(catalogue: Catalogue, tmp_path: Path) -> None:
    directory, manifest = make_version(tmp_path)
    wrong = manifest.model_copy(update={"lineage": Lineage(dataset_digest="f" * 64)})
    with pytest.raises(ParleyError, match="another dataset"), catalogue.write() as c:
        record_version(c, directory, wrong, who="eve", key_id="x")


def test_versions_are_listed_by_model_and_number_and_filtered(catalogue: Catalogue, tmp_path: Path) -> None:
    for model, number in (("bank_nlu", 1), ("barista_stt", 10), ("barista_stt", 2)):
        record(catalogue, tmp_path, number, model)
    with catalogue.write() as c:
        set_state(c, "barista_stt", 2, COLLECTED)
    with catalogue.read() as c:
        assert [(v.model, v.number) for v in versions(c)] == [("bank_nlu", 1), ("barista_stt", 2), ("barista_stt", 10)]
        assert [v.number for v in versions(c, model="barista_stt", state="published")] == [10]
        assert [v.model for v in versions(c, bot="bank")] == ["bank_nlu"]
        assert numbers(c) == {"bank_nlu": {1}, "barista_stt": {2, 10}}


def test_a_collected_version_stays_known_and_its_number_is_not_used_again(catalogue: Catalogue, tmp_path: Path) -> None:
    record(catalogue, tmp_path, 1)
    record(catalogue, tmp_path, 2)
    with catalogue.write() as c:
        set_state(c, "barista_stt", 2, COLLECTED)
    with catalogue.read() as c:
        assert next_number(c, "barista_stt") == 3
        assert next_number(c, "barista_tts") == 1
        assert version(c, "barista_stt", 2).state == COLLECTED
        assert manifest_of(c, "barista_stt", 2).version == 2


def test_an_unknown_version_or_model_says_what_there_is(catalogue: Catalogue, tmp_path: Path) -> None:
    for number in (1, 2, 3, 7):
        record(catalogue, tmp_path, number)
    with catalogue.read() as c:
        with pytest.raises(ParleyError, match="there is: 1-3, 7"):
            version(c, "barista_stt", 4)
        with pytest.raises(ParleyError, match="there is: barista_stt"):
            manifest_of(c, "barrista_stt", 1)


def test_what_is_written_is_kept_as_a_whole_or_not_at_all(catalogue: Catalogue, tmp_path: Path) -> None:
    directory, manifest = make_version(tmp_path)
    with pytest.raises(RuntimeError), catalogue.write() as c:
        record_version(c, directory, manifest, who="ada", key_id="x")
        raise RuntimeError("killed")
    with catalogue.read() as c:
        for table in t.metadata.sorted_tables:
            assert c.scalar(sa.select(sa.func.count()).select_from(table)) == 0, table.name


def test_publishers_at_once_take_different_numbers(catalogue: Catalogue, tmp_path: Path) -> None:
    barrier = threading.Barrier(6)

    def publish(who: int) -> int:
        barrier.wait()
        with catalogue.write() as c:
            number = next_number(c, "barista_stt")
            return record_version(c, *make_version(tmp_path / str(who), number), who="ada", key_id="x").number

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(publish, range(6))) == [1, 2, 3, 4, 5, 6]


def test_the_audit_cannot_be_changed_and_a_long_reason_is_cut(catalogue: Catalogue) -> None:
    with catalogue.write() as c:
        audit(c, "ada", "retire", "barista release 3", "x" * 5000, {"from": 1})
    with catalogue.read() as c:
        (row,) = c.execute(sa.select(t.registry_audit)).all()
    assert (row.who, row.what, row.detail, row.why) == ("ada", "retire", {"from": 1}, "x" * t.WHY_CHARS)
    for change in (t.registry_audit.delete(), t.registry_audit.update().values(who="eve")):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), catalogue.write() as c:
            c.execute(change)


def test_a_database_that_goes_away_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "parley.db"
    with Catalogue(f"sqlite:///{path}") as catalogue:
        path.unlink()
        with pytest.raises(CatalogueUnavailable, match="does not answer"), catalogue.read() as c:
            versions(c)
    with pytest.raises(CatalogueUnavailable):
        Catalogue(f"postgresql://parley@/parley?host={tmp_path}")


# The registry of a site
