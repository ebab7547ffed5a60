"""The voice's benchmark: its measures on signals whose answer is known, its sentences, its report."""

import json
import shutil

import numpy as np
import pytest

from benchmarks.quality.tts import mean, share, telephone
from benchmarks.quality.tts_alignment import Aligner
from benchmarks.quality.tts_distance import distance, mel_cepstra
from benchmarks.quality.tts_report import markdown, write_report, write_samples
from benchmarks.quality.tts_sentences import Sentence, spoken_key, trained_texts, unseen
from benchmarks.quality.tts_signal import border_rank, harmonicity, look
from benchmarks.quality.tts_speed import one_core
from benchmarks.quality.tts_voices import Rendering, levelled
from models.tts.alignment import flite_speech, warping_path
from models.tts.data import make_utterance
from models.tts.text import Lexicon, sayable
from parley.bot import load_bot
from parley.errors import ParleyError
from parley.language.english.tokenise import tokenise

needs_flite = pytest.mark.skipif(
    not shutil.which("flite"), reason="flite is not installed (`parley doctor` says so; apt-get install flite)"
)
RATE = 8000


def glide(start_hz: float, end_hz: float, seconds: float = 1.0, noise: float = 0.0) -> np.ndarray:
    """A buzz whose pitch moves from one frequency to the other."""
    t = np.arange(round(RATE * seconds)) / RATE
    phase = 2 * np.pi * np.cumsum(np.linspace(start_hz, end_hz, len(t))) / RATE
    buzz = sum(np.cos(k * phase) for k in range(1, int(3800 / max(start_hz, end_hz))))
    hiss = np.random.default_rng(4).normal(0, 1, len(t)) * np.std(buzz) * noise
    return np.round(4000 * (buzz + hiss) / np.max(np.abs(buzz + hiss))).astype(np.int16)


def test_a_voice_is_at_no_distance_from_itself_whatever_its_level() -> None:
    voice = glide(120, 180)
    found = distance(voice, (voice // 2).astype(np.int16))
    assert found.mcd_db < 1.0 and distance(voice, voice).mcd_db < 1e-6
    assert found.f0_correlation > 0.999 and found.f0_rmse_cents < 10 and found.voicing_differs < 0.03


def test_the_distance_is_the_spectra_s_rms_difference_in_db() -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, RATE * 4)
    # A gain that is a cosine over the mel axis changes one coefficient by its amplitude, and the spectrum by this rms.
    hz = np.fft.rfftfreq(len(noise), 1 / RATE)
    low, high = (np.log1p(f / 700) for f in (60.0, 3800.0))
    place = np.clip((np.log1p(hz / 700) - low) / (high - low), 0, 1)
    amplitude = 1.0
    changed = np.fft.irfft(np.fft.rfft(noise) * np.exp(amplitude * np.cos(np.pi * 2 * place)), len(noise))
    a, b = (np.round(3000 * x).clip(-32768, 32767).astype(np.int16) for x in (noise, changed * 0.4))
    (first, _), (second, _) = mel_cepstra(a), mel_cepstra(b)
    gap = second.mean(0) - first.mean(0)
    assert gap[1] == pytest.approx(amplitude, rel=0.06)
    assert np.abs(np.delete(gap, 1)).max() < 0.12
    rms_db = 20 / np.log(10) * amplitude / np.sqrt(2)
    assert 10 / np.log(10) * np.sqrt(2 * (gap**2).sum()) == pytest.approx(rms_db, rel=0.08)


def test_pitch_that_falls_instead_of_rising_is_anticorrelated() -> None:
    assert distance(glide(120, 180), glide(180, 120)).f0_correlation < 0


def test_a_warping_path_leaves_no_frame_out() -> None:
    rows, columns = warping_path(np.random.default_rng(2).random((7, 12)))
    assert (rows[0], columns[0], rows[-1], columns[-1]) == (0, 0, 6, 11)
    assert set(rows) == set(range(7)) and set(columns) == set(range(12))
    assert all(np.diff(rows) >= 0) and all(np.diff(columns) >= 0)


def test_harmonics_to_noise_is_what_was_mixed() -> None:
    clean, _ = harmonicity(glide(150, 150))
    mixed, _ = harmonicity(glide(150, 150, noise=0.5))
    assert clean > 20
    assert mixed == pytest.approx(20 * np.log10(2), abs=1.0)


def test_a_buzz_shows_in_the_high_band() -> None:
    low_only = glide(150, 150, noise=0.0).astype(np.float64)
    spectrum = np.fft.rfft(low_only)
    spectrum[np.fft.rfftfreq(len(low_only), 1 / RATE) > 1900] = 0
    hiss = np.random.default_rng(5).normal(0, 60, len(low_only))
    natural = np.round(np.fft.irfft(spectrum, len(low_only)) + hiss).astype(np.int16)
    assert harmonicity(glide(150, 150))[1] > harmonicity(natural)[1] + 10


def test_a_click_at_a_border_ranks_highest() -> None:
    wave = 3000 * np.sin(2 * np.pi * 200 * np.arange(RATE) / RATE)
    assert border_rank(wave, 4010) < 0.95
    wave[4010:] += 4000
    assert border_rank(wave, 4010) > 0.99


def test_a_word_that_is_cut_and_clipping_are_seen() -> None:
    voice = glide(140, 120)
    quiet = np.zeros(800, dtype=np.int16)
    whole = look(np.concatenate([quiet, voice, quiet]))
    cut = look(np.concatenate([quiet, voice]))
    assert whole.end_db < -60 < -10 < cut.end_db
    assert whole.lead_ms == pytest.approx(100, abs=10) and whole.tail_ms == pytest.approx(100, abs=10)
    assert whole.clipped == 0 < look(np.clip(voice.astype(np.int32) * 20, -32768, 32767).astype(np.int16)).clipped


def corpus_of(folder, *texts: str) -> str:
    folder.mkdir()
    (folder / "corpus.json").write_text(json.dumps({"digest": folder.name * 8, "rows": [{"text": t} for t in texts]}))
    return folder.name * 8


def test_what_was_trained_on_is_never_measured(tmp_path) -> None:
    bots = [load_bot("barista"), load_bot("bank")]
    first = unseen(bots, 40, 3, set())
    digest = corpus_of(tmp_path / "corpus", *(s.text.upper() for s in first if s.kind != "order"), "It's $5.")
    trained = trained_texts([tmp_path / "corpus"], digest)
    assert spoken_key("It's five dollars!") in trained
    again = unseen(bots, 40, 3, trained)
    keys = [spoken_key(s.text) for s in again]
    assert not set(keys) & trained and len(set(keys)) == 40
    assert {s.kind for s in again} == {"plain", "reply", "order", "figures"}


def test_the_voice_s_own_corpus_must_be_given(tmp_path) -> None:
    corpus_of(tmp_path / "other", "Hello there.")
    with pytest.raises(ParleyError, match="learned from"):
        trained_texts([tmp_path / "other"], "0" * 64)
    with pytest.raises(ParleyError, match="no corpus"):
        trained_texts([tmp_path / "none"], "0" * 64)


def test_too_many_sentences_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_figures", "EnglishScript.figures"):
        monkeypatch.setattr(f"benchmarks.quality.tts_sentences.{name}", lambda *_: "It is $5.")
    with pytest.raises(ParleyError, match="new sentences"):
        unseen([load_bot("barista")], 12, 1, set())


def test_shares_lie_in_their_intervals() -> None:
    found = share([1, 0, 2, 0] * 20, [10, 5, 8, 9] * 20)
    assert found["value"] == pytest.approx(3 / 32, abs=1e-4)
    assert found["interval"][0] < found["value"] < found["interval"][1]
    assert mean([1.0, float("nan"), 3.0])["value"] == 2.0


def test_voices_are_compared_at_one_level() -> None:
    loud = levelled([Rendering(glide(120, 130)), Rendering((glide(120, 130) // 4).astype(np.int16))])
    peaks = [int(np.abs(r.pcm.astype(np.int32)).max()) for r in loud]
    assert peaks[0] == pytest.approx(4 * peaks[1], rel=0.01) and 0.5 * 32767 < peaks[0] < 0.7 * 32767


def test_one_core_is_given_back() -> None:
    import os

    before = os.sched_getaffinity(0)
    with one_core():
        assert len(os.sched_getaffinity(0)) == 1
    assert os.sched_getaffinity(0) == before


@needs_flite
def test_forced_alignment_finds_the_ends_that_the_synthesiser_knows() -> None:
    pytest.importorskip("pocketsphinx")
    text = "Your savings account has 4 dollars, Dr. Brown."
    lexicon = Lexicon({})
    audio, segments = flite_speech(sayable(tokenise(text)), "slt")
    made = make_utterance("", text, "test", audio, segments, lexicon)
    assert made is not None
    ends = Aligner([text], lexicon).word_ends_s(text, made.pcm)
    assert ends is not None and len(ends) == made.n_words
    assert np.median(np.abs(np.array(ends) - made.word_ends_s())) < 0.05


def tiny_report() -> dict:
    figure = {"value": 0.1, "interval": [0.05, 0.2]}
    voices = ("parley", "flite", "espeak-ng")
    signal = dict.fromkeys(
        ("hnr_db", "high_hnr_db", "clipped_samples", "peak_dbfs", "dc", "end_db", "ends_in_speech", "lead_ms",
         "tail_ms", "longest_pause_ms", "floor_db", "borders", "borders_ranked_high"), 1,
    )  # fmt: skip
    row = {**dict.fromkeys(voices, figure), "difference": figure}
    ends = {"median_abs_ms": figure, "p90_abs_ms": 30.0, "median_ms": 0.0, "words": 9, "not_aligned": 1}
    return {
        "command": "python -m benchmarks.quality.tts", "environment": {"python": "3.11"},
        "bundle": {"model": "barista_tts", "version": 1, "sentences_in_corpora": 9},
        "sentences": [{"text": "Hello.", "kind": "plain"}],
        "recognition": {"words": 9, "wer": dict.fromkeys(voices, figure), "difference": figure,
                        "by_kind": {"plain": row}, "last_word_wrong": dict.fromkeys(voices, figure)},
        "distance_from_training_voice": {"parley": dict.fromkeys(
            ("mcd_db", "f0_correlation", "f0_rmse_cents", "voicing_differs"), figure)},
        "word_ends": {"parley": ends, "flite": ends},
        "speed": {"parley": {"first": 1.0, "p95": 2.0, "real_time_factor": 0.1, "sentences": 9}},
        "signal": dict.fromkeys(voices, signal),
    }  # fmt: skip


def test_the_report_has_every_table_and_a_plot(tmp_path) -> None:
    text = write_report(tiny_report(), tmp_path)
    assert text == markdown(tiny_report()) == (tmp_path / "tts.md").read_text()
    assert (tmp_path / "tts.png").stat().st_size > 1000
    for title in ("Words understood", "Distance", "Word ends", "Speed", "signal"):
        assert title in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert all(line.count("|") >= 4 for line in tables)


def test_samples_are_what_a_caller_hears(tmp_path) -> None:
    from parley.audio import read_audio

    voice = glide(130, 110, 0.3)
    sentence = Sentence("It is $5 or $6.", "figures")
    listed = write_samples(tmp_path, [sentence], {"parley": [Rendering(voice)]}, 12, telephone)
    assert [(s["label"], s["text"]) for s in listed] == [("parley", "It is $5 or $6.")]
    assert np.array_equal(read_audio(tmp_path / listed[0]["audio"]), telephone(voice))
    assert (tmp_path / listed[0]["spectrogram"]).stat().st_size > 1000
