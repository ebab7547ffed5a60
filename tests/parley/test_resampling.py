"""From one rate to another as audio comes: the same as all at once, in step, and silence stays silence."""

from __future__ import annotations

import numpy as np
import pytest

from parley.resampling import Resampler

RATES = [(16_000, 8000), (8000, 16_000), (48_000, 8000), (8000, 24_000), (22_050, 8000)]


def sine(hertz: float, rate: int, seconds: float = 1.0) -> np.ndarray:
    return (8000 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.int16)


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_audio_in_pieces_of_any_length_is_the_same_as_all_at_once(rate_in: int, rate_out: int) -> None:
    rng = np.random.default_rng(1)
    wave = (rng.standard_normal(rate_in) * 4000).astype(np.int16)
    whole = Resampler(rate_in, rate_out).push(wave, last=True)
    ends = sorted(rng.integers(0, len(wave), 40).tolist())
    stream = Resampler(rate_in, rate_out)

    parts = [stream.push(part) for part in np.split(wave, ends)] + [stream.push(wave[:0], last=True)]

    assert abs(np.concatenate(parts).astype(int) - whole).max() <= 1
    assert len(whole) == rate_out


@pytest.mark.parametrize(("rate_in", "rate_out"), RATES)
def test_it_lags_behind_its_input_by_30_ms_at_most(rate_in: int, rate_out: int) -> None:
    stream, given, got = Resampler(rate_in, rate_out), 0, 0
    for _ in range(50):
        given, got = given + rate_in // 50, got + len(stream.push(np.zeros(rate_in // 50, dtype=np.int16)))
        assert given / rate_in - got / rate_out <= 0.031


def test_a_tone_keeps_its_pitch_and_level_and_what_the_lower_rate_cannot_hold_is_gone() -> None:
    kept = Resampler(16_000, 8000).push(sine(1000, 16_000), last=True)[800:-800].astype(float)
    folded = Resampler(16_000, 8000).push(sine(5500, 16_000), last=True)[800:-800].astype(float)

    assert kept.std() == pytest.approx(8000 / 2**0.5, rel=0.01)
    assert folded.std() < 10


def test_silence_stays_silence_and_a_new_beginning_knows_nothing_of_the_old() -> None:
    stream = Resampler(8000, 16_000)

    assert not stream.push(np.zeros(800, dtype=np.int16), last=True).any()
    stream.push(sine(1000, 8000, 0.1))
    stream.restart()
    assert not stream.push(np.zeros(800, dtype=np.int16), last=True).any()
