"""Audio as datasets store it: FLAC of 16 bits, whatever a recording's own format and rate; known by its SHA-256."""

from __future__ import annotations

import tempfile
from pathlib import Path

import soundfile

from parley.audio import TELEPHONE_RATE, Pcm, read_audio_at
from parley.files import sha256_file


def write_flac(path: Path, pcm: Pcm, rate: int) -> None:
    """Write int16 samples ``[n]`` of ``rate`` Hz, whole or not at all."""
    partial = path.with_name(f".{path.name}")
    soundfile.write(str(partial), pcm, rate, format="FLAC", subtype="PCM_16")
    partial.replace(path)


def stored_digest(recording: Path, rate: int = TELEPHONE_RATE) -> str:
    """SHA-256 by which a dataset of ``rate`` Hz knows a recording: of the file it stores.

    Raises:
        ParleyError: it is no audio of one channel.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "stored.flac"
        write_flac(file, read_audio_at(recording, rate), rate)
        return sha256_file(file)


def recording_digests(recording: Path) -> tuple[str, str]:
    """The digests by which a version may know a recording: of the file itself, and as a dataset stores it.

    Raises:
        ParleyError: it is no audio of one channel.
    """
    return sha256_file(recording), stored_digest(recording)
