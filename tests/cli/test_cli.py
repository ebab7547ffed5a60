"""The ``parley`` command: verbs are found, mistakes are one line with exit status 2."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.main import run
from cli.verbs import VERBS
from parley.settings import Settings
from registry.writing import open_for_writing

ROOT = Path(__file__).parents[2]


def _parley(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "cli.main", *argv], capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("verb", [name for name, verb in VERBS.items() if not verb.kinds])
def test_every_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([verb, "--help"])
    assert not ended.value.code and "usage: parley" in capsys.readouterr().out


@pytest.mark.parametrize("family", ["stt", "nlu", "nlg", "tts"])
@pytest.mark.parametrize("verb", ["train", "export", "evaluate"])
def test_every_family_has_the_same_verbs(verb: str, family: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run([verb, family, "--help"])
    assert not ended.value.code and "usage:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["fly"], "unknown verb 'fly'"),
        (["train"], "expected a family"),
        (["train", "vision"], "expected a family, got vision"),
        (["export", "stt", "nowhere"], "not a run directory"),
        (["publish", "nowhere"], "no manifest.json"),
        (["dataset", "--bot", "nobody", "--out", "x"], "no bot 'nobody'"),
    ],
)
def test_a_mistake_is_one_line_and_status_two(argv: list[str], says: str) -> None:
    done = _parley(*argv)
    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr


def test_a_setting_of_the_wrong_kind_is_named() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "doctor"],
        capture_output=True, text=True, timeout=120, env={**os.environ, "PARLEY_PORT": "high"},
    )  # fmt: skip
    assert done.returncode == 2 and "PARLEY_PORT" in done.stderr


def test_serving_a_damaged_or_incomplete_release_is_refused_before_anything_starts(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    shutil.copytree(ROOT / "triton_repo", repo)
    with open_for_writing(Settings(repo_dir=repo, state_dir=tmp_path / "var")):
        pass  # a site that has served: its catalogue knows the versions, its bots have a release
    model = repo / "barista_tts" / "1" / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes()[:-1] + b"x")
    environment = {**os.environ, "PARLEY_REPO_DIR": str(repo), "PARLEY_STATE_DIR": str(tmp_path / "var")}

    def serve(bot: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cli.main", "serve", "--bot", bot, "--port", "0"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)

    altered, incomplete = serve("barista"), serve("bank")
    model.unlink()
    missing = serve("barista")

    assert "barista_tts/1/model.onnx: file is altered" in altered.stderr
    assert "barista_tts/1/model.onnx: file is missing" in missing.stderr
    assert "no version for stt, tts" in incomplete.stderr
    assert {altered.returncode, missing.returncode, incomplete.returncode} == {2}
    assert not (tmp_path / "var" / "triton.json").exists()
