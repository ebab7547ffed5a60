"""`parley bench quality`: each family in a process of its own, reasons for what was not measured, an honest status."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from benchmarks.quality import __main__ as bench
from benchmarks.quality.families import FAMILIES, Family, Place, chosen
from parley.errors import ParleyError

GOOD = """
import pathlib, sys
out = pathlib.Path(sys.argv[sys.argv.index("--out") + 1])
(out / "slu.json").write_text('{"command": "measured it"}')
(out / "slu.md").write_text("| a |\\n|---|\\n| 1 |\\n")
print("a table"); print("slu: 3 of 9", file=sys.stderr)
"""
BAD = """
import sys
print("the log", flush=True)
sys.exit("parley: the run is empty - train it")
"""


@pytest.fixture
def families(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Family]:
    """One that measures, one that fails, one that lacks its data, under names of the real ones."""
    folder = tmp_path / "modules"
    folder.mkdir()
    for name, text in (("good_family", GOOD), ("bad_family", BAD)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", str(folder))

    def needs(place: Place) -> list[list[str]]:
        return [["good_family", str(place.data_at("nowhere"))]]

    return {
        "slu": Family("slu", "Callers", "good_family", lambda place: [["good_family", "--out", str(place.out)]]),
        "nlu": Family("nlu", "Meanings", "bad_family", lambda place: [["bad_family"]]),
        "tts": Family("tts", "Voices", "good_family", needs),
        "nlg": Family("nlg", "Replies", "no_such_module", lambda place: []),
    }


def _measure(families: dict[str, Family], names: str, out: Path) -> dict[str, bench.Outcome]:
    args = argparse.Namespace(data=out.parent, runs=out.parent, out=out, champion=False)
    return bench.measure(
        [families[name] for name in names.split()], args, "parley bench quality", tuple(families.values())
    )


def test_a_failing_family_does_not_stop_the_others(families: dict[str, Family], tmp_path: Path) -> None:
    outcomes = _measure(families, "nlu tts nlg slu", tmp_path / "out")
    assert {name: one.state for name, one in outcomes.items()} == {
        "nlu": "failed", "tts": "skipped", "nlg": "skipped", "slu": "measured"
    }  # fmt: skip
    assert outcomes["nlu"].reason.startswith("the run is empty - train it (exit status 1;")
    assert "no such data" in outcomes["tts"].reason and "nowhere" in outcomes["tts"].reason
    assert "no_such_module" in outcomes["nlg"].reason
    assert "the log" in (tmp_path / "out" / "nlu" / "nlu.log").read_text()


def test_the_page_holds_what_an_earlier_command_measured(families: dict[str, Family], tmp_path: Path) -> None:
    _measure(families, "slu", tmp_path / "out")
    _measure(families, "nlu", tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text()
    assert "measured it" in text and "the run is empty" in text


def test_a_skipped_family_keeps_what_was_measured_before(families: dict[str, Family], tmp_path: Path) -> None:
    _measure(families, "slu", tmp_path)
    bench.remember(tmp_path, {"slu": bench.Outcome("skipped", "the data is gone")}, "")
    assert json.loads((tmp_path / "quality.json").read_text())["families"]["slu"]["state"] == "measured"


@pytest.mark.parametrize(
    ("states", "named", "status"),
    [
        (["measured", "measured"], True, 0),
        (["measured", "skipped"], False, 0),
        (["measured", "skipped"], True, 1),
        (["measured", "failed"], False, 1),
        (["failed"], False, 1),
    ],
)
def test_the_exit_status_says_whether_everything_asked_for_was_measured(
    states: list[str], named: bool, status: int
) -> None:
    outcomes = {str(n): bench.Outcome(state, "why") for n, state in enumerate(states)}
    assert bench.status_of(outcomes, named) == status


def test_measuring_nothing_is_an_error_and_says_what_is_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ParleyError, match="nothing could be measured"):
        bench.main(["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--only", "nlu"])
    assert f"nlu: skipped, {tmp_path / 'nlu'}: no such data" in capsys.readouterr().out


def test_an_unknown_family_is_refused() -> None:
    with pytest.raises(ParleyError, match="unknown family 'video'"):
        chosen("nlu,video")


def test_every_family_names_what_it_lacks(tmp_path: Path) -> None:
    for family in (family for family in FAMILIES if family.name != "speed"):  # falls back on the release
        with pytest.raises(ParleyError):
            family.steps(Place(tmp_path, tmp_path, tmp_path / family.name))


def test_callers_are_judged_by_the_runs_that_never_heard_them(tmp_path: Path) -> None:
    for name in ("barista/manifest.jsonl", "barista/noise_kitchen.flac"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    place = Place(tmp_path, tmp_path / "runs", tmp_path / "out")
    with pytest.raises(ParleyError, match="no such run"):
        FAMILIES[0].steps(place)
    for fold in (0, 1):
        (tmp_path / "runs" / f"fold{fold}").mkdir(parents=True)
    (step,) = FAMILIES[0].steps(place)
    assert step[step.index("--runs") + 1 :] == [str(tmp_path / "runs" / f"fold{fold}") for fold in (0, 1)]
    (step,) = FAMILIES[0].steps(Place(tmp_path, tmp_path, tmp_path, champion=True))
    assert "--runs" not in step


def test_the_small_encoders_runs_have_a_report_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "nlu").mkdir()
    (tmp_path / "runs" / "nlu-pretrained" / "banking77-1" / "best").mkdir(parents=True)
    (family,) = chosen("nlu-pretrained")
    (step,) = family.steps(Place(tmp_path, tmp_path / "runs", tmp_path / "out"))
    assert step[-2:] == ["--name", "nlu-pretrained"] and str(tmp_path / "runs" / "nlu-pretrained") in step
