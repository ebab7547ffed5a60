"""Audio files in and out, and the telephone's units: 8 kHz, mono, signed 16-bit, frames of 20 ms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from parley.errors import ParleyError

TELEPHONE_RATE = 8000
"""Samples a second of telephone audio (ITU-T G.711): what recordings are kept at and today's models are trained on.
Audio of a wire, or a model, has a rate of its own."""
FRAME_SAMPLES = TELEPHONE_RATE // 50
"""Samples of one 20 ms telephone frame."""

MAX_SECONDS = 4 * 3600
"""Longest recording that is read: a small file may hold hours of silence."""
_BLOCK = 1 << 20
_LOUDEST_FLOAT = 8.0
"""Floats up to here are loud audio, and are clipped; beyond, they are counted in other units."""

Pcm = NDArray[np.int16]
"""Signed 16-bit samples, one dimension; at the telephone's rate where nothing else is said."""


def samples_to_ms(samples: int, rate: int = TELEPHONE_RATE) -> float:
    """Milliseconds of ``samples`` samples, ``rate`` of them a second."""
    return samples * 1000.0 / rate


def ms_to_samples(ms: float, rate: int = TELEPHONE_RATE) -> int:
    """Samples in ``ms`` milliseconds at ``rate`` a second, rounded to the nearest."""
    return round(ms * rate / 1000.0)


def read_audio(path: Path | str) -> Pcm:
    """Read a recording that is already telephone audio.

    Samples of any kind that libsndfile decodes are taken: integers of other widths, mu-law, GSM, floats.

    Returns:
        int16 samples, shape ``[n]``, 8 kHz.

    Raises:
        ParleyError: no such file, not audio, truncated, empty, not mono, not 8 kHz, or floats that are no audio; says
            how to convert.
    """
    path = Path(path)
    convert = f"convert it: sox {path.name} -r 8000 -c 1 -b 16 out.wav"
    decoded = _decode(path)
    samples = _one_channel(decoded, path, convert)
    if decoded.rate != TELEPHONE_RATE:
        raise ParleyError(f"sample rate is {decoded.rate} Hz, expected {TELEPHONE_RATE}", where=str(path), mend=convert)
    return _to_int16(samples)


def read_audio_at(path: Path | str, rate: int) -> Pcm:
    """Read a recording of one channel and any sample rate.

    Returns:
        int16 samples, shape ``[n]``, at ``rate`` Hz: the file's own where it has that rate, else resampled by soxr
        (high quality; the same file always gives the same samples).

    Raises:
        ParleyError: as `read_audio`, but for the rate.
    """
    path = Path(path)
    decoded = _decode(path)
    samples = _one_channel(decoded, path, f"take one channel of it: sox {path.name} out.wav remix 1")
    if decoded.rate == rate:
        return _to_int16(samples)
    floats = samples / 32768.0 if samples.dtype == np.int16 else samples
    return _to_int16(np.asarray(soxr.resample(floats, decoded.rate, rate), dtype=np.float64))


def _one_channel(decoded: _Decoded, path: Path, mend: str) -> NDArray[Any]:
    if decoded.shape[1] != 1:
        raise ParleyError(f"audio has {decoded.shape[1]} channels, expected 1", where=str(path), mend=mend)
    return np.asarray(decoded.samples[:, 0])


def _to_int16(samples: NDArray[Any]) -> Pcm:
    """Integers as they are, floats of -1 to 1 scaled."""
    if samples.dtype == np.int16:
        return samples
    return np.asarray(np.rint(np.clip(samples, -1.0, 1.0) * 32767.0), dtype=np.int16)


def read_any_audio(path: Path | str) -> tuple[NDArray[np.float32], int]:
    """Read a recording of any rate and number of channels.

    Returns:
        float32 samples in -1 to 1, shape ``[n]``, channels averaged; and their rate in Hz.

    Raises:
        ParleyError: as `read_audio`, of what it can still refuse.
    """
    decoded = _decode(Path(path))
    scale = 32768.0 if decoded.samples.dtype == np.int16 else 1.0
    return np.asarray(decoded.samples.mean(axis=1, dtype=np.float64) / scale, dtype=np.float32), decoded.rate


@dataclass(frozen=True)
class _Decoded:
    samples: NDArray[Any]
    """``[n, channels]``: int16, or float64 where the file holds floats."""
    rate: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.samples.shape


def _decode(path: Path) -> _Decoded:
    if not path.is_file():
        raise ParleyError("no such audio file", where=str(path), mend="check the path")
    try:
        with soundfile.SoundFile(str(path)) as file:
            rate, declared = file.samplerate, file.frames
            if declared > MAX_SECONDS * rate:
                raise ParleyError(f"longer than {MAX_SECONDS} s", where=str(path), mend="cut it into calls")
            # libsndfile does not scale floats to integers: read as such they would be silence.
            floats = file.subtype in ("FLOAT", "DOUBLE")
            samples = _samples(file, "float64" if floats else "int16")
    except (soundfile.LibsndfileError, ValueError, TypeError) as error:
        # ValueError and TypeError: soundfile's own, for a name like .raw that says nothing of its content.
        said = error.error_string if isinstance(error, soundfile.LibsndfileError) else error
        raise ParleyError(
            f"not a readable audio file ({str(said).strip().rstrip('.')})",
            where=str(path),
            mend="give a WAV or FLAC file that plays; one without a header: sox -t ul -r 8000 -c 1 IN OUT.wav",
        ) from None
    if len(samples) == 0:
        raise ParleyError("audio holds no samples", where=str(path), mend="record it again")
    if len(samples) < declared or _wav_lacks_samples(path):
        raise ParleyError(
            f"audio is truncated: {len(samples)} samples, header says more",
            where=str(path),
            mend="copy or record it again",
        )
    if floats:
        _check_floats(samples, path)
    return _Decoded(samples, rate)


def _samples(file: soundfile.SoundFile, dtype: str) -> NDArray[Any]:
    """All samples of a file, ``[n, channels]``, in blocks: GSM and some ADPCM cannot be read in one."""
    blocks = []
    while len(block := file.read(_BLOCK, dtype=dtype, always_2d=True)):
        blocks.append(block)
    return np.concatenate(blocks) if blocks else np.zeros((0, file.channels), dtype=dtype)


def _check_floats(samples: NDArray[Any], path: Path) -> None:
    peak = float(np.max(np.abs(samples)))  # NaN wins
    if not peak <= _LOUDEST_FLOAT:
        raise ParleyError(
            f"samples reach {peak:g}, expected numbers from -1 to 1",
            where=str(path),
            mend=f"write it anew in 16 bits: sox --norm {path.name} -b 16 out.wav",
        )


def _wav_lacks_samples(path: Path) -> bool:
    """Whether a WAV's header announces more samples than the file has (libsndfile reads such files in silence).

    Only the data chunk speaks of samples: the size in the RIFF header is off by eight with some writers.
    """
    with path.open("rb") as file:
        head = file.read(12)
        if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
            return False
        end = path.stat().st_size
        while len(chunk := file.read(8)) == 8:
            size = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                # 0xFFFFFFFF and 0 are what streaming writers leave behind; only a definite promise counts.
                return size < 0xFFFFFFF0 and file.tell() + size > end
            file.seek(size + size % 2, 1)
    return False


def write_wav(path: Path | str, pcm: NDArray[np.int16], rate: int = TELEPHONE_RATE) -> None:
    """Write 16-bit samples, shape ``[n]`` or ``[n, channels]``, ``rate`` of them a second, as a WAV file."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(str(path), pcm, rate, subtype="PCM_16", format="WAV")
