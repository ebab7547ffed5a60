"""The telephone line and the synthetic callers."""

from __future__ import annotations

import random
import subprocess

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.accents import accented, foreigners
from models.callers import Voice, speakers, synthesise, vary
from models.channel import NOISES, Channel, active_rms, apply, draw_channel, mix_at_snr
from parley.errors import ParleyError
from parley.language.english import ENGLISH
from parley.language.english.sounds import HEARD
from parley.language.english.voices import ACCENTS, PHONEMES


def _speechlike(n: int = 16000) -> np.ndarray:
    t = np.arange(n) / 8000
    envelope = (np.sin(2 * np.pi * 3 * t) > 0) * 1.0
    return (envelope * 6000 * (np.sin(2 * np.pi * 300 * t) + np.sin(2 * np.pi * 1200 * t))).astype(np.int16)


@given(st.integers(0, 2**31))
def test_a_line_keeps_the_length_and_gives_the_same_twice(seed: int) -> None:
    channel = draw_channel(random.Random(seed))
    pcm = _speechlike(8000)
    once, again = apply(pcm, channel), apply(pcm, Channel(**channel.record()))

    assert once.dtype == np.int16 and once.shape == pcm.shape
    assert np.array_equal(apply(pcm, Channel(**channel.record())), again)


@pytest.mark.parametrize("noise", [n for n in NOISES if n != "babble"])
@pytest.mark.parametrize("snr_db", [5.0, 20.0])
def test_noise_stands_at_the_drawn_snr(noise: str, snr_db: float) -> None:
    silent = Channel(noise="", codec="none", seed=1)
    noisy = Channel(noise=noise, snr_db=snr_db, codec="none", seed=1)
    clean = apply(_speechlike(), silent).astype(float)
    added = apply(_speechlike(), noisy) - clean
    measured = 20 * np.log10(active_rms(clean) / np.sqrt(np.mean(added**2)))

    assert abs(measured - snr_db) < 0.5


def test_recorded_noise_is_mixed_at_the_snr() -> None:
    pcm, noise = _speechlike(), np.random.default_rng(2).normal(0, 50, 40000).astype(np.int16)
    mixed = mix_at_snr(pcm, noise, 9.0, np.random.default_rng(3))
    added = mixed.astype(float) - pcm

    assert abs(20 * np.log10(active_rms(pcm) / np.sqrt(np.mean(added**2))) - 9.0) < 0.5


def test_the_line_takes_away_what_lies_outside_its_band() -> None:
    t = np.arange(16000) / 8000
    low = (8000 * np.sin(2 * np.pi * 50 * t)).astype(np.int16)
    both = (low + 8000 * np.sin(2 * np.pi * 1000 * t)).astype(np.int16)
    heard = apply(both, Channel(low_hz=300, codec="none"))
    spectrum = np.abs(np.fft.rfft(heard))

    assert spectrum[50 * 2] < 0.02 * spectrum[1000 * 2]


@pytest.mark.parametrize("engine", ["flite", "espeak"])
def test_a_caller_speaks_at_telephone_rate_and_faster_when_told(engine: str) -> None:
    voice = next(v for v in speakers(ENGLISH) if v.engine == engine)
    normal = synthesise("a large latte with skim milk", voice)
    fast = synthesise("a large latte with skim milk", Voice(voice.engine, voice.name, rate=1.3))

    assert normal.dtype == np.int16 and 8000 < len(normal) < 40000
    assert len(fast) < 0.9 * len(normal) and np.max(np.abs(normal)) == 16384


def test_moods_stay_in_bounds_and_keep_the_speaker() -> None:
    rng = random.Random(1)
    for voice in speakers(ENGLISH)[:50]:
        mood = vary(voice, rng)
        assert mood.speaker == voice.speaker and 0.8 <= mood.rate <= 1.25 and 0.85 <= mood.pitch <= 1.2


def test_a_missing_synthesiser_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for engine, name in (("flite", "slt"), ("espeak", "en-us+m1")):
        with pytest.raises(ParleyError, match="apt-get install (flite|espeak-ng)"):
            synthesise("hello", Voice(engine, name))


def test_a_foreign_voice_says_english_words_in_its_own_sounds() -> None:
    spoken = [accented("three seven", Voice("espeak", f"{language}+m3"), ENGLISH) for language in ("en-gb", "de", "el")]

    assert spoken == ["three seven", "[[sR'i: s'Ev@n]]", "[[Tr'i s'Ev@n]]"]


@pytest.mark.parametrize("language", sorted(ACCENTS))
def test_every_language_has_every_phoneme_it_is_given(language: str) -> None:
    """espeak-ng leaves out, without a word, what a language lacks."""
    missing = {}
    for phone in HEARD:
        said = ACCENTS[language].get(phone, PHONEMES[phone])
        command = ["espeak-ng", "-q", "-v", language, "-x", f"[[{said}]]"]
        heard = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if said and heard in ("", "'"):
            missing[phone] = said

    assert not missing


def test_foreign_voices_are_nobody_elses() -> None:
    names = [voice.speaker for voice in foreigners(ENGLISH)]

    assert len(set(names)) == len(names) and not set(names) & {voice.speaker for voice in speakers(ENGLISH)}
