"""What a test caller says: a recording with its samples, and where its speech ends.

said = [load_speech(recording, wire.rate) for recording in read_recordings(manifest, needs=())]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.vad import Vad
from orchestrator.wall_clock import CALL_RATE
from parley.audio import FRAME_SAMPLES, Pcm
from parley.errors import ParleyError
from parley.recordings import Recording


@dataclass(frozen=True)
class Speech:
    """A recording, ready to be said on a wire."""

    recording: Recording
    """Where it is from, and what must be understood where that is known."""
    pcm: Pcm
    """int16 ``[n]``, at ``rate``."""
    rate: int
    """Samples a second, in Hz: the wire's."""
    speech_end: int
    """One past the last sample that holds speech."""

    @property
    def name(self) -> str:
        """The file's name, for reports."""
        return self.recording.path.name


def load_speech(recording: Recording, rate: int) -> Speech:
    """A recording's samples at ``rate`` Hz; where its speech ends is found by voice activity if it is not marked.

    Raises:
        ParleyError: no audio, or nobody speaks in it.
    """
    pcm, end_s = recording.samples(rate), recording.speech_end_s
    if end_s is None:
        end_s = _speech_end_s(recording.samples(CALL_RATE), recording.path)
    return Speech(recording, pcm, rate, min(len(pcm), round(end_s * rate)))


def speech_of_file(path: Path, rate: int) -> Speech:
    """As :func:`load_speech`, of an audio file of which nothing else is known."""
    return load_speech(Recording(path.name, path, str(path)), rate)


def _speech_end_s(pcm: Pcm, path: Path) -> float:
    """Seconds until the last speech in samples at the call's rate, which voice activity listens at, is over."""
    whole = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES]
    # Some silence first, for the detector to know the floor from.
    quiet = np.zeros(25 * FRAME_SAMPLES, dtype=np.int16)
    active = Vad().push(np.concatenate([quiet, whole]))[25:]
    if not any(active):
        raise ParleyError("nobody speaks in it", where=str(path), mend="give a recording with speech")
    return (max(i for i, speech in enumerate(active) if speech) + 1) * FRAME_SAMPLES / CALL_RATE
