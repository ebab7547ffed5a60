"""Rows of a dataset are named by what they hold: what one row is does not depend on which others there are."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import soundfile
from manifests import row, write_manifest

from models.dataset import Dataset, Row, load_dataset, load_split
from models.dataset_making import in_order, make_dataset
from parley.bot import load_bot
from parley.errors import ParleyError
from parley.files import canonical_json
from parley.recordings import read_recordings

PEOPLE = {name: sha256(name.encode()).hexdigest() for name in ("ann", "ben", "cy", "dora", "eve", "fay", "gus", "hal")}


def entries() -> list[dict[str, Any]]:
    """Four recordings of each of eight people."""
    return [
        row(f"{who}{n}.wav", speaker=who, text=f"help {n}", subject=PEOPLE[who]) for who in PEOPLE for n in range(4)
    ]


def make(folder: Path, rows: list[dict[str, Any]], **more: Any) -> Dataset:
    manifest = write_manifest(folder / "recordings" / "m.jsonl", rows)
    return make_dataset(
        load_bot("barista"),
        folder / "data",
        recordings=read_recordings(manifest),
        synthetic=more.pop("synthetic", 0),
        seed=7,
        **more,
    )


def by_id(dataset: Dataset) -> dict[str, Row]:
    return {r.id: r for r in dataset.rows}


def test_taking_a_person_out_changes_no_other_row(tmp_path: Path) -> None:
    """Not its name, its file, its digest, its split, its line of the manifest: in any way of splitting."""
    everybody = make(tmp_path, entries())
    files = {r.id: (everybody.path / r.audio).read_bytes() for r in everybody.rows}
    lines = set((everybody.path / "dataset.jsonl").read_text().splitlines())
    split = {fold: by_id(load_split(everybody.path, fold, 7)) for fold in ("none", "0", "1+2", "all", "without:eve")}

    fewer = make(tmp_path, [e for e in entries() if e["speaker"] != "ben"])

    kept = {r.id: r for r in everybody.rows if r.subject != PEOPLE["ben"]}
    assert len(kept) == 28 and by_id(fewer) == kept
    assert {r.id: (fewer.path / r.audio).read_bytes() for r in fewer.rows} == {i: files[i] for i in kept}
    assert set((fewer.path / "dataset.jsonl").read_text().splitlines()) < lines
    for fold, before in split.items():
        assert by_id(load_split(fewer.path, fold, 7)) == {i: before[i] for i in kept}, fold
    assert fewer.digest != everybody.digest


def test_who_is_taken_out_is_not_left_in_the_folder(tmp_path: Path) -> None:
    made = make(tmp_path, entries(), synthetic=2)
    gone = {made.path / r.audio for r in made.rows if r.speaker == "ben"}
    assert len(gone) == 4 and all(file.is_file() for file in gone)

    fewer = make(tmp_path, [e for e in entries() if e["speaker"] != "ben"], synthetic=2)

    assert {f"audio/{file.name}" for file in (fewer.path / "audio").iterdir()} == {r.audio for r in fewer.rows}


def test_a_dataset_is_the_set_of_its_rows(tmp_path: Path) -> None:
    there = make(tmp_path / "a", entries())
    back = make(tmp_path / "b", entries()[::-1])

    assert there.digest == back.digest and there.rows == back.rows
    assert load_dataset(back.path) == back


def test_a_name_is_of_the_samples_the_speaker_and_the_words(tmp_path: Path) -> None:
    (plain,) = make(tmp_path, [row("a.wav")]).rows
    shutil.copy(tmp_path / "recordings" / "a.wav", tmp_path / "recordings" / "same.wav")

    assert plain.id.startswith("rec-") and len(plain.id) == 20 and plain.audio == f"audio/{plain.id}.flac"
    for same in ({"audio": "same.wav"}, {"intent": ""}, {"speech_start": 0.1, "speech_end": 0.3}, {"handset": "old"}):
        assert make(tmp_path, [row("a.wav") | same]).rows[0].id == plain.id, same
    for other in ({"audio": "b.wav"}, {"speaker": "ben"}, {"text": "help me"}):
        assert make(tmp_path, [row("a.wav") | other]).rows[0].id != plain.id, other


def test_the_same_samples_twice_are_refused(tmp_path: Path) -> None:
    rows = [row("a.wav"), row("b.wav"), row("again.wav", speaker="ben")]
    write_manifest(tmp_path / "recordings" / "m.jsonl", rows[:1])
    shutil.copy(tmp_path / "recordings" / "a.wav", tmp_path / "recordings" / "again.wav")

    with pytest.raises(ParleyError, match="m.jsonl:3: audio: again.wav holds the same samples as a.wav"):
        make(tmp_path, rows)


def test_two_rows_of_one_name_are_refused() -> None:
    one = Row("rec-ab", "", "", 1.0, "ann", "train", "recording", "help", "help", {}, 0.0, 1.0)
    rows = [one, replace(one, id="alone-00"), replace(one, id="syn-0f"), replace(one, id="rec-aa")]

    assert [r.id for r in in_order(rows)] == ["rec-aa", "rec-ab", "syn-0f", "alone-00"]
    with pytest.raises(ParleyError, match="two rows are named rec-ab"):
        in_order([*rows, replace(one, speaker="ben")])


def test_a_synthetic_row_is_named_by_words_and_voice_and_stays_when_others_are_added(tmp_path: Path) -> None:
    few = make(tmp_path / "few", [row("a.wav")], synthetic=6)
    more = make(tmp_path / "more", entries(), synthetic=12)

    synthetic = {r.id: r for r in few.rows if r.source == "synthetic"}
    assert synthetic and synthetic.items() <= by_id(more).items()
    assert all(r.audio == f"audio/{r.id}.flac" for r in synthetic.values())


def test_recordings_of_another_rate_are_stored_at_the_datasets(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "recordings" / "m.jsonl", [row("a.wav")], rate=16000)

    made = make_dataset(
        load_bot("barista"), tmp_path / "data", recordings=read_recordings(manifest), synthetic=0, seed=7
    )

    assert soundfile.info(made.path / made.rows[0].audio).samplerate == 8000
    assert made.rows[0].duration_s == 0.5 and len(made.dry(made.rows[0])) == 4000


def test_a_dataset_of_numbered_rows_stays_readable(tmp_path: Path) -> None:
    """As they were made before: in the order of the recordings, without subjects."""
    new = make(tmp_path, entries())
    old = [replace(r, id=f"rec-{n:06d}", audio=r.audio) for n, r in enumerate(new.rows[::-1], start=1)]
    lines = [{k: v for k, v in asdict(r).items() if k != "subject"} for r in old]
    text = "".join(canonical_json(line) + "\n" for line in lines)
    (new.path / "dataset.jsonl").write_text(text)
    summary = json.loads((new.path / "dataset.json").read_text()) | {"digest": sha256(text.encode()).hexdigest()}
    (new.path / "dataset.json").write_text(json.dumps(summary))

    read = load_dataset(new.path)

    assert read.rows == tuple(replace(r, subject="") for r in old)
    assert len(read.dry(read.rows[0])) == 4000


@pytest.mark.parametrize("line", ["{}", "[]", "no", '{"id": "rec-1", "what": 2}'])
def test_a_line_that_is_no_row_is_named(tmp_path: Path, line: str) -> None:
    made = make(tmp_path, [row("a.wav")])
    text = (made.path / "dataset.jsonl").read_text() + line + "\n"
    (made.path / "dataset.jsonl").write_text(text)
    summary = json.loads((made.path / "dataset.json").read_text()) | {"digest": sha256(text.encode()).hexdigest()}
    (made.path / "dataset.json").write_text(json.dumps(summary))

    with pytest.raises(ParleyError, match="dataset.jsonl:2"):
        load_dataset(made.path)
