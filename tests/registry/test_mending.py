"""What a killed command left is mended: versions are adopted, pinned, or set aside; nothing unproven is."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_models import damage, publish_all, registry_at, scaler_bundle
from sound_registry import MODEL, check_sound, known

from parley.errors import ParleyError
from registry.site import Registry
from registry.versions import publish as publishing
from registry.versions.mending import mend_model, put_back, set_aside, unsettled_models
from registry.versions.publish import publish
from registry.versions.signing import read_pin


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with registry_at(tmp_path) as opened:
        yield opened


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return scaler_bundle(tmp_path / "bundle", 2)


def test_version_without_a_row_is_adopted(registry: Registry, bundle: Path, tmp_path: Path) -> None:
    """A clone of a repository, whose publisher is trusted, on a site that knows nothing yet."""
    publish(bundle, registry)
    with registry_at(tmp_path / "clone") as clone:
        shutil.copytree(registry.repo / MODEL, clone.repo / MODEL)
        shutil.copytree(registry.site.state_dir / "keys", tmp_path / "clone" / "keys")
        (tmp_path / "clone" / "keys" / "signing.pem").unlink()
        assert unsettled_models(clone) == [MODEL]

        mended = mend_model(clone, MODEL)

        assert mended == [f"took {MODEL} version 1 into the catalogue"]
        check_sound(clone, [1])


def test_version_nobody_trusted_signed_stays_where_it_is_unknown_and_its_number_is_not_reused(
    registry: Registry, bundle: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = publish_all(tmp_path / "other", bundle)
    shutil.copytree(other.repo_dir / MODEL / "1", registry.repo / MODEL / "1")

    mended = mend_model(registry, MODEL)

    assert mended == [] and "does not trust" in caplog.text
    assert known(registry) == [] and read_pin(registry.site, MODEL, 1) is None
    assert (registry.repo / MODEL / "1" / "model.onnx").is_file()
    assert publish(bundle, registry) == 2
    shutil.copytree(other.state_dir / "keys", registry.site.trusted_keys_dir)
    assert mend_model(registry, MODEL) == [f"took {MODEL} version 1 into the catalogue"]


@pytest.mark.parametrize("how", ["missing", "unsigned", "added", "linked", "closed", "no key", "bad manifest"])
def test_what_cannot_be_verified_is_never_set_aside(
    registry: Registry, bundle: Path, tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(bundle, registry)
    lose_row(registry)
    version = registry.repo / MODEL / "1"
    if how == "missing":  # a copy that has not come to its end
        (version / "labels.json").unlink()
    elif how == "unsigned":
        (version / "model.sig").unlink()
    elif how == "added":
        (version / ".DS_Store").touch()
    elif how == "linked":
        os.link(version / "labels.json", tmp_path / "link")
    elif how == "closed":
        monkeypatch.setattr("registry.versions.mending.verify_version", _refuse_reading)
    elif how == "no key":
        (registry.site.state_dir / "keys" / "signing.pub.pem").unlink()
    else:
        monkeypatch.setattr("registry.versions.mending.verify_version", lambda *a, **n: {"family": "none"})

    mend_model(registry, MODEL)

    assert version.is_dir() and known(registry) == []


def _refuse_reading(*arguments: object, **named: object) -> None:
    raise PermissionError(errno.EACCES, "Permission denied", "model.onnx")


def lose_row(registry: Registry) -> None:
    with registry.catalogue.write() as c:
        for table in ("manifests", "versions"):
            c.exec_driver_sql(f"DELETE FROM {table}")
    shutil.rmtree(registry.site.state_dir / "pins")


def test_a_version_proven_to_be_altered_is_set_aside_aloud_and_put_back_by_a_command(
    registry: Registry, bundle: Path, caplog: pytest.LogCaptureFixture
) -> None:
    publish(bundle, registry)
    lose_row(registry)
    weights = registry.repo / MODEL / "1" / "model.onnx"
    whole = weights.read_bytes()
    damage(weights)

    (words,) = mend_model(registry, MODEL)

    assert "altered" in words and f"parley catalogue restore {MODEL} 1" in caplog.text
    assert not weights.exists() and publish(bundle, registry) == 2
    assert [(model, number) for model, number, _ in set_aside(registry.repo)] == [(MODEL, 1)]

    assert "does not verify" in put_back(registry, MODEL, 1)
    assert mend_model(registry, MODEL) == [], "a person's decision is not undone"
    assert weights.is_file() and known(registry) == [2]

    weights.write_bytes(whole)
    assert mend_model(registry, MODEL) == [f"took {MODEL} version 1 into the catalogue"]
    with pytest.raises(ParleyError, match="nothing was set aside"):
        put_back(registry, MODEL, 1)


def test_version_put_back_after_the_catalogue_was_lost_must_match_its_pin(
    registry: Registry, bundle: Path, tmp_path: Path
) -> None:
    publish(bundle, registry)
    other = publish_all(tmp_path / "other", scaler_bundle(tmp_path / "b3", 3))
    shutil.copytree(other.state_dir / "keys", registry.site.trusted_keys_dir)
    (registry.site.trusted_keys_dir / "signing.pem").unlink()
    shutil.rmtree(registry.repo / MODEL / "1")
    shutil.copytree(other.repo_dir / MODEL / "1", registry.repo / MODEL / "1")
    registry.catalogue.close()
    (registry.site.state_dir / "parley.db").unlink()

    with registry_at(tmp_path) as again:
        assert known(again) == [], "the catalogue and this site's state may be wrong: nobody can tell"


def test_missing_pin_is_written_again_only_for_what_was_recorded(registry: Registry, bundle: Path) -> None:
    for _ in range(2):
        publish(bundle, registry)
    for number in (1, 2):
        (registry.site.state_dir / "pins" / MODEL / str(number)).unlink()
    damage(registry.repo / MODEL / "2" / "model.onnx")

    mended = mend_model(registry, MODEL)

    assert mended == [f"pinned {MODEL} version 1"]
    assert read_pin(registry.site, MODEL, 2) is None


def test_mending_leaves_a_publisher_alone(registry: Registry, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mended: list[list[str]] = []
    original = publishing.make_durable

    def meanwhile(directory: Path) -> None:
        mended.append(mend_model(registry, MODEL))
        original(directory)

    monkeypatch.setattr(publishing, "make_durable", meanwhile)

    assert publish(bundle, registry) == 1
    assert mended == [[]]
