"""A published version and the wandb run of its training name each other, and wandb never stands in the way."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_models import scaler_bundle

from parley.bundle import read_manifest
from parley.files import sha256_file
from parley.runs import TRACKING, log_version, tracking
from parley.settings import Settings
from registry.versions.publish import publish
from registry.writing import open_for_writing

wandb = pytest.importorskip("wandb")
METADATA = {"manifest_digest": "m" * 64, "dataset_digest": "d" * 64}
REFERENCE = "parley://barista_nlu/3"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")


def _trained(out: Path) -> Path:
    """A run directory whose training, in a process of its own, was mirrored."""
    script = (
        "from parley.runs import Run\n"
        f"run = Run.create({str(out)!r}, 'nlu', 'barista', {{'lr': 0.1}}, 7); run.log(1, loss=0.5); run.finish()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, timeout=120)
    return out


def _records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: a LevelDB log of wandb's own protobuf messages.

    wandb 0.31 reads these files in its Go core only; the messages are its Python package's. The log's form:
    https://github.com/google/leveldb/blob/main/doc/log_format.md, after a header of seven bytes.
    """
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, whole = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        whole, at = whole + data[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            yield Record.FromString(whole)
            whole = b""


def _mirrored(run: Path, kind: str) -> list[Any]:
    """The records of one kind in all parts of a run, oldest first."""
    wandb.teardown()  # its service writes behind the process that logs; this waits for it, as the process's end does
    files = sorted(run.glob("wandb/offline-run-*/*.wandb"))
    records = [record for file in files for record in _records(file)]
    return [getattr(record, kind) for record in records if record.WhichOneof("record_type") == kind]


def test_published_version_is_an_artifact_on_the_run_of_its_training(tmp_path: Path, offline: None) -> None:
    run = _trained(tmp_path / "nlu")

    assert log_version(run, "barista_nlu", 3, METADATA, REFERENCE)

    (artifact,) = _mirrored(run, "artifact")
    ids = {record.run_id for record in _mirrored(run, "run")}
    assert ids == {json.loads((run / TRACKING).read_text())["id"]} == {artifact.run_id}
    assert (artifact.name, artifact.type, sorted(artifact.aliases)) == ("barista_nlu", "model", ["latest", "parley-3"])
    assert json.loads(artifact.metadata) == {"model": "barista_nlu", "version": 3, **METADATA}
    assert [entry.ref for entry in artifact.manifest.contents] == [REFERENCE]


def test_publishing_a_mirrored_run_links_both_ways(tmp_path: Path, offline: None) -> None:
    run = _trained(tmp_path / "nlu")
    scaler_bundle(run / "bundle", 2)
    (tmp_path / "repo").mkdir()
    site = Settings(bots_dir=tmp_path / "bots", repo_dir=tmp_path / "repo", state_dir=tmp_path / "var")

    with open_for_writing(site) as registry:
        number = publish(run / "bundle", registry, who="ada")

    version = tmp_path / "repo" / "barista_nlu" / str(number)
    (artifact,) = _mirrored(run, "artifact")
    found, metadata = read_manifest(version).lineage.tracking, json.loads(artifact.metadata)
    assert found == {"run": f"parley/{artifact.run_id}", "artifact": f"{artifact.name}:parley-{number}"}
    assert metadata["manifest_digest"] == sha256_file(version / "manifest.json")
    assert (metadata["model"], metadata["version"]) == ("barista_nlu", number)


def test_publish_goes_through_when_wandb_fails(
    tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scaler_bundle(tmp_path / "nlu" / "bundle", 2)
    (tmp_path / "nlu" / TRACKING).write_text('{"entity": "cafe", "project": "parley", "id": "x1"}')
    monkeypatch.setitem(sys.modules, "wandb", None)
    (tmp_path / "repo").mkdir()
    site = Settings(bots_dir=tmp_path / "bots", repo_dir=tmp_path / "repo", state_dir=tmp_path / "var")

    with open_for_writing(site) as registry:
        number = publish(tmp_path / "nlu" / "bundle", registry, who="ada")

    lineage = read_manifest(tmp_path / "repo" / "barista_nlu" / str(number)).lineage
    assert lineage.tracking["run"] == "cafe/parley/x1"
    assert "is published, but not logged on wandb" in caplog.text


def test_second_part_continues_the_run_instead_of_replacing_it(tmp_path: Path, offline: None) -> None:
    run = _trained(tmp_path / "nlu")

    log_version(run, "barista_nlu", 3, METADATA, REFERENCE)

    assert [record.resume for record in _mirrored(run, "run")] == [False, True]


def test_lineage_names_the_run_and_the_artifact(tmp_path: Path, offline: None) -> None:
    run = _trained(tmp_path / "nlu")
    known = json.loads((run / TRACKING).read_text())

    found = tracking(run, "barista_nlu", 3)

    assert found == {"run": f"parley/{known['id']}", "artifact": "barista_nlu:parley-3"}


def test_entity_stands_before_the_project_where_it_is_known(tmp_path: Path) -> None:
    (tmp_path / TRACKING).write_text('{"entity": "cafe", "project": "parley", "id": "x1"}')

    assert tracking(tmp_path, "m", 1)["run"] == "cafe/parley/x1"


def test_training_without_wandb_has_no_lineage_there_and_logs_nothing(tmp_path: Path, offline: None) -> None:
    assert tracking(tmp_path, "barista_nlu", 3) == {}
    assert not log_version(tmp_path, "barista_nlu", 3, METADATA, REFERENCE)
    assert list(tmp_path.iterdir()) == []


def test_disabled_wandb_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / TRACKING).write_text('{"entity": "", "project": "parley", "id": "x1"}')

    assert not log_version(tmp_path, "barista_nlu", 3, METADATA, REFERENCE)
    assert [path.name for path in tmp_path.iterdir()] == [TRACKING]


@pytest.mark.parametrize("broken", ["import", "init", "artifact", "finish"])
def test_failure_of_wandb_is_a_warning_and_never_stops_a_publish(
    tmp_path: Path, offline: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    (tmp_path / TRACKING).write_text('{"entity": "", "project": "parley", "id": "x1"}')

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the tracker is down")

    class Broken:
        def log_artifact(self, *_: object, **__: object) -> None: ...

        finish = fail

    if broken == "import":
        monkeypatch.setitem(sys.modules, "wandb", None)
    else:
        monkeypatch.setattr(wandb, "init", fail if broken == "init" else lambda **_: Broken())
        monkeypatch.setattr(wandb, "Artifact", fail if broken == "artifact" else wandb.Artifact)

    assert not log_version(tmp_path, "barista_nlu", 3, METADATA, REFERENCE)

    assert "barista_nlu version 3 is published, but not logged on wandb" in caplog.text


@pytest.mark.parametrize("content", ["", "[]", "{}", '"x"', '{"id": "x"}'])
def test_damaged_link_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    (tmp_path / TRACKING).write_text(content)

    assert tracking(tmp_path, "barista_nlu", 3) == {}
    assert "damaged" in caplog.text
