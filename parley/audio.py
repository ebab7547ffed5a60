"""Audio files in and out, and the telephone's units: 8 kHz, mono, signed 16-bit, frames of 20 ms."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from parley.errors import ParleyError

SAMPLE_RATE = 8000
"""Samples a second, everywhere in Parley."""
FRAME_SAMPLES = 160
"""Samples of one 20 ms telephone frame."""

Pcm = NDArray[np.int16]
"""Signed 16-bit samples at :data:`SAMPLE_RATE`, one dimension."""


def samples_to_ms(samples: int) -> float:
    """Milliseconds of ``samples`` samples."""
    return samples * 1000.0 / SAMPLE_RATE


def ms_to_samples(ms: float) -> int:
    """Samples in ``ms`` milliseconds, rounded to the nearest."""
    return round(ms * SAMPLE_RATE / 1000.0)


def read_audio(path: Path | str) -> Pcm:
    """Read a recording that is already telephone audio.

    Returns:
        int16 samples, shape ``[n]``, 8 kHz.

    Raises:
        ParleyError: no such file, not audio, truncated, empty, not mono, or not 8 kHz; says how to convert.
    """
    path = Path(path)
    if not path.is_file():
        raise ParleyError("no such audio file", where=str(path), mend="check the path")
    convert = f"convert it: sox {path.name} -r 8000 -c 1 -b 16 out.wav"
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, channels, declared = file.samplerate, file.channels, file.frames
            if channels != 1:
                raise ParleyError(f"audio has {channels} channels, expected 1", where=str(path), mend=convert)
            if rate != SAMPLE_RATE:
                raise ParleyError(f"sample rate is {rate} Hz, expected {SAMPLE_RATE}", where=str(path), mend=convert)
            pcm = file.read(dtype="int16")
    except soundfile.LibsndfileError as error:
        reason = str(error.error_string).strip().rstrip(".")
        raise ParleyError(
            f"not a readable audio file ({reason})",
            where=str(path),
            mend="give a WAV or FLAC file that plays",
        ) from None
    if len(pcm) == 0:
        raise ParleyError("audio holds no samples", where=str(path), mend="record it again")
    if len(pcm) < declared or (path.suffix.lower() == ".wav" and _wav_promises_more(path)):
        raise ParleyError(
            f"audio is truncated: {len(pcm)} samples, header says more",
            where=str(path),
            mend="copy or record it again",
        )
    return np.asarray(pcm, dtype=np.int16)


def _wav_promises_more(path: Path) -> bool:
    """Whether a RIFF header announces more bytes than the file has (libsndfile reads such files in silence)."""
    with path.open("rb") as file:
        head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF":
        return False
    announced = int.from_bytes(head[4:8], "little")
    # 0xFFFFFFFF and 0 are what streaming writers leave behind; only a definite promise counts.
    return 0 < announced < 0xFFFFFFF0 and announced + 8 > path.stat().st_size


def write_wav(path: Path | str, pcm: NDArray[np.int16]) -> None:
    """Write 16-bit samples, shape ``[n]`` or ``[n, channels]``, as an 8 kHz WAV file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), pcm, SAMPLE_RATE, subtype="PCM_16", format="WAV")
