"""STT and NLU together on recordings: the figures are right, and the command runs on the starter versions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from manifests import recording

from calling.synthetic import SAID, synthetic_caller
from judging.slu import Heard, clustered, figures, main, slot_counts
from parley.bot.slots import spot
from parley.bot.spec import SlotSpec
from parley.errors import ParleyError
from parley.language import language_of


def test_a_command_counts_only_when_intent_and_every_slot_are_right() -> None:
    said = recording("a", "order", text="a large latte", slots={"size": "large", "drink": "latte"})
    right = Heard("a large latte", "order", {"size": "large", "drink": "latte"}, 1)
    wrong_value = Heard("a small latte", "order", {"size": "small", "drink": "latte"}, 1)
    one_too_many = Heard("a large latte", "order", {"size": "large", "drink": "latte", "milk": "cream"}, 1)
    wrong_intent = Heard("a large latte", "inform", {"size": "large", "drink": "latte"}, 1)

    report = figures([said] * 4, [right, wrong_value, one_too_many, wrong_intent])

    assert report["command_acceptance"] == 0.25
    assert report["wer"] == pytest.approx(1 / 12, abs=1e-4)
    assert report["intent_accuracy"] == 0.75


def test_slot_f1_counts_pairs() -> None:
    assert slot_counts({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == (2, 4)
    assert clustered([slot_counts({}, {})], ["ann"], empty=1.0) == (1.0, (1.0, 1.0))


def test_the_intervals_are_over_speakers_not_over_recordings() -> None:
    one_bad_speaker = [(1, 1)] * 30 + [(0, 1)] * 10
    found, spread = clustered(one_bad_speaker, ["a"] * 10 + ["b"] * 10 + ["c"] * 10 + ["d"] * 10, empty=0.0)
    _, alone = clustered(one_bad_speaker, [str(n) for n in range(40)], empty=0.0)

    assert found == 0.75
    assert spread[0] < alone[0] <= 0.75 <= alone[1] < spread[1]
    assert clustered([(1, 1)] * 5, list("abcde"), empty=0.0) == (1.0, (1.0, 1.0))


def test_every_figure_has_its_interval() -> None:
    said = [recording(who, "order", text="a latte", slots={"drink": "latte"}) for who in "abcdefgh"]
    heard = [Heard("a latte", "order", {"drink": "latte"}, 1)] * 7 + [Heard("latte", "", {}, 1)]

    report = figures(said, heard)

    for name in ("command_acceptance", "wer", "intent_accuracy", "slot_f1"):
        low, high = report[f"{name}_interval"]
        assert low < report[name] < high, name
    assert report["wer"] == pytest.approx(1 / 16, abs=1e-4)
    assert report["slot_f1"] == pytest.approx(14 / 15, abs=1e-4)


def test_the_command_scores_a_manifest_with_the_starter_versions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoken = synthetic_caller(tmp_path)[0]
    row = {
        "audio": spoken.name, "speaker": "synthetic", "text": SAID[0], "intent": "orderDrink",
        "slots": {"coffeeDrink": "latte", "size": "medium", "milkAmount": "skim milk"},
    }  # fmt: skip
    manifest, out = tmp_path / "m.jsonl", tmp_path / "slu.json"
    manifest.write_text(json.dumps(row) + "\n")

    assert main(["--manifest", str(manifest), "--codec", "ulaw", "--release", "1", "--json", str(out)]) == 0

    report = json.loads(out.read_text())
    assert report["command_acceptance"] == 1.0 and report["misses"] == [] and report["wer"] == 0.0
    assert report["release"]["number"] == 1
    assert "command_acceptance 1.0 (95 % by speaker: 1.0 to 1.0)" in capsys.readouterr().out
    with pytest.raises(ParleyError, match="expected a release, got 'newest'"):
        main(["--manifest", str(manifest), "--release", "newest"])


def test_no_manifest_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="no such manifest"):
        main(["--manifest", str(tmp_path / "none.jsonl")])


def test_spotting_takes_no_part_of_a_number_for_the_number() -> None:
    slots = {"number": SlotSpec(type="digits", digits_min=2, digits_max=3)}

    assert spot(slots, "it is one two three please", language_of("en")) == {"number": "123"}
    assert spot(slots, "it is one two three four please", language_of("en")) == {}
