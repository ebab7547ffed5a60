"""Audio files: what is taken, and what is refused with the way to mend it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from parley.audio import ms_to_samples, read_audio, samples_to_ms, write_wav
from parley.errors import ParleyError


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    pcm = np.arange(-800, 800, dtype=np.int16)
    write_wav(tmp_path / "a.wav", pcm)

    assert np.array_equal(read_audio(tmp_path / "a.wav"), pcm)


def _file(tmp_path: Path, kind: str) -> Path:
    path = tmp_path / "x.wav"
    tone = np.zeros(1600, np.int16)
    if kind == "16 kHz":
        soundfile.write(path, tone, 16000)
    elif kind == "stereo":
        soundfile.write(path, np.stack([tone, tone], axis=1), 8000)
    elif kind == "empty":
        soundfile.write(path, tone[:0], 8000)
    elif kind == "truncated":
        soundfile.write(path, tone, 8000)
        path.write_bytes(path.read_bytes()[:1000])
    elif kind == "truncated flac":
        path = tmp_path / "x.flac"
        soundfile.write(path, np.random.default_rng(0).integers(-9999, 9999, 16000).astype(np.int16), 8000)
        path.write_bytes(path.read_bytes()[:4000])
    elif kind == "text":
        path.write_text("hello")
    elif kind == "no bytes":
        path.write_bytes(b"")
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("16 kHz", "sample rate is 16000 Hz, expected 8000"),
        ("stereo", "audio has 2 channels, expected 1"),
        ("empty", "holds no samples"),
        ("truncated", "truncated"),
        ("truncated flac", "(truncated|not a readable)"),
        ("text", "not a readable audio file"),
        ("no bytes", "not a readable audio file"),
        ("absent", "no such audio file"),
    ],
)
def test_bad_audio_is_one_clear_error(tmp_path: Path, kind: str, says: str) -> None:
    with pytest.raises(ParleyError, match=says) as caught:
        read_audio(_file(tmp_path, kind))
    assert caught.value.mend and str(tmp_path) in caught.value.where


@given(st.integers(0, 10**7))
def test_samples_and_milliseconds_agree(samples: int) -> None:
    assert ms_to_samples(samples_to_ms(samples)) == samples
