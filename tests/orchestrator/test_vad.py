"""Voice activity: on what is made here, and, where they are, on real recordings with the speech marked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.vad.client import Detector, Levels, band_levels, load_weights, power
from models.vad.train import VadNetwork
from orchestrator.energy import frame_levels
from orchestrator.vad import Vad
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm
from parley.errors import ParleyError
from parley.g711 import ulaw_decode, ulaw_encode

FRAMES_A_SECOND = TELEPHONE_RATE // FRAME_SAMPLES


def noise(seconds: float, level: float, seed: int = 0) -> Pcm:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(round(seconds * TELEPHONE_RATE)) * level).clip(-32768, 32767).astype(np.int16)


def voice(seconds: float, level: float = 4000, pitch: float = 120) -> Pcm:
    """Harmonics of a pitch, falling by 6 dB an octave, in syllables of 180 ms with 60 ms between them."""
    time_s = np.arange(round(seconds * TELEPHONE_RATE)) / TELEPHONE_RATE
    wave = sum(np.sin(2 * np.pi * pitch * k * time_s) / k for k in range(1, 25))
    syllables = np.clip(np.sin(2 * np.pi * time_s / 0.24) + 0.7, 0, 1)
    return (wave * syllables * level / 2).clip(-32768, 32767).astype(np.int16)


def ulaw(pcm: Pcm) -> Pcm:
    return ulaw_decode(ulaw_encode(pcm))[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES]


def spans(active: list[bool], join_frames: int = 20) -> list[tuple[int, int]]:
    """Stretches of speech in frames, those less than ``join_frames`` apart as one."""
    found: list[tuple[int, int]] = []
    for index in (i for i, speech in enumerate(active) if speech):
        if found and index - found[-1][1] < join_frames:
            found[-1] = (found[-1][0], index + 1)
        else:
            found.append((index, index + 1))
    return found


@pytest.mark.parametrize("level", [0, 5, 40, 150], ids=lambda level: f"noise-{level}")
def test_speech_between_silences_is_found(level: int) -> None:
    """Within 120 ms, but for its end in noise: there it is held longer, for a soft last word may still be coming."""
    pcm = np.concatenate([noise(1.5, level), voice(1.5), noise(1.5, level, seed=2)])
    pcm = ulaw((pcm.astype(np.int32) + noise(4.5, level, seed=3)).clip(-32768, 32767).astype(np.int16))

    found = spans(Vad().push(pcm))

    assert len(found) == 1
    assert abs(found[0][0] * 20 - 1500) <= 120
    assert -120 <= found[0][1] * 20 - 3000 <= (120 if level < 40 else 300)


@pytest.mark.parametrize("level", [0, 3, 30, 300, 2000])
def test_steady_noise_is_no_speech_once_it_is_known(level: int) -> None:
    active = Vad().push(ulaw(noise(8.0, level)))

    assert not any(active[2 * FRAMES_A_SECOND :])


def test_hum_of_the_mains_is_no_speech() -> None:
    time_s = np.arange(5 * TELEPHONE_RATE) / TELEPHONE_RATE

    active = Vad().push(ulaw((800 * np.sin(2 * np.pi * 50 * time_s)).astype(np.int16)))

    assert not any(active)


def test_a_click_is_no_speech() -> None:
    pcm = noise(2.0, 5)
    pcm[TELEPHONE_RATE : TELEPHONE_RATE + 80] = 20000

    assert not any(Vad().push(ulaw(pcm)))


@given(st.integers(-32768, 32767), st.integers(1, 40))
def test_any_constant_line_is_silence(value: int, frames: int) -> None:
    assert not any(Vad().push(np.full(frames * FRAME_SAMPLES, value, dtype=np.int16)))


def test_frames_of_many_calls_are_looked_at_at_once_as_one_by_one() -> None:
    frames = np.concatenate([voice(0.4), noise(0.4, 500)]).reshape(-1, FRAME_SAMPLES)

    together = power(frames)
    alone = np.concatenate([power(frame[None]) for frame in frames])

    np.testing.assert_allclose(together, alone, rtol=1e-3, atol=1)
    np.testing.assert_allclose(band_levels(together), band_levels(alone), atol=1e-3)
    np.testing.assert_allclose(frame_levels(together), frame_levels(alone), atol=1e-2)


def test_the_power_of_a_frame_is_that_of_an_fft() -> None:
    frames = np.concatenate([voice(0.4), noise(0.4, 500)]).reshape(-1, FRAME_SAMPLES)

    by_fft = np.abs(np.fft.rfft(frames * np.hanning(FRAME_SAMPLES), 256, axis=1)) ** 2

    np.testing.assert_allclose(power(frames), by_fft, rtol=1e-2, atol=by_fft.max() * 1e-6)


def test_the_running_network_is_the_trained_one_however_frames_come() -> None:
    torch.manual_seed(1)
    network = VadNetwork().eval()
    frames = power(np.concatenate([voice(0.6), noise(0.4, 500)]).reshape(-1, FRAME_SAMPLES))
    levels = Levels()
    features = np.stack([levels.push(row) for row in band_levels(frames)])
    running = Detector(network.weights())

    with torch.no_grad():
        trained = torch.sigmoid(network(torch.from_numpy(features)[None]))[0].numpy()
    heard = [p for part in np.split(frames, [1, 2, 9, 30]) for p in running.push(part)]

    np.testing.assert_allclose(heard, trained, atol=1e-5)


def test_damaged_weights_are_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "weights.npz").write_bytes(b"no weights")

    with pytest.raises(ParleyError, match="weights of voice activity"):
        Detector(load_weights(tmp_path / "weights.npz"))


def test_the_length_of_what_is_pushed_changes_nothing() -> None:
    pcm = ulaw(np.concatenate([noise(1, 10), voice(1), noise(1, 10)]))
    whole, pieces = Vad(), Vad()

    decided = [
        speech for at in range(0, len(pcm), FRAME_SAMPLES) for speech in pieces.push(pcm[at : at + FRAME_SAMPLES])
    ]

    assert whole.push(pcm) == decided


def test_real_callers_are_found_and_rarely_cut_in_two(recordings: Path) -> None:
    """Ends are those of the recordings' marks; 400 ms of silence end a turn."""
    rows = [json.loads(line) for line in recordings.read_text().splitlines()]
    rows = [row for row in rows if row.get("speech_end")][::4]
    missed, cut, end_errors = 0, 0, []
    for row in rows:
        pcm, _ = soundfile.read(recordings.parent / row["audio"], dtype="int16")
        found = [
            (start, end)
            for start, end in spans(Vad().push(ulaw(pcm)))
            if end > row["speech_start"] * FRAMES_A_SECOND and start < row["speech_end"] * FRAMES_A_SECOND
        ]
        missed += not found
        cut += len(found) > 1
        if found:
            end_errors.append(found[-1][1] * 20 - row["speech_end"] * 1000)

    assert missed == 0
    assert cut <= 0.05 * len(rows)
    assert abs(float(np.median(end_errors))) <= 100
