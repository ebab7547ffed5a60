"""What the STT trains on: noises, disturbed calls, spliced recordings, folds and realigned words."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_language import GREEK

from models.caller_plans import ALONE
from models.channel import active_rms, lose_packets, place_noise
from models.dataset import Dataset, Row, load_split, speech_of
from models.noises import NoiseBank
from models.splits import fold_of, fold_split
from models.stt import confidence, export
from models.stt.augment import Disturbance, disturb
from models.stt.confidence import choose_threshold
from models.stt.network import SttConfig
from models.stt.realign import best_forms
from models.stt.splice import Splicer
from models.stt.train import TrainConfig
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, write_wav
from parley.errors import ParleyError
from parley.language.english import ENGLISH
from parley.runs import Run

_TONE = (8000 * np.sin(np.arange(TELEPHONE_RATE) * 0.3)).astype(np.int16)


@pytest.fixture(scope="module")
def bank() -> NoiseBank:
    return NoiseBank.make(1, [_TONE], variants=1)


def test_every_noise_has_unit_level_and_the_seed_decides_it(bank: NoiseBank) -> None:
    first, again = (bank.draw(5000, np.random.default_rng(3)) for _ in range(2))

    assert np.array_equal(first, again)
    assert all(np.sqrt(np.mean(n**2)) == pytest.approx(1, abs=0.01) for group in bank.kinds.values() for n in group)


def test_a_places_own_noise_is_drawn_beside_the_made_ones(bank: NoiseBank) -> None:
    tone = np.sin(np.arange(16000) * 0.5).astype(np.float32)
    both = NoiseBank.make(1, [_TONE], variants=1, recorded=tone)
    rng = np.random.default_rng(3)

    loud = [np.abs(np.fft.rfft(both.draw(8000, rng)))[637] > 2000 for _ in range(200)]

    assert 0.2 < np.mean(loud) < 0.6


def test_half_of_a_places_noise_is_kept_for_measuring(tmp_path: Path) -> None:
    write_wav(tmp_path / "kitchen.wav", np.arange(1000, dtype=np.int16))

    parts = {part: place_noise(tmp_path / "kitchen.wav", part) for part in ("whole", "first", "second")}

    assert np.array_equal(np.concatenate([parts["first"], parts["second"]]), parts["whole"])
    assert len(parts["first"]) == 500


def test_a_noisy_call_has_the_level_and_the_ratio_that_were_drawn(bank: NoiseBank) -> None:
    quiet = Disturbance(noisy=0.0, room=0.0, lost=0.0, overloaded=0.0, level_dbfs=(-23.0, -23.0))

    heard = disturb(_TONE, random.Random(1), bank, quiet)

    assert len(heard) == len(_TONE)
    assert 20 * np.log10(active_rms(heard) / 32768) == pytest.approx(-23, abs=0.5)


@pytest.mark.parametrize(("share", "faint"), [(0.0, 0.02), (1.0, 0.24)])
def test_a_share_of_the_calls_is_as_faint_as_any(bank: NoiseBank, share: float, faint: float) -> None:
    rng = random.Random(5)
    calls = Disturbance(noisy=0.0, room=0.0, lost=0.0, overloaded=0.0, any_level=share)

    levels = [20 * np.log10(active_rms(disturb(_TONE, rng, bank, calls)) / 32768) for _ in range(100)]

    assert np.mean(np.array(levels) < -40) == pytest.approx(faint, abs=0.12)
    assert min(levels) > -51


def test_half_of_the_overloaded_calls_clip_at_full_scale(bank: NoiseBank) -> None:
    rng = random.Random(6)
    calls = Disturbance(noisy=0.0, room=0.0, lost=0.0, overloaded=1.0, any_level=0.0, level_dbfs=(-23.0, -23.0))

    heard = [disturb(_TONE, rng, bank, calls).astype(np.int32) for _ in range(60)]

    peaks = np.array([np.abs(pcm).max() for pcm in heard])
    at_the_limit = np.array([np.mean(np.abs(pcm) > 0.9 * np.abs(pcm).max()) for pcm in heard])
    loud = peaks > 31000
    assert 20 < loud.sum() < 40 and peaks[~loud].max() < 8000
    assert at_the_limit.min() > 0.5


def test_silence_becomes_noise_alone(bank: NoiseBank) -> None:
    assert disturb(np.zeros(8000, np.int16), random.Random(2), bank).any()


def test_lost_packets_are_silent_or_concealed_and_about_as_many_as_asked() -> None:
    pcm = np.tile(_TONE, 60)

    silent = lose_packets(pcm, 0.1, np.random.default_rng(1), conceal=False)
    concealed = lose_packets(pcm, 0.1, np.random.default_rng(1), conceal=True)

    lost = (silent.reshape(-1, FRAME_SAMPLES) == 0).all(axis=1)
    assert 0.07 < lost.mean() < 0.13
    assert (concealed.reshape(-1, FRAME_SAMPLES)[lost] != 0).any(axis=1).mean() > 0.9
    assert np.array_equal(concealed.reshape(-1, FRAME_SAMPLES)[~lost], pcm.reshape(-1, FRAME_SAMPLES)[~lost])


def test_folds_share_no_speaker_and_every_speaker_is_tested_once() -> None:
    names = [f"person {n}" for n in range(200)]
    for name in names:
        splits = [fold_split(name, 7, fold) for fold in range(5)]
        assert splits.count("test") == 1 and splits[fold_of(name, 7)] == "test"
    assert all(20 < sum(fold_of(n, 7) == f for n in names) < 60 for f in range(5))


def _recording(name: str) -> Row:
    return Row(name, "", "", 2.0, "anna", "train", "recording", "one two three", "", {}, 0.2, 1.8)


def test_spliced_pieces_are_one_speakers_whole_words() -> None:
    rows = [_recording("r1"), _recording("r2")]
    words = {r.id: [["one", 0.2, 0.7], ["two", 0.7, 1.2], ["three", 1.2, 1.8]] for r in rows}
    splicer = Splicer(rows, {r.id: np.tile(_TONE, 2) for r in rows}, words)
    rng = random.Random(4)

    pieces = splicer.draw(rows[0], rng)
    joined = splicer.join(pieces, rng)

    assert 2 <= len(pieces) <= 5 and all(p.row.speaker == "anna" and 0 <= p.first < p.last <= 3 for p in pieces)
    spoken = sum(p.end - p.start for p in pieces)
    assert spoken - 400 <= len(joined) <= spoken + 5 * 0.36 * TELEPHONE_RATE + 900


def test_isolated_words_are_heard_in_strings_with_pauses() -> None:
    take = Row("t1", "", "", 1.0, "ben", "train", "recording", "one", "", {}, 0.0, 1.0)
    rows = [take, replace(take, id="t2", text="two"), _recording("r1")]
    words = {"t1": [["one", 0.1, 0.9]], "t2": [["two", 0.0, 1.03]], "r1": [["one", 0.2, 0.7], ["two", 0.7, 1.8]]}
    splicer = Splicer(rows, {"t1": _TONE, "t2": _TONE, "r1": np.tile(_TONE, 2)}, words)
    rng = random.Random(4)

    drawn = [splicer.draw(take, rng) for _ in range(200)]
    joined = splicer.join(drawn[0], rng)

    assert splicer.isolated(take) and not splicer.isolated(rows[2])
    assert {len(pieces) for pieces in drawn} >= {1, 2, 3, 4} and max(map(len, drawn)) <= 16
    assert {(p.start, p.end) for pieces in drawn for p in pieces} == {(800, 7200), (0, 8000)}  # whole, never recut
    assert len(joined) > sum((p.end - p.start) / 1.09 + 0.04 * TELEPHONE_RATE for p in drawn[0])


def test_what_a_voice_said_in_sentences_is_never_joined_with_its_single_words() -> None:
    word = Row(f"{ALONE}1", "", "", 1.0, "flite:slt", "train", "synthetic", "one", "", {}, 0.0, 1.0)
    sentence = replace(word, id="syn-1", text="yes please")
    splicer = Splicer([word, sentence], {r.id: _TONE for r in (word, sentence)}, {word.id: [["one", 0.0, 1.0]]})

    assert splicer.isolated(word) and not splicer.isolated(sentence)
    assert {p.row.id for p in splicer.draw(word, random.Random(1))} == {word.id}


def test_one_speaker_left_out_is_the_whole_test(tmp_path: Path) -> None:
    takes = [
        Row(f"{who}{n}", "", "", 1.0, who, "train", "recording", "one", "", {}, 0.0, 1.0)
        for who in ("ann", "ben", "cy")
        for n in range(50)
    ]
    voice = replace(takes[0], id="v", speaker="flite:slt", split="dev", source="synthetic")
    dataset = Dataset(tmp_path, "", (*takes, voice))

    split = dataset.without(["ben"], 7)

    assert {r.speaker for r in split.split("test", "recording")} == {"ben"}
    assert len(split.split("test")) == 50
    assert {r.speaker for r in split.split("dev", "recording")} == {"ann", "cy"}
    assert split.split("dev", "synthetic") == [voice]
    both = dataset.without(["ben", "cy"], 7)
    assert {r.speaker for r in both.split("test", "recording")} == {"ben", "cy"}
    assert {r.speaker for r in both.split("train", "recording")} == {"ann"}
    with pytest.raises(ParleyError, match="no recordings of 'dora'"):
        dataset.without(["ben", "dora"], 7)


def test_a_name_with_a_plus_is_one_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Row("r", "", "", 1.0, "+1555", "train", "recording", "one", "", {}, 0.0, 1.0)
    rows = (row, replace(row, id="s", speaker="ann"), replace(row, id="t", speaker="ben"))
    monkeypatch.setattr("models.dataset.load_dataset", lambda path: Dataset(tmp_path, "", rows))

    def tested(fold: str) -> set[str]:
        return {r.speaker for r in load_split(tmp_path, fold, 7).split("test")}

    assert tested("without:+1555") == {"+1555"} and tested("without:ann+ben") == {"ann", "ben"}


def test_the_beginning_of_two_folds_hears_nobody_whom_one_of_them_keeps(tmp_path: Path) -> None:
    rows = tuple(Row(f"p{n}", "", "", 1.0, f"p{n}", "train", "recording", "one", "", {}, 0.0, 1.0) for n in range(200))
    dataset = Dataset(tmp_path, "", rows)

    def train(*folds: int) -> set[str]:
        return {r.speaker for r in dataset.for_folds(folds, 7).split("train")}

    assert train(1, 2) == train(1) & train(2)
    assert 60 < len(train(1, 2)) < 140
    assert {r.speaker for r in dataset.for_folds((3,), 7).split("test")} == {
        r.speaker for r in rows if fold_of(r.speaker, 7) == 3
    }


def test_a_fold_is_one_of_those_there_are_or_leaves_a_speaker_out() -> None:
    for right in ("none", "4", "1+2", "without:ann"):
        assert TrainConfig("barista", Path("data"), fold=right).fold == right
    for wrong in ("5", "1+", "+1", "without:", "ann"):
        with pytest.raises(ParleyError, match=re.escape(f"fold: no {wrong!r}")) as caught:
            TrainConfig("barista", Path("data"), fold=wrong)
        assert "without:SPEAKER" in caught.value.mend


def test_a_release_is_as_sure_as_its_folds_were_on_people_they_never_heard(tmp_path: Path) -> None:
    sure, unsure = [(-n / 16, True) for n in range(40)], [(-2.0 - n / 8, False) for n in range(20)]
    for name, points in (("fold0", sure), ("fold1", unsure)):
        (tmp_path / name).mkdir()
        confidence.write_points(tmp_path / name, points)

    pooled = confidence.read_points([tmp_path / "fold0", tmp_path / "fold1"])

    assert pooled == sure + unsure
    assert confidence.fit(pooled)["slope"] > 0 and confidence.fit(pooled)["fitted_on"] == 60
    with pytest.raises(ParleyError, match="export stt"):
        confidence.read_points([tmp_path])


def test_what_labels_do_not_settle_is_the_languages() -> None:
    assert confidence.words_agree("an iced mocha", "iced mocha", ENGLISH)
    assert not confidence.words_agree("the iced mocha", "iced mocha", ENGLISH)
    assert confidence.words_agree("ένα καφέ", "καφέ", GREEK) and not confidence.words_agree("a καφέ", "καφέ", GREEK)


def test_a_release_is_not_exported_without_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    everybody = Dataset(
        tmp_path, "", (Row("a", "", "", 1.0, "ann", "train", "recording", "one", "", {}, 0.0, 1.0),), bot="barista"
    )
    monkeypatch.setattr(export, "load_network", lambda run: None)
    monkeypatch.setattr(export, "split_as_trained", lambda run: everybody)

    with pytest.raises(ParleyError, match="learned from everybody.*--confidence"):
        export.export(Run.create(tmp_path / "run", "stt", "barista", {"fold": "all"}, 7), "fp32")


def test_the_confidence_of_another_bot_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    mine, other = (Run.create(tmp_path / bot, "stt", bot, {"fold": "all"}, 7) for bot in ("barista", "digits"))
    monkeypatch.setattr(export, "load_network", lambda run: None)
    monkeypatch.setattr(export, "split_as_trained", lambda run: Dataset(tmp_path, "", (), bot="barista"))

    with pytest.raises(ParleyError, match="a run of bot digits, the confidence is of barista"):
        export.export(mine, confidence_of=[other.path])


def test_realignment_takes_the_form_that_was_said() -> None:
    said = ["", "ah", "n", "", "ae", "p", ""]
    labels = SttConfig().labels
    log_probs = np.full((len(said), len(labels)), -9.0, dtype=np.float32)
    for frame, phone in enumerate(said):
        log_probs[frame, labels.index(phone)] = -0.1

    assert best_forms(log_probs, [["ah", "ah n"], ["ae p", "ey p"]], labels) == ["ah n", "ae p"]
    assert best_forms(log_probs[:1], [["ah", "ah n"], ["ae p"]], labels) == []


def test_the_threshold_loses_at_most_one_in_a_hundred_of_what_was_right() -> None:
    sure = np.linspace(0, 1, 1001)

    threshold = choose_threshold(sure, sure > 0.3)

    assert 0.29 < threshold < 0.32
    assert choose_threshold(sure, sure > 0.95) == 0.7
    assert choose_threshold(sure, np.zeros(1001, dtype=bool)) == 0.1


def test_a_word_recorded_without_silence_is_judged_with_some_around_it() -> None:
    row = Row("t", "", "", 0.5, "ann", "dev", "recording", "one", "", {}, 0.0, 0.5)
    pcm = np.full(TELEPHONE_RATE // 2, 900, dtype=np.int16)

    alone = speech_of(pcm, row)
    within = speech_of(
        np.full(TELEPHONE_RATE * 3, 900, dtype=np.int16), replace(row, speech_start_s=1.0, speech_end_s=2.0)
    )

    edge = round(0.3 * TELEPHONE_RATE)
    assert len(alone) == len(pcm) + 2 * edge and not alone[:edge].any() and not alone[-edge:].any()
    assert alone[edge:-edge].all()
    assert len(within) == TELEPHONE_RATE + 2 * edge and within.all()
