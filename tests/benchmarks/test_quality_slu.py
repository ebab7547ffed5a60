"""The quality benchmark of STT and NLU: conditions, the peer's grammar, speech outside the domain, the report."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifests import recording

from benchmarks.quality import slu
from benchmarks.quality.ears import Ear, ear_for
from benchmarks.quality.outside import digit_strings
from benchmarks.quality.report import markdown
from benchmarks.quality.slu_errors import by_speaker_and_slot, error_analysis
from benchmarks.quality.sphinx import jsgf
from calling.synthetic import SAID, synthetic_caller
from judging.conditions import CLEAN, GRID, Condition
from judging.slu import Heard, figures, learned_from
from models.channel import active_rms
from models.splits import fold_of, split_of
from models.stored_audio import recording_digests
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import load_bot
from parley.bundle import read_manifest
from parley.errors import ParleyError
from parley.recordings import Recording
from parley.runs import Run
from parley.settings import settings
from parley.utterances import read_utterances, write_utterances
from registry.reading import release_of
from registry.versions.card import model_card

_TONE = (8000 * np.sin(np.arange(TELEPHONE_RATE) * 0.3)).astype(np.int16)


def test_a_condition_gives_every_system_the_same_samples() -> None:
    noise = np.random.default_rng(1).standard_normal(TELEPHONE_RATE * 3).astype(np.float32)
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
    order = recording("a", "orderDrink", text="a latte", slots={"coffeeDrink": "latte"})
    digits = recording("d", text="one two")
    right, nothing = Heard("a latte", "orderDrink", {"coffeeDrink": "latte"}, 1), Heard("", "", {}, 0)
    fooled = Heard("yes", "affirm", {}, 1)

    report = figures([order, digits, digits], [right, nothing, fooled])

    assert report["command_acceptance"] == 1.0
    assert (report["outside"], report["false_accepts"], report["false_orders"]) == (2, 0.5, 0.0)
    assert (report["recordings"], report["speakers"]) == (1, 1)


def test_the_peers_grammar_is_the_bots() -> None:
    grammar = jsgf(load_bot("barista"))

    assert grammar.startswith("#JSGF V1.0;")
    assert "<slot_coffeeDrink> = coffee | iced coffee" in grammar
    assert "[<slot_size> | <slot_numberOfShots> |" in grammar


def test_digit_strings_need_digits(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="no digits"):
        next(digit_strings(tmp_path, 1, 7))
    for digit in "12":
        soundfile.write(str(tmp_path / f"{digit}_ann_0.flac"), _TONE, TELEPHONE_RATE)

    speaker, text, pcm = next(digit_strings(tmp_path, 1, 7))

    assert speaker == "digits:ann" and set(text.split()) <= {"one", "two"} and len(pcm) > 4 * TELEPHONE_RATE


def test_a_report_of_the_starter_versions_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoken = synthetic_caller(tmp_path)[0]
    row = {
        "audio": spoken.name, "speaker": "synthetic", "text": SAID[0], "intent": "orderDrink",
        "slots": {"coffeeDrink": "latte", "size": "medium", "milkAmount": "skim milk"},
    }  # fmt: skip
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")
    command = ["--manifest", str(tmp_path / "m.jsonl"), "--systems", "heard,given", "--out", str(tmp_path / "out")]

    for only in ("clean", "gain +20 dB", "clean"):
        monkeypatch.setattr("sys.argv", ["slu", *command, "--only", only])
        slu.main()
    report = json.loads((tmp_path / "out" / "slu.json").read_text())
    monkeypatch.setattr(slu, "measure", None)  # nothing is left to measure
    slu.main([*command, "--only", "clean"])

    assert [made.split(" --only ")[1] for made in report["command"].split(" && ")] == ["clean", "'gain +20 dB'"]
    assert report["results"]["heard"]["clean"]["command_acceptance"] == 1.0
    assert report["results"]["given"]["clean"]["by_speaker"] == {"synthetic": [1, 1]}
    assert (tmp_path / "out" / "slu.png").is_file() and "| clean | 100.0% |" in markdown(report)


def test_a_table_keeps_the_order_of_conditions_and_says_how_many_its_mean_is_of() -> None:
    row = {"command_acceptance": 0.5, "command_acceptance_interval": [0.4, 0.6]}
    names = ["SNR 12 dB", "SNR 6 dB", "clean", "gain +20 dB"]
    done = {name: row for name in names} | {"mean of SNRs": {**row, "snrs": 2}}
    report = {"command": "c", "results": {"heard": done, "given": {"clean": row, "mean of SNRs": {}}}}

    lines = markdown(json.loads(json.dumps(report, sort_keys=True))).splitlines()

    shown = [line.split("|")[2].strip() for line in lines if line.startswith("| Parley, as a call hears")]
    assert shown == ["clean", "SNR 6 dB", "SNR 12 dB", "gain +20 dB", "mean of 2 SNRs"]
    assert not [line for line in lines if line.startswith("| Parley, boundaries given | mean")]


def test_a_run_is_judged_on_the_people_it_kept() -> None:
    async def hear(said: Recording, pcm: Pcm) -> Heard:
        return Heard("", "", {}, 0)

    people = [f"p{n}" for n in range(60)]
    folds = [Ear(hear, str(n)) for n in range(4)]

    assert all(ear_for([Ear(hear)], who) is not None for who in people)
    assert {who for who in people if Ear(hear, "none").judged_on(who)} == {
        w for w in people if split_of(w, 7) == "test"
    }
    for who in people:
        found = ear_for(folds, who)
        assert (found.fold if found else "4") == str(fold_of(who, 7))


def test_a_release_is_not_judged_on_what_it_learned_from(tmp_path: Path) -> None:
    site = settings()
    version = release_of(site, "barista").stages["stt"]
    known = read_utterances(site.repo_dir / version.model / str(version.version))
    assert known is not None
    (tmp_path / "a.wav").write_bytes(synthetic_caller(tmp_path)[0].read_bytes())
    said = [Recording("a.wav", tmp_path / "a.wav", speaker="ann", intent="")]
    row = replace(next(r for r in known.rows if r.split == "train"), sha256=recording_digests(tmp_path / "a.wav")[1])
    folder = tmp_path / version.model / str(version.version)
    folder.mkdir(parents=True)

    write_utterances(folder, replace(known, rows=(row,)))
    assert learned_from(tmp_path, version, said) == [True]
    write_utterances(folder, replace(known, rows=(replace(row, split="test"),)))
    assert learned_from(tmp_path, version, said) == [False]
    assert learned_from(site.repo_dir, version, said) == [False]


def test_errors_are_counted_by_speaker_slot_and_confusion() -> None:
    said = recording("ann", "order", slots={"drink": "latte", "size": "small"})
    heard = [
        Heard("", "order", {"drink": "latte", "size": "small"}, 1),
        Heard("", "order", {"drink": "mocha", "size": "small"}, 1),
        Heard("", "", {}, 0),
    ]

    found = by_speaker_and_slot([said] * 3, heard)
    lines = "\n".join(error_analysis({"clean": found, "mean of SNRs": {}}))

    assert found["by_speaker"] == {"ann": [1, 3]} and found["by_slot"] == {"drink": [1, 3], "size": [2, 3]}
    assert found["confused"] == {"drink: latte -> mocha": 1, "drink: latte -> nothing": 1, "size: small -> nothing": 1}
    assert "| clean | 66.7% of 3 | 33.3% of 3 |" in lines and "ann 33% of 3" in lines


def test_the_mean_over_snrs_has_an_interval_by_speaker() -> None:
    done = {f"SNR {snr} dB": {"by_speaker": {"ann": [8, 10], "ben": [snr // 3, 10]}} for snr in (6, 9, 12)}

    mean = slu.mean_of_snrs(done)

    assert mean["snrs"] == 3 and mean["command_acceptance"] == pytest.approx((24 + 2 + 3 + 4) / 60, abs=1e-4)
    assert mean["command_acceptance_interval"] == (0.3, 0.8)


def test_the_figures_go_to_a_models_card(tmp_path: Path) -> None:
    site = settings()
    version = release_of(site, "barista").stages["stt"]
    run = Run.create(tmp_path / "run", "stt", "barista", {}, 7)
    shutil.copytree(site.repo_dir / version.model / str(version.version), run.bundle_path)
    row = {"command_acceptance": 0.97, "command_acceptance_interval": [0.95, 0.98], "misses": [{"said": "a latte"}]}
    report = {
        "runs": ["runs/fold0", "runs/fold1"],
        "results": {"heard": {"clean": row, "mean of SNRs": {}}, "given": {"clean": row}},
    }

    slu.write_card(report, run)

    card = model_card(read_manifest(run.bundle_path))
    assert "| cross-validation of 2 folds.clean | command_acceptance | 0.97 |" in card
    assert "a latte" not in card
