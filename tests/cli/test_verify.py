"""`parley verify` says which file differs, and changes nothing."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from serving_models import damage, publish_all, scaler_bundle

from cli.verify import main
from parley.settings import Settings

MODEL = "barista_nlu"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Two versions, in the site that the environment names."""
    published = publish_all(tmp_path, scaler_bundle(tmp_path / "b2", 2), scaler_bundle(tmp_path / "b3", 3))
    for field in ("repo_dir", "state_dir", "bots_dir", "trusted_keys_dir"):
        monkeypatch.setenv(f"PARLEY_{field.upper()}", str(getattr(published, field)))
    return published


def test_sound_repository_is_status_0(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "2 versions verified: signatures, files, identity, pins, catalogue" in capsys.readouterr().out


def alter(site: Settings) -> str:
    damage(site.repo_dir / MODEL / "2" / "model.onnx")
    return f"{MODEL}/2/model.onnx: file is altered"


def remove_file(site: Settings) -> str:
    (site.repo_dir / MODEL / "1" / "labels.json").unlink()
    return f"{MODEL}/1/labels.json: file is missing"


def add_file(site: Settings) -> str:
    (site.repo_dir / MODEL / "1" / "extra.txt").write_text("x")
    return f"{MODEL}/1/extra.txt: file is not signed"


def remove_version(site: Settings) -> str:
    shutil.rmtree(site.repo_dir / MODEL / "1")
    return f"{MODEL}/1: the files are missing"


def copy_by_hand(site: Settings) -> str:
    shutil.copytree(site.repo_dir / MODEL / "1", site.repo_dir / MODEL / "3")
    return f"is {MODEL} version 1, not {MODEL} version 3"


def swap_versions(site: Settings) -> str:
    (site.repo_dir / MODEL / "1" / "model.sig").unlink()
    shutil.copyfile(site.repo_dir / MODEL / "2" / "model.sig", site.repo_dir / MODEL / "1" / "model.sig")
    return f"{MODEL}/1/"


def lose_pin(site: Settings) -> str:
    (site.state_dir / "pins" / MODEL / "2").unlink()
    return f"{MODEL}/2: has no pin"


def put_other_version_under_the_pin(site: Settings) -> str:
    (site.state_dir / "pins" / MODEL / "2").write_text("0" * 64 + "\n")
    return "not the version this site accepted"


@pytest.mark.parametrize(
    "difference",
    [
        alter,
        remove_file,
        add_file,
        remove_version,
        copy_by_hand,
        swap_versions,
        lose_pin,
        put_other_version_under_the_pin,
    ],
)
def test_difference_is_status_1_and_named(
    site: Settings, capsys: pytest.CaptureFixture[str], difference: Callable[[Settings], str]
) -> None:
    says = difference(site)
    before = sorted(site.repo_dir.rglob("*"))

    status = main([])

    assert status == 1
    assert says in capsys.readouterr().out
    assert sorted(site.repo_dir.rglob("*")) == before, "nothing is mended or set aside"


def test_signed_version_the_catalogue_has_not_met_is_no_difference(
    site: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fresh clone."""
    shutil.rmtree(site.state_dir / "pins")
    (site.state_dir / "parley.db").unlink()

    assert main([]) == 0
    assert "not in the catalogue yet" in capsys.readouterr().err


def test_another_repository_is_checked_without_this_sites_numbers(
    site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = publish_all(tmp_path / "other", scaler_bundle(tmp_path / "b4", 4))
    site.trusted_keys_dir.mkdir()
    shutil.copyfile(other.state_dir / "keys" / "signing.pub.pem", site.trusted_keys_dir / "other.pem")
    arguments = ["--repository", str(other.repo_dir)]

    assert main(arguments) == 0
    (site.trusted_keys_dir / "other.pem").unlink()
    assert main(arguments) == 1
    assert "does not trust" in capsys.readouterr().out


def test_what_was_set_aside_is_mentioned(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    (site.repo_dir / MODEL / ".refused-3-1").mkdir()

    assert main([]) == 0
    assert ".refused-3-1: was set aside" in capsys.readouterr().err
