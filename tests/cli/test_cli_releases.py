"""`parley releases`, `promote` and `rollback` on a terminal: one line that says from, to and seq, or refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from release_site import add_versions, make_site, write_seed

from cli.main import run
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.settings import Settings
from registry.releasing.holds import hold
from registry.writing import open_for_writing


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = make_site(tmp_path)
    with open_for_writing(made) as registry:
        add_versions(registry, 2)
    write_seed(made, dict.fromkeys(FAMILIES, 1))
    for name in ("bots_dir", "repo_dir", "state_dir", "engine"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(made, name)))
    monkeypatch.setenv("PARLEY_USER", "ada")
    return made


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(words) == 0
    return capsys.readouterr().out


def test_a_release_is_made_promoted_and_rolled_back(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "releases").startswith("1  stt=1 nlu=1 nlg=1 tts=1")
    assert said(capsys, "releases", "create", "stt=2", "tts=2", "--why", "try").startswith(
        "release 2 of barista: stt=2 nlu=1 nlg=1 tts=2"
    )
    assert said(capsys, "promote", "2", "--force", "--why", "drill") == "barista: release 1 -> 2, seq 2, forced\n"
    assert said(capsys, "rollback", "--why", "worse") == "barista: release 2 -> 1, seq 3\n"
    assert said(capsys, "rollback", "--to", "2", "--bot", "barista") == "barista: release 1 -> 2, seq 4\n"

    shown = json.loads(said(capsys, "releases", "show", "2", "--json"))
    changes = json.loads(said(capsys, "releases", "--json", "history"))
    assert (shown["why"], shown["who"], shown["names"], shown["stages"]["stt"]["version"]) == (
        "try", "ada", ["champion"], 2,
    )  # fmt: skip
    assert [(m["what"], m["moved_to"], m["forced"], m["why"]) for m in changes] == [
        ("first", 1, False, "the bot's release.json"),
        ("promote", 2, True, "drill"),
        ("rollback", 1, False, "worse"),
        ("rollback", 2, False, ""),
    ]
    assert "rollback" in said(capsys, "releases", "history") and "champion" in said(capsys, "releases", "show", "2")


def test_a_dialogue_of_its_own_is_released(site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.yaml"
    own.write_text((site.bots_dir / "barista" / "bot.yaml").read_text() + "\n# mine\n")

    said(capsys, "releases", "create", "--dialogue", str(own))

    first, second = (json.loads(said(capsys, "releases", "show", n, "--json")) for n in "12")
    assert first["dialogue_digest"] != second["dialogue_digest"] and first["stages"] == second["stages"]
    own.write_text("name: barista\n")
    with pytest.raises(ParleyError, match="this key is required"):
        run(["releases", "create", "--dialogue", str(own)])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["promote"], "there is no candidate"),
        (["promote", "7"], "there is no release 7"),
        (["rollback"], "there is no previous champion"),
        (["releases", "create", "stt"], "names no version"),
        (["releases", "create", "stt=9"], "there is no version 9"),
        (["rollback", "--bot", "nobody"], "no such bot"),
    ],
)
def test_a_refusal_is_one_line_and_status_two(site: Settings, words: list[str], says: str) -> None:
    run(["releases"])  # seeds the bot

    done = subprocess.run([sys.executable, "-m", "cli.main", *words], capture_output=True, text=True, timeout=60)

    assert done.returncode == 2
    assert says in done.stderr and done.stderr.count("\n") == 1 and done.stdout == ""


def test_a_rollback_names_the_experiments_that_go_on(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    run(["releases", "create", "tts=2"])
    run(["promote", "2", "--force", "--why", "drill"])
    with open_for_writing(site) as registry, registry.catalogue.write() as c:
        hold(c, "experiment stt-2", [("barista_stt", 1)])
    capsys.readouterr()

    assert run(["rollback"]) == 0

    told = capsys.readouterr()
    assert told.out == "barista: release 2 -> 1, seq 3\n"
    assert "parley experiment stop stt-2" in told.err


def test_a_rollback_finds_its_releases_when_the_catalogue_was_lost(
    site: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    run(["releases", "create", "tts=2"])
    run(["promote", "2", "--force", "--why", "drill"])
    for path in site.state_dir.glob("parley.db*"):
        path.unlink()
    capsys.readouterr()

    assert said(capsys, "rollback").startswith("barista: release 2 -> 1, seq ")


def test_a_rollback_imports_nothing_heavy(site: Settings) -> None:
    run(["releases", "create", "tts=2"])
    run(["promote", "2", "--force", "--why", "drill"])
    code = (
        "import sys; from cli.main import run; run(['rollback']); "
        "print(*{'tritonclient', 'grpc', 'onnx', 'onnxruntime', 'numpy', 'ray', 'alembic', 'rich', 'fastapi'}"
        " & set(sys.modules), file=sys.stderr)"
    )

    # With a server that answers nothing has to be loaded first; here none runs, and the in-process engine is asked.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)

    assert done.stdout == "barista: release 2 -> 1, seq 3\n"
    assert done.stderr.split() in ([], ["numpy"])
