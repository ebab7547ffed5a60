"""A version is published whole or not at all, never changes, and what a killed command left is mended."""

import errno
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving_models import add_utterances, damage, registry_at, scaler_bundle
from sound_registry import MODEL, check_sound

from parley.bundle import TensorSpec, read_manifest, verify_files, write_bundle
from parley.errors import ParleyError
from registry import catalogue
from registry.layout import version_numbers
from registry.site import Registry
from registry.versions import publish as publishing
from registry.versions import staging
from registry.versions.mending import unsettled_models
from registry.versions.publish import publish


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with registry_at(tmp_path) as opened:
        yield opened


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return scaler_bundle(tmp_path / "bundle", 2)


def test_versions_are_numbered_from_one_and_hold_no_code(registry: Registry, bundle: Path) -> None:
    numbers = [publish(bundle, registry), publish(bundle, registry)]

    assert numbers == [1, 2]
    check_sound(registry, [1, 2])
    manifest = verify_files(registry.repo / MODEL / "2")
    assert manifest.version == 2
    configs = {"config.pbtxt", "configs/gpu_onnxruntime.pbtxt", "configs/gpu_tensorrt.pbtxt"}
    assert set(manifest.files) == {"model.onnx", "labels.json", "card.md"} | configs


def test_published_files_are_read_only(registry: Registry, bundle: Path) -> None:
    publish(bundle, registry)

    files = [path for path in (registry.repo / MODEL / "1").rglob("*") if path.is_file()]

    assert {path.name for path in files} >= {"model.onnx", "manifest.json", "model.sig", "card.md", "config.pbtxt"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o444}


def test_files_beside_the_versions_are_the_newest_versions(registry: Registry, bundle: Path) -> None:
    publish(bundle, registry)
    write_bundle(bundle, read_manifest(bundle).model_copy(update={"preferred_batch_sizes": [2]}))

    publish(bundle, registry)

    for name in ("config.pbtxt", "configs/gpu_onnxruntime.pbtxt"):
        assert (registry.repo / MODEL / name).read_text() == (registry.repo / MODEL / "2" / name).read_text()
    assert "preferred_batch_size: [ 2 ]" in (registry.repo / MODEL / "config.pbtxt").read_text()


def test_audit_keeps_who_and_why(registry: Registry, bundle: Path) -> None:
    publish(bundle, registry, who="ada", why="fewer misheard sizes")

    with registry.catalogue.read() as c:
        said = "select who, what, subject, why from registry_audit where what != 'bind'"
        row = c.exec_driver_sql(said).one()
    assert tuple(row) == ("ada", "publish", f"{MODEL} 1", "fewer misheard sizes")


STEPS = {
    "first copy": (staging, "_copy", 1),
    "second copy": (staging, "_copy", 2),
    "signature": (staging, "sign", 1),
    "inspection": (publishing, "inspecting", 1),
    "sync": (os, "fsync", 2),
    "rename": (Path, "rename", 1),
    "row": (catalogue, "record_version", 1),
}


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=["disk full", "interrupt"]
)
@pytest.mark.parametrize("step", STEPS)
def test_interrupted_publish_leaves_nothing(
    registry: Registry, bundle: Path, monkeypatch: pytest.MonkeyPatch, step: str, failure: BaseException
) -> None:
    publish(bundle, registry)
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
            publish(bundle, registry)

    assert len(calls) >= at
    if isinstance(failure, OSError):
        assert "No space left" in str(caught.value)
    assert {path.name for path in (registry.repo / MODEL).iterdir()} == {"1", "config.pbtxt", "configs"}
    check_sound(registry, [1])
    assert publish(bundle, registry) == 2


def test_first_publish_that_fails_leaves_no_model(registry: Registry, bundle: Path) -> None:
    (bundle / "notes.bin").write_bytes(b"\x00\x01")
    write_bundle(bundle, read_manifest(bundle))

    with pytest.raises(ParleyError, match=r"notes\.bin"):
        publish(bundle, registry)

    assert not (registry.repo / MODEL).exists()


def test_remnant_of_a_killed_publisher_is_swept_and_never_a_version(registry: Registry, bundle: Path) -> None:
    remnant = registry.repo / MODEL / ".staging-x1"
    remnant.mkdir(parents=True)
    (remnant / "model.onnx").write_bytes(b"half")
    assert version_numbers(registry.repo / MODEL) == [] and unsettled_models(registry) == [MODEL]

    assert publish(bundle, registry) == 1

    assert not remnant.exists()


def test_altered_bundle_is_refused_by_name(registry: Registry, bundle: Path) -> None:
    damage(bundle / "model.onnx")

    with pytest.raises(ParleyError, match=r"model\.onnx: file is altered"):
        publish(bundle, registry)

    assert not (registry.repo / MODEL).exists()


def test_file_beside_those_of_the_manifest_is_refused(registry: Registry, bundle: Path) -> None:
    (bundle / "__pycache__").mkdir()
    (bundle / "__pycache__" / "model.pyc").write_bytes(b"")

    with pytest.raises(ParleyError, match=r"model\.pyc: file is not listed"):
        publish(bundle, registry)


def test_link_in_a_bundle_is_refused(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    (bundle / "labels.json").rename(tmp_path / "labels.json")
    (bundle / "labels.json").symlink_to(tmp_path / "labels.json")

    with pytest.raises(ParleyError, match=r"labels\.json: a symlink"):
        publish(bundle, registry)


def test_published_version_can_be_published_again_elsewhere(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    """What publishing writes itself is written anew, by the site that publishes."""
    publish(bundle, registry)
    with registry_at(tmp_path / "other") as other:
        publish(bundle, other)

        number = publish(registry.repo / MODEL / "1", other)

        check_sound(other, [1, 2])
    assert number == 2


def test_version_with_other_tensors_is_refused_before_it_is_visible(registry: Registry, bundle: Path) -> None:
    publish(bundle, registry)

    other = read_manifest(bundle)
    rows = TensorSpec(name="x", dtype="FP32", dims=[-1, 7])
    write_bundle(bundle, other.model_copy(update={"inputs": [rows, other.inputs[1]]}))

    with pytest.raises(ParleyError, match=r"input 'x' as FP32 \[ -1, 7 \], version 1 as FP32 \[ -1 \]"):
        publish(bundle, registry)

    check_sound(registry, [1])


def test_version_of_other_sizes_leaves_the_files_beside_the_versions(
    registry: Registry, bundle: Path, tmp_path: Path
) -> None:
    publish(bundle, registry)
    before = (registry.repo / MODEL / "config.pbtxt").read_bytes()

    numbers = [publish(scaler_bundle(tmp_path / f"b{n}", 2, width=width), registry) for n, width in enumerate((7, 7))]

    names = [read_manifest(registry.repo / MODEL / str(number)).served_as for number in numbers]
    assert numbers == [2, 3] and names[0] == names[1] != MODEL
    check_sound(registry, [1, 2, 3])
    assert (registry.repo / MODEL / "config.pbtxt").read_bytes() == before
    assert unsettled_models(registry) == []
    assert publish(bundle, registry) == 4
    assert read_manifest(registry.repo / MODEL / "4").served_as == MODEL, "back among those of its sizes"


def test_unfit_model_name_cannot_leave_the_repository(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    write_bundle(bundle, read_manifest(bundle).model_copy(update={"model": "../elsewhere"}))

    with pytest.raises(ParleyError, match="no model name"):
        publish(bundle, registry)

    assert not (tmp_path / "elsewhere").exists()


def test_publishers_at_once_get_different_numbers(registry: Registry, bundle: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        numbers = list(pool.map(lambda _: publish(bundle, registry), range(4)))

    assert sorted(numbers) == [1, 2, 3, 4]
    check_sound(registry, [1, 2, 3, 4])


def test_damaged_older_version_does_not_stop_a_new_one(registry: Registry, bundle: Path) -> None:
    publish(bundle, registry)
    damage(registry.repo / MODEL / "1" / "model.onnx")

    assert publish(bundle, registry) == 2


# --- lineage --------------------------------------------------------------------------------------------------------


def test_bundle_that_lists_its_own_dataset_is_published(registry: Registry, bundle: Path) -> None:
    publish(add_utterances(bundle), registry)

    with registry.catalogue.read() as c:
        assert [row.number for row in catalogue.versions(c, model=MODEL)] == [1]
        count = c.exec_driver_sql("select count(*) from dataset_utterances").scalar_one()
    assert count == 3


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"listed": "cd" * 32}, "lists dataset cdcdcdcdcdcd, the manifest names abababababab"),
        ({"bot": "bank"}, "learned from a dataset of bot bank, is for barista"),
        ({"dataset": "", "listed": "cd" * 32}, "the manifest names none"),
    ],
    ids=["dataset", "bot", "unnamed"],
)
def test_version_from_the_wrong_dataset_is_refused(
    registry: Registry, bundle: Path, wrong: dict[str, str], reason: str
) -> None:
    add_utterances(bundle, **wrong)

    with pytest.raises(ParleyError, match=reason) as caught:
        publish(bundle, registry)

    assert caught.value.where == str(bundle / "utterances.tsv")
    assert not (registry.repo / MODEL).exists()


def test_version_that_hides_what_it_learned_from_is_refused(registry: Registry, bundle: Path) -> None:
    add_utterances(bundle)
    (bundle / "utterances.tsv").unlink()
    write_bundle(bundle, read_manifest(bundle))

    with pytest.raises(ParleyError, match="does not say which utterances"):
        publish(bundle, registry)


# --- mending --------------------------------------------------------------------------------------------------------
