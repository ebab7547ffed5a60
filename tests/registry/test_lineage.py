"""Lineage: from a version to its utterances, and from an utterance to every version that learned from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifests import row, write_manifest
from release_site import make_site

from cli import main as cli
from models.dataset import load_dataset
from models.dataset_making import make_dataset
from parley.audio import TELEPHONE_RATE
from parley.bot import load_bot
from parley.bundle import Lineage, Manifest, TensorSpec, write_bundle
from parley.errors import ParleyError
from parley.recordings import read_recordings
from parley.utterances import Utterance, Utterances, of_texts, write_utterances
from registry.catalogue import COLLECTED, record_version, set_state
from registry.lineage import learned_from, origin, uses, utterance_digests, utterances
from registry.site import Registry
from registry.writing import open_for_writing

TENSOR = [TensorSpec(name="x", dtype="FP32", dims=[1])]
OLD = of_texts([("train", ["one latte", "two lattes"]), ("valid", ["three lattes"]), ("test", ["four lattes"])])
NEW = of_texts([("train", ["one latte", "four lattes"]), ("test", ["five lattes"])])
LATTE, FOUR = OLD[0].sha256, OLD[3].sha256


@pytest.fixture
def registry(tmp_path: Path, database_url: str) -> Iterator[Registry]:
    with open_for_writing(make_site(tmp_path / "site", database_url)) as opened:
        yield opened


def add(registry: Registry, number: int, heard: list[Utterance], model: str = "barista_stt", **lineage: object) -> None:
    """A version as the catalogue takes it in, verified by its caller."""
    bot, family = model.rsplit("_", 1)
    directory = registry.repo / model / str(number)
    directory.mkdir(parents=True)
    (directory / "model.onnx").write_text(f"{model} {number}")
    dataset = sha256(repr(heard).encode()).hexdigest() if heard else ""
    if heard:
        write_utterances(directory, Utterances(dataset, bot, "CC BY 4.0", tuple(heard)))
    manifest = write_bundle(
        directory,
        Manifest(
            family=family, bot=bot, model=model, version=number, inputs=TENSOR, outputs=TENSOR,
            data_licence="CC BY 4.0" if heard else "", lineage=Lineage(dataset_digest=dataset, **lineage),
        ),
    )  # fmt: skip
    with registry.catalogue.write() as c:
        record_version(c, directory, manifest, who="ada", key_id="k" * 64)


@pytest.fixture
def three(registry: Registry) -> Registry:
    """Two STT versions from different data, and an NLU from the first."""
    add(registry, 1, OLD, git_commit="abc123", git_dirty=True, params={"steps": 900, "layers": [3, 4]}, seed=7)
    add(registry, 2, NEW)
    add(registry, 1, OLD, "barista_nlu")
    return registry


def test_a_version_knows_its_utterances_by_split_and_in_order(three: Registry) -> None:
    with three.catalogue.read() as c:
        assert list(origin(c, "barista_stt", 1).splits.items()) == [("train", 2), ("valid", 1), ("test", 1)]
        assert utterances(c, "barista_stt", 1) == OLD
        assert utterances(c, "barista_stt", 2, "test") == NEW[2:]


def test_an_utterance_knows_the_versions_that_were_trained_on_it(three: Registry) -> None:
    with three.catalogue.read() as c:
        assert [(v.model, v.number) for v in learned_from(c, LATTE)] == [
            ("barista_nlu", 1),
            ("barista_stt", 1),
            ("barista_stt", 2),
        ]
        assert [(v.model, v.number) for v in learned_from(c, FOUR)] == [("barista_stt", 2)]
        assert learned_from(c, "0" * 64) == []


def test_versions_that_only_measured_with_an_utterance_are_told_apart(three: Registry) -> None:
    with three.catalogue.read() as c:
        found = [(use.version.model, use.version.number, use.split) for use in uses(c, [FOUR])]
    assert found == [("barista_nlu", 1, "test"), ("barista_stt", 1, "test"), ("barista_stt", 2, "train")]


def test_a_collected_version_is_still_found(three: Registry) -> None:
    """What it learned may live on in versions that started from it."""
    with three.catalogue.write() as c:
        set_state(c, "barista_stt", 2, COLLECTED)
    with three.catalogue.read() as c:
        assert [v.state for v in learned_from(c, FOUR)] == [COLLECTED]


def test_the_same_words_twice_in_a_dataset_are_one_use(registry: Registry) -> None:
    add(registry, 1, of_texts([("train", ["yes", "yes", "yes"])]))
    with registry.catalogue.read() as c:
        assert len(learned_from(c, sha256(b"yes").hexdigest())) == 1


# Files


def test_a_recording_is_known_by_what_the_dataset_stored_of_it(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(-3000, 3000, TELEPHONE_RATE, dtype=np.int16)
    wav = tmp_path / "caller.wav"
    soundfile.write(wav, noise, TELEPHONE_RATE, subtype="PCM_16")
    manifest = tmp_path / "recordings.jsonl"
    entry = {"audio": "caller.wav", "speaker": "s1", "text": "hello", "intent": "help", "slots": {}}
    manifest.write_text(json.dumps(entry) + "\n")
    made = make_dataset(
        load_bot("barista"), tmp_path / "data", recordings=read_recordings(manifest), synthetic=0, seed=1
    )
    (row,) = load_dataset(made.path).rows
    assert row.sha256 in utterance_digests(str(wav))
    assert row.sha256 in utterance_digests(str(made.path / row.audio))


def test_a_text_is_known_by_its_words(tmp_path: Path) -> None:
    (tmp_path / "said.txt").write_text("one latte\n")
    assert LATTE in utterance_digests(str(tmp_path / "said.txt"))


def test_a_recording_of_another_rate_is_known_as_the_dataset_resampled_it(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [row("studio.wav")], rate=44100)

    made = make_dataset(
        load_bot("barista"), tmp_path / "data", recordings=read_recordings(manifest), synthetic=0, seed=1
    )

    assert soundfile.info(made.path / made.rows[0].audio).samplerate == TELEPHONE_RATE
    assert made.rows[0].sha256 in utterance_digests(str(tmp_path / "studio.wav"))


def test_a_recording_of_two_channels_is_not_taken_for_one_nobody_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "both.wav", np.zeros((8000, 2), dtype=np.int16), TELEPHONE_RATE)
    with pytest.raises(ParleyError, match="2 channels"):
        utterance_digests(str(tmp_path / "both.wav"))


@pytest.mark.parametrize("given", ["nobody.wav", "abc", "z" * 64])
def test_what_is_neither_digest_nor_file_is_said(given: str) -> None:
    with pytest.raises(ParleyError, match="neither"):
        utterance_digests(given)


# The command line


@pytest.fixture
def site(three: Registry, monkeypatch: pytest.MonkeyPatch) -> Registry:
    for name in ("bots_dir", "repo_dir", "state_dir", "database_url"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(three.site, name)))
    monkeypatch.setenv("COLUMNS", "200")
    return three


def test_the_command_shows_where_a_version_comes_from(site: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["lineage", "stt", "1"]) == 0
    shown = capsys.readouterr().out
    for part in (
        "abc123 and changes nobody committed", "steps", "900", "[3, 4]", "CC BY 4.0", "train 2, valid 1, test 1",
        "by ada", sha256(repr(OLD).encode()).hexdigest(),
    ):  # fmt: skip
        assert part in shown, part
    assert "7" in next(line for line in shown.splitlines() if line.startswith("seed"))


def test_a_narrow_terminal_cuts_no_digest(
    site: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert cli.run(["lineage", "stt", "1"]) == 0
    assert "k" * 64 in "".join(capsys.readouterr().out.split())


def test_the_command_lists_the_utterances(site: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["lineage", "stt", "1", "--utterances"]) == 0
    lines = [tuple(line.split("\t")) for line in capsys.readouterr().out.splitlines()]
    assert lines == [(u.sha256, u.id, u.split) for u in OLD]
    assert cli.run(["lineage", "stt", "1", "--utterances", "--split", "test", "--json"]) == 0
    assert [u["sha256"] for u in json.loads(capsys.readouterr().out)["utterances"]] == [FOUR]


def test_the_command_finds_who_learned_from_a_file(
    site: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "said.txt").write_text("four lattes")
    assert cli.run(["lineage", "--utterance", str(tmp_path / "said.txt")]) == 0
    shown = capsys.readouterr().out
    assert "1 learned from it" in shown
    assert shown.index("barista_stt 2") < shown.index("barista_stt 1"), "those that learned come first"
    assert cli.run(["lineage", "--utterance", FOUR, "--json"]) == 0
    assert {(u["model"], u["number"], u["split"]) for u in json.loads(capsys.readouterr().out)} == {
        ("barista_stt", 2, "train"),
        ("barista_stt", 1, "test"),
        ("barista_nlu", 1, "test"),
    }


def test_the_command_says_when_nobody_knows_it(site: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["lineage", "--utterance", "0" * 64]) == 0
    assert "no version knows this utterance" in capsys.readouterr().out


def test_a_version_without_a_list_says_so(site: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    add(site, 3, [])
    assert cli.run(["lineage", "stt", "3"]) == 0
    assert "not listed in this version" in capsys.readouterr().out


def test_the_command_without_a_version_is_refused(site: Registry) -> None:
    with pytest.raises(ParleyError, match="which version"):
        cli.run(["lineage", "stt"])
