"""People whose recordings a dataset holds: they are found by their pseudonym, in rows and in published versions."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
import sqlalchemy as sa
from manifests import row, write_manifest
from release_site import make_site

from calls import tables
from calls.subjects import link_audio, references, rows_in_versions_of
from cli.main import run
from judging.evidence import leaked_people
from models.dataset import Dataset, load_dataset
from parley.bundle import Lineage, Manifest, TensorSpec, write_bundle
from parley.errors import ParleyError
from parley.settings import Settings
from parley.utterances import Utterance, Utterances, write_utterances
from registry.catalogue import Catalogue, record_version
from registry.gating.gate import Leak
from registry.gating.leakage import leaked_speakers

TENSOR = [TensorSpec(name="x", dtype="FP32", dims=[1])]
PEOPLE = {who: sha256(who.encode()).hexdigest() for who in ("ann", "ben", "cy")}
ROWS = [row(f"{who}{n}.wav", speaker=who, text=f"help {n}", subject=PEOPLE[who]) for who in PEOPLE for n in range(2)]


@pytest.fixture
def site(tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = make_site(tmp_path / "site", database_url)
    for name in ("repo_dir", "state_dir", "database_url"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(made, name)))
    monkeypatch.setenv("COLUMNS", "200")
    return made


def dataset_of(folder: Path, rows: list[dict[str, object]], capsys: pytest.CaptureFixture[str]) -> tuple[Dataset, str]:
    """What ``parley dataset`` makes of them, and says."""
    manifest = write_manifest(folder / "recordings" / "m.jsonl", rows)
    command = ["dataset", "--bot", "barista", "--out", str(folder / "data"), "--recordings", str(manifest)]
    assert run([*command, "--synthetic", "0"]) == 0
    return load_dataset(folder / "data"), capsys.readouterr().out


def record(site: Settings, number: int, dataset: Dataset) -> None:
    """A version that learned from a dataset, as the catalogue takes it in."""
    folder = site.repo_dir / "barista_stt" / str(number)
    folder.mkdir(parents=True)
    listed = tuple(Utterance(r.sha256, r.id, r.split) for r in dataset.rows)
    write_utterances(folder, Utterances(dataset.digest, "barista", "", listed))
    (folder / "model.onnx").write_text(str(number))
    manifest = Manifest(
        family="stt", bot="barista", model="barista_stt", version=number, inputs=TENSOR, outputs=TENSOR,
        lineage=Lineage(dataset_digest=dataset.digest),
    )  # fmt: skip
    with Catalogue.at(site) as catalogue, catalogue.write() as c:
        record_version(c, folder, write_bundle(folder, manifest), who="ada", key_id="k" * 64)


def test_a_person_is_taken_out_of_a_dataset_and_found_in_the_versions_before(
    site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everybody, said = dataset_of(tmp_path, ROWS, capsys)
    record(site, 1, everybody)
    fewer, _ = dataset_of(tmp_path, [r for r in ROWS if r["speaker"] != "ben"], capsys)
    record(site, 2, fewer)

    assert "3 people linked to 6 recordings" in said
    with Catalogue.at(site) as catalogue, catalogue.read() as c:
        found = {who: rows_in_versions_of(c, pseudonym) for who, pseudonym in PEOPLE.items()}
        bens = references(c, PEOPLE["ben"])
    rows = {r.id: r for r in everybody.rows if r.speaker == "ben"}
    assert [(use.version.number, use.id, use.split) for use in found["ben"]] == [
        (1, r.id, r.split) for r in everybody.rows if r.speaker == "ben"
    ]
    assert [one.reference for one in bens if one.kind == "dataset_row"] == sorted(r.sha256 for r in rows.values())
    assert [one.reference for one in bens if one.kind == "recording"] == sorted(
        sha256((tmp_path / "recordings" / f"ben{n}.wav").read_bytes()).hexdigest() for n in range(2)
    )
    assert not rows.keys() & {r.id for r in fewer.rows}
    # Everybody else's rows have the names, digests and splits they had.
    assert {(u.id, u.sha256, u.split) for u in found["ann"] if u.version.number == 1} == {
        (u.id, u.sha256, u.split) for u in found["ann"] if u.version.number == 2
    }


def test_the_command_shows_a_persons_rows_and_versions(
    site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = dataset_of(tmp_path, ROWS, capsys)
    record(site, 1, made)

    assert run(["lineage", "--subject", PEOPLE["ann"]]) == 0
    shown = capsys.readouterr().out
    assert "2 dataset rows came of this person, 1 versions hold some of them" in shown
    assert all(r.id in shown for r in made.rows if r.speaker == "ann") and "barista_stt 1" in shown
    assert run(["lineage", "--subject", PEOPLE["ann"], "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["rows"] == sorted(r.sha256 for r in made.rows if r.speaker == "ann")
    assert {(use["model"], use["number"], use["sha256"]) for use in answer["versions"]} == {
        ("barista_stt", 1, digest) for digest in answer["rows"]
    }
    assert run(["lineage", "--subject", "0" * 64]) == 0
    assert "0 dataset rows" in capsys.readouterr().out


def test_a_person_who_was_learned_from_is_a_leak_under_any_name(
    site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, _ = dataset_of(tmp_path, ROWS, capsys)
    record(site, 1, made)
    split = {r.subject: r.split for r in made.rows}
    stt = ("barista_stt", 1)

    with Catalogue.at(site) as catalogue, catalogue.read() as c:
        for pseudonym in PEOPLE.values():
            learned = {Leak("speaker caller 7", "barista_stt 1")} if split[pseudonym] != "test" else set()
            assert leaked_people(c, [stt], {"caller 7": pseudonym}) == learned
        assert leaked_people(c, [stt], {"ann": "", "dora": "0" * 64}) == set()
        assert leaked_people(c, [("barista_stt", 2)], {"ann": PEOPLE["ann"]}) == set()
        # By the names of speakers, while the dataset lies there.
        named = {leak.what for leak in leaked_speakers(c, [stt], [*PEOPLE, "dora"], tmp_path)}
        assert named == {f"speaker {who}" for who, pseudonym in PEOPLE.items() if split[pseudonym] != "test"}
        (made.path / "dataset.jsonl").write_text("damaged")
        assert leaked_speakers(c, [stt], PEOPLE, tmp_path) == []
    assert "train" in split.values()


def test_a_number_is_no_pseudonym(site: Settings) -> None:
    with pytest.raises(ParleyError, match="no pseudonym") as caught:
        run(["lineage", "--subject", "+15550100234"])
    assert "0234" not in str(caught.value)


def test_nobody_is_linked_where_no_subject_is_named(
    site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, said = dataset_of(tmp_path, [row("a.wav")], capsys)

    assert "linked" not in said
    with Catalogue.at(site) as catalogue, catalogue.write() as c:
        assert link_audio(c, "dataset_row", [("", "ab" * 32)]) == 0
        assert c.scalar(sa.select(sa.func.count()).select_from(tables.subjects)) == 0
        assert link_audio(c, "dataset_row", [(PEOPLE["ann"], "ab" * 32), (PEOPLE["ann"], "ab" * 32)]) == 1
        assert link_audio(c, "dataset_row", [(PEOPLE["ann"], "ab" * 32)]) == 0
