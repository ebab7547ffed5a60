"""A version is published whole or not at all, and never changes."""

import errno
import os
import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving_models import damage, scaler_bundle

from parley.bundle import read_manifest, verify_files, write_bundle
from parley.errors import ParleyError
from registry import publish as publishing
from registry.model_config import version_numbers
from registry.publish import publish


def test_versions_are_numbered_from_one_and_hold_what_triton_needs(tmp_path: Path) -> None:
    bundle = scaler_bundle(tmp_path / "bundle", 2)
    repo = tmp_path / "repo"

    numbers = [publish(bundle, repo), publish(bundle, repo)]

    assert numbers == [1, 2]
    manifest = verify_files(repo / "barista_nlu" / "2")
    assert manifest.version == 2
    assert set(manifest.files) == {"model.onnx", "labels.json", "model.py"}
    assert "versions: [ 1, 2 ]" in (repo / "barista_nlu" / "config.pbtxt").read_text()


def test_published_files_are_read_only(tmp_path: Path) -> None:
    publish(scaler_bundle(tmp_path / "bundle", 2), tmp_path / "repo")

    files = [path for path in (tmp_path / "repo" / "barista_nlu" / "1").iterdir() if path.is_file()]

    assert len(files) == 4
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}


STEPS = {
    "first copy": (shutil, "copyfile", 1),
    "second copy": (shutil, "copyfile", 2),
    "backend copy": (shutil, "copyfile", 3),
    "manifest": (publishing, "write_bundle", 1),
    "sync": (os, "fsync", 2),
    "rename": (Path, "rename", 1),
}


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["disk full", "interrupt"]
)
@pytest.mark.parametrize("step", STEPS)
def test_interrupted_publish_leaves_no_half_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    bundle, repo = scaler_bundle(tmp_path / "bundle", 2), tmp_path / "repo"
    publish(bundle, repo)
    owner, name, at = STEPS[step]
    original, calls = getattr(owner, name), []

    def fail(*arguments: object, **named: object) -> object:
        calls.append(arguments)
        if len(calls) == at:
            raise failure
        return original(*arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        with pytest.raises((ParleyError, KeyboardInterrupt)) as caught:
            publish(bundle, repo)

    assert len(calls) == at
    if isinstance(failure, OSError):
        assert "No space left" in str(caught.value)
    left = {path.name for path in (repo / "barista_nlu").iterdir()} - {".publish.lock"}
    assert left == {"1", "config.pbtxt", "configs"}
    assert publish(bundle, repo) == 2


def test_remnant_of_a_killed_publisher_is_swept_and_never_a_version(tmp_path: Path) -> None:
    bundle, repo = scaler_bundle(tmp_path / "bundle", 2), tmp_path / "repo"
    remnant = repo / "barista_nlu" / ".staging-x1"
    remnant.mkdir(parents=True)
    (remnant / "model.onnx").write_bytes(b"half")
    assert version_numbers(repo / "barista_nlu") == []

    assert publish(bundle, repo) == 1

    assert not remnant.exists()


def test_altered_bundle_is_refused_by_name(tmp_path: Path) -> None:
    bundle = scaler_bundle(tmp_path / "bundle", 2)
    damage(bundle / "model.onnx")

    with pytest.raises(ParleyError, match=r"model\.onnx"):
        publish(bundle, tmp_path / "repo")

    assert not (tmp_path / "repo" / "barista_nlu" / "1").exists()


def test_version_with_other_tensors_is_refused_before_it_is_visible(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    publish(scaler_bundle(tmp_path / "any", 2), repo)

    with pytest.raises(ParleyError, match=r"input 'x' as FP32 \[ 7 \], version 1 as FP32 \[ -1 \]"):
        publish(scaler_bundle(tmp_path / "seven", 2, width=7), repo)

    assert version_numbers(repo / "barista_nlu") == [1]


def test_unfit_model_name_cannot_leave_the_repository(tmp_path: Path) -> None:
    bundle = scaler_bundle(tmp_path / "bundle", 2)
    write_bundle(bundle, read_manifest(bundle).model_copy(update={"model": "../elsewhere"}))

    with pytest.raises(ParleyError, match="no model name"):
        publish(bundle, tmp_path / "repo")

    assert not (tmp_path / "elsewhere").exists()


def test_publishers_at_once_get_different_numbers(tmp_path: Path) -> None:
    bundle, repo = scaler_bundle(tmp_path / "bundle", 2), tmp_path / "repo"

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda _: publish(bundle, repo), range(8)))

    assert sorted(numbers) == list(range(1, 9))
    assert "versions: [ 1, 2, 3, 4, 5, 6, 7, 8 ]" in (repo / "barista_nlu" / "config.pbtxt").read_text()


def test_damaged_older_version_is_left_out_and_does_not_stop_a_new_one(tmp_path: Path) -> None:
    bundle, repo = scaler_bundle(tmp_path / "bundle", 2), tmp_path / "repo"
    publish(bundle, repo)
    damage(repo / "barista_nlu" / "1" / "model.onnx")

    assert publish(bundle, repo) == 2

    assert "versions: [ 2 ]" in (repo / "barista_nlu" / "config.pbtxt").read_text()
