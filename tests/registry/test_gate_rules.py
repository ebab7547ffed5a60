"""gate.yaml: complaints name the key, impossible rules are refused; the golden sets are apart from training."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from judging.golden import read_golden
from models.nlu.data import make_data
from parley.bot import load_bot
from parley.errors import ParleyError
from registry.gating.gate_rules import GOLDEN, read_rules

BOTS = Path(__file__).parents[2] / "bots"


def _write(tmp_path: Path, text: str) -> Path:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "gate.yaml").write_text(text)
    return tmp_path


@pytest.mark.parametrize("bot", ["barista", "bank", "digits"])
def test_the_tracked_rules_are_valid_and_hold_every_released_stage_to_a_budget(bot: str) -> None:
    rules = read_rules(BOTS, bot)

    assert rules.alpha == 0.025 and {"nlu", "nlg"} <= rules.budgets.keys()
    assert {"condition", "intent"} <= {rule.field for rule in rules.slices}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("alhpa: 0.1", "alhpa: Extra inputs"),
        ("alpha: 0.6", "alpha: Input should be less than 0.5"),
        ("min_speakers: 5", "min_speakers: no test can reach alpha 0.025 with fewer than 6"),
        ("slices: [{field: group, alpha: 0.01}]", "slices.group.min_speakers: no test can reach alpha 0.01"),
        ("cheaper: {}", "cheaper: name latency, memory or both"),
        ("budgets: {tss: {p95_ms: 1}}", "budgets.tss"),
        ("margin: nan", "margin: Input should be a finite number"),
        ("margin: 0.02\nmargin: 0.9", "margin"),
        ("alpha: 0.1\nmargin: .inf", "gate.yaml:2"),
        ("margin: &a [*a]", "gate.yaml:1"),
        ("a: [", "gate.yaml:1"),
        ("- 1", "valid dictionary"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ParleyError, match="gate.yaml") as error:
        read_rules(_write(tmp_path, text), "b")
    assert complaint in str(error.value)


def test_a_bot_without_a_gate_cannot_be_judged(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="the bot has no gate"):
        read_rules(tmp_path, "b")


def test_other_rules_have_another_digest(tmp_path: Path) -> None:
    stricter = read_rules(_write(tmp_path, "min_effect: 0.02"), "b")

    assert stricter.digest != read_rules(BOTS, "barista").digest


@pytest.mark.parametrize("bot", ["barista", "bank", "digits"])
def test_no_golden_text_is_among_what_the_starters_learned(bot: str) -> None:
    golden = [item.given for item in read_golden(BOTS / bot / GOLDEN) if item.kind == "text"]
    data = make_data(load_bot(BOTS / bot), 7)
    learned = {sha256(row.text.encode()).hexdigest() for row in (*data.train, *data.valid)}

    assert len(golden) >= 30
    assert not [text for text in golden if sha256(text.encode()).hexdigest() in learned]
    # And the check can fail: what was learned is found by its digest.
    assert sha256(data.train[0].text.encode()).hexdigest() in learned


@pytest.mark.parametrize("bot", ["barista", "bank", "digits"])
def test_golden_items_name_what_the_bot_has(bot: str) -> None:
    spec = load_bot(BOTS / bot)
    for item in read_golden(BOTS / bot / GOLDEN):
        assert item.intent in ("", *spec.intents), item.id
        assert item.kind != "act" or item.given in spec.replies, item.id
        for slot, value in item.slots.items():
            values = spec.slots[slot].values if slot in spec.slots else {}
            assert not values or value in values, (item.id, value)
    heard = {item.intent for item in read_golden(BOTS / bot / GOLDEN) if item.kind == "text"}
    assert set(spec.intents) <= heard, "every intent has a golden item"


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "a"}',
        '{"id": "a", "text": "x", "slots": {}}',
        '{"id": 1, "act": "x", "slots": {}}',
        "{",
        '{"id": "a", "act": "x", "slots": {"size": 8}}',
        '{"id": "a", "act": "x", "text": "y", "slots": {}}',
    ],
)
def test_a_golden_line_that_is_none_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text('{"id": "ok", "act": "greet", "slots": {}}\n' + line + "\n")

    with pytest.raises(ParleyError, match="golden.jsonl:2: (expected id|not JSON)"):
        read_golden(file)


def test_a_golden_id_stands_once(tmp_path: Path) -> None:
    file = tmp_path / "golden.jsonl"
    file.write_text('{"id": "ok", "act": "greet", "slots": {}}\n' * 2)

    with pytest.raises(ParleyError, match="golden.jsonl:2: the id 'ok' stands twice"):
        read_golden(file)
