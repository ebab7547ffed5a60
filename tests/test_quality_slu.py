"""The quality benchmark of STT and NLU: conditions, the peer's grammar, speech outside the domain, the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.quality import slu
from benchmarks.quality.conditions import CLEAN, GRID, Condition
from benchmarks.quality.outside import digit_strings
from benchmarks.quality.report import markdown
from benchmarks.quality.sphinx import jsgf
from benchmarks.slu import Heard, figures
from models.channel import active_rms
from parley.audio import SAMPLE_RATE
from parley.bot import load_bot
from parley.cli.demo import SAID, synthetic_caller
from parley.errors import ParleyError

_TONE = (8000 * np.sin(np.arange(SAMPLE_RATE) * 0.3)).astype(np.int16)


def test_a_condition_gives_every_system_the_same_samples() -> None:
    noise = np.random.default_rng(1).standard_normal(SAMPLE_RATE * 3).astype(np.float32)
    noisy = Condition(snr_db=6.0, loss=0.1, gain_db=-20.0)

    first, again = (noisy.apply(_TONE, noise, "a.flac") for _ in range(2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, noisy.apply(_TONE, noise, "b.flac"))
    assert active_rms(Condition(gain_db=-20.0).apply(_TONE, None, "a")) == pytest.approx(
        active_rms(_TONE) / 10, rel=0.02
    )


def test_the_grid_names_every_condition_once() -> None:
    names = [c.name for c in GRID]

    assert len(set(names)) == len(names) and CLEAN.name == "clean" and "SNR 6 dB" in names


def test_understanding_anything_outside_the_domain_is_a_false_acceptance() -> None:
    order = {"speaker": "a", "text": "a latte", "intent": "orderDrink", "slots": {"coffeeDrink": "latte"}}
    digits = {"speaker": "d", "text": "one two", "intent": "", "slots": {}}
    right, nothing = Heard("a latte", "orderDrink", {"coffeeDrink": "latte"}, 1), Heard("", "", {}, 0)
    fooled = Heard("yes", "affirm", {}, 1)

    report = figures([order, digits, digits], [right, nothing, fooled])

    assert report["command_acceptance"] == 1.0
    assert (report["outside"], report["false_accepts"], report["false_orders"]) == (2, 0.5, 0.0)


def test_the_peers_grammar_is_the_bots() -> None:
    grammar = jsgf(load_bot("barista"))

    assert grammar.startswith("#JSGF V1.0;")
    assert "<slot_coffeeDrink> = coffee | iced coffee" in grammar
    assert "[<slot_size> | <slot_numberOfShots> |" in grammar


def test_digit_strings_need_digits(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="no digits"):
        next(digit_strings(tmp_path, 1, 7))
    for digit in "12":
        soundfile.write(str(tmp_path / f"{digit}_ann_0.flac"), _TONE, SAMPLE_RATE)

    speaker, text, pcm = next(digit_strings(tmp_path, 1, 7))

    assert speaker == "digits:ann" and set(text.split()) <= {"one", "two"} and len(pcm) > 4 * SAMPLE_RATE


def test_a_report_of_the_starter_versions_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = synthetic_caller(tmp_path)[0]
    row = {
        "audio": spoken.name, "speaker": "synthetic", "text": SAID[0], "intent": "orderDrink",
        "slots": {"coffeeDrink": "latte", "size": "medium", "milkAmount": "skim milk"},
    }  # fmt: skip
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    command = ["--manifest", str(tmp_path / "m.jsonl"), "--systems", "heard,given", "--out", str(tmp_path / "out")]

    slu.main([*command, "--only", "clean;gain +20 dB"])
    report = json.loads((tmp_path / "out" / "slu.json").read_text())
    monkeypatch.setattr(slu, "measure", None)  # nothing is left to measure
    slu.main([*command, "--only", "clean"])

    assert report["results"]["heard"]["clean"]["command_acceptance"] == 1.0
    assert report["results"]["given"]["clean"]["by_speaker"] == {"synthetic": [1, 1]}
    assert (tmp_path / "out" / "slu.png").is_file() and "| clean | 100.0% |" in markdown(report)
