"""The NLG's benchmark: peers' lines beside their meanings, figures, paired differences, and the whole on a tiny run."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")

from benchmarks.quality.nlg import against, aligned, main, merged
from models.nlg.corpora import by_meaning, parse_meaning, read_references
from models.nlg.fit import FitConfig, fit
from parley.errors import ParleyError

TINY = FitConfig(Path("devel.csv"), fold="all", epochs=1, batch=16, width=16, layers=1, heads=2, buffer=40, least=1)
ONE, TWO = parse_meaning("name[A], food[French]"), parse_meaning("name[A], food[French], food[Indian]")
THREE = parse_meaning("name[A], food[Indian]")


def test_meanings_that_keep_their_last_values_are_merged_with_their_references() -> None:
    assert merged({ONE: ["a"], TWO: ["b"], THREE: ["c", "d"]}) == {ONE: ["a"], THREE: ["b", "c", "d"]}


def test_lines_are_aligned_by_their_number_or_refused() -> None:
    references = {ONE: ["a"], TWO: ["b"], THREE: ["c"]}
    assert aligned(["1", "2", "3"], references, "x") is references
    assert list(aligned(["1", "2"], references, "x")) == [ONE, THREE]
    with pytest.raises(ParleyError, match="1 lines for 3 meanings"):
        aligned(["1"], references, "x")


def test_a_system_against_itself_has_no_difference_and_a_better_one_is_above() -> None:
    references = {parse_meaning(f"name[N{i}]"): [f"this is the place number {i} of them all"] for i in range(30)}
    right = [texts[0] for texts in references.values()]
    wrong = [text.replace("place", "spot") for text in right]
    same = against([right], [right], references)
    assert (same["bleu_difference"], same["interval"], same["share_of_draws_not_below"]) == (0.0, [0.0, 0.0], 1.0)
    better = against([right, right], [wrong], references)
    assert better["bleu_difference"] > 0 and better["interval"][0] > 0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rows = []
    for name in ("Cotto", "Strada", "Zizzi", "Aromi", "Cocum", "Clowns"):
        for food in ("French", "Indian"):
            mr = f"name[{name}], food[{food}]"
            rows += [(mr, f"{name} serves {food} food."), (mr, f"There is {food} food at {name}.")]
    for file, part in (("devel", rows), ("test", rows[:8])):
        with (tmp_path / f"{file}.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows([("mr", "ref"), *part])
    (tmp_path / "peer_outputs").mkdir()
    lines = [texts[0] for texts in by_meaning(read_references(tmp_path / "test.csv")).values()]
    (tmp_path / "peer_outputs" / "perfect.run0.txt").write_text("\n".join(lines) + "\n")
    (tmp_path / "peer_outputs" / "poor.run0.txt").write_text("\n".join("Cotto." for _ in lines) + "\n")
    return tmp_path


def test_the_report_holds_ours_the_peers_and_the_speed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    fit(replace(TINY, corpus=data / "devel.csv"), data / "run")
    arguments = ["--data", str(data), "--runs", str(data / "run"), "--split", "test", "--out", str(data / "out")]
    assert main(arguments) == 0
    report = json.loads((data / "out" / "nlg.json").read_text())
    systems = report["systems"]
    assert systems["perfect"]["mean"]["bleu"] == 100.0
    assert systems["poor"]["mean"]["slot_error_rate"] > 0.5
    assert systems["Parley"]["mean"]["slot_error_rate"] == 0.0
    assert systems["Parley"]["serving"][0]["tokens"] > 0
    assert report["against"]["perfect"]["bleu_difference"] < 0
    assert "tokens/s" in (data / "out" / "nlg.md").read_text()
    assert (data / "out" / "nlg.png").stat().st_size > 1000
