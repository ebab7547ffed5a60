"""Audio files: what is taken, and what is refused with the way to mend it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from parley.audio import MAX_SECONDS, ms_to_samples, read_any_audio, read_audio, samples_to_ms, write_wav
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
    elif kind in ("loud floats", "no number"):
        odd = {"loud floats": 12000.0, "no number": float("nan")}[kind]
        soundfile.write(path, np.full(800, odd, np.float32), 8000, subtype="FLOAT")
    elif kind == "no header":
        path = tmp_path / "x.raw"
        path.write_bytes(tone.tobytes())
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
        ("loud floats", "samples reach 12000, expected numbers from -1 to 1"),
        ("no number", "samples reach nan"),
        ("no header", "not a readable audio file"),
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


@pytest.mark.parametrize(
    ("subtype", "snr_db"),
    [("PCM_U8", 30), ("PCM_24", 70), ("PCM_32", 70), ("FLOAT", 70), ("DOUBLE", 70), ("ULAW", 30), ("ALAW", 30),
     ("GSM610", 10), ("IMA_ADPCM", 20)],
)  # fmt: skip
def test_every_kind_of_wav_that_a_switch_writes_is_the_same_sound(tmp_path: Path, subtype: str, snr_db: float) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(8000) / 8000)
    soundfile.write(tmp_path / "x.wav", tone, 8000, subtype=subtype)

    pcm = read_audio(tmp_path / "x.wav")
    other, rate = read_any_audio(tmp_path / "x.wav")

    off = (pcm[:8000] - tone * 32767)[400:]  # adaptive codecs begin from nothing
    assert 10 * np.log10(np.mean((tone * 32767) ** 2) / np.mean(off**2)) >= snr_db
    assert rate == 8000 and np.allclose(other, pcm / 32767, atol=1e-3)


def test_a_little_too_loud_floats_are_clipped(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.array([1.5, -1.5] * 50), 8000, subtype="FLOAT")

    assert set(read_audio(tmp_path / "x.wav").tolist()) == {32767, -32767}


def _wav(tmp_path: Path, *, riff_off_by: int = 0, data_size: int | None = None, before: bytes = b"") -> Path:
    """A WAV of 1,600 samples with a header of some writer's."""
    body = np.arange(1600, dtype="<i2").tobytes()
    fmt = b"fmt " + (16).to_bytes(4, "little") + b"\1\0\1\0" + (8000).to_bytes(4, "little")
    fmt += (16000).to_bytes(4, "little") + b"\2\0\x10\0"
    size = len(body) if data_size is None else data_size
    rest = b"WAVE" + fmt + before + b"data" + size.to_bytes(4, "little") + body
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFF" + (len(rest) + riff_off_by).to_bytes(4, "little") + rest)
    return path


@pytest.mark.parametrize(
    "header",
    [
        {"riff_off_by": 8},  # the file's size instead of what follows
        {"riff_off_by": -3236},  # zero: never patched
        {"riff_off_by": 1000},
        {"data_size": 0xFFFFFFFF},  # a stream's
        {"before": b"LIST" + (5).to_bytes(4, "little") + b"INFO\0\0"},
    ],
    ids=["the file's size", "size zero", "size too large", "stream", "another chunk, padded"],
)
def test_a_whole_wav_is_read_whatever_its_riff_header_says(tmp_path: Path, header: dict[str, object]) -> None:
    assert len(read_audio(_wav(tmp_path, **header))) == 1600  # type: ignore[arg-type]


def test_a_wav_that_lacks_samples_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="truncated"):
        read_audio(_wav(tmp_path, data_size=3300))


def test_a_small_file_of_endless_silence_is_refused(tmp_path: Path) -> None:
    with soundfile.SoundFile(tmp_path / "x.flac", "w", 8000, 1, "PCM_16") as file:
        for _ in range(MAX_SECONDS // 3600 + 1):
            file.write(np.zeros(3600 * 8000, np.int16))

    with pytest.raises(ParleyError, match=f"longer than {MAX_SECONDS} s"):
        read_audio(tmp_path / "x.flac")
