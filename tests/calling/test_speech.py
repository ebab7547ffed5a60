"""Recordings as a test caller says them: where speech ends, and what must be understood."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from call_fakes import tone

from calling.speech import load_speech, speech_of_file
from parley.errors import ParleyError
from parley.recordings import read_recordings


def test_marked_speech_ends_where_the_mark_is_and_other_speech_where_it_is_heard_to_end(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.concatenate([tone(300, 1.0), np.zeros(8000, np.int16)]), 8000, "PCM_16")
    row = {"audio": "a.wav", "speech_end": 0.9, "intent": "orderDrink", "slots": {"size": "large"}}
    (tmp_path / "m.jsonl").write_text(json.dumps(row) + "\n")

    (said,) = map(load_speech, read_recordings(tmp_path / "m.jsonl", needs=()))

    assert (said.speech_end, said.recording.intent, said.recording.slots) == (7200, "orderDrink", {"size": "large"})
    assert abs(speech_of_file(tmp_path / "a.wav").speech_end - 8000) <= 320


def test_a_recording_of_another_rate_is_said_at_the_telephones(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "wide.wav", np.tile(tone(300, 1.0), 2), 16000, "PCM_16")

    assert len(speech_of_file(tmp_path / "wide.wav").pcm) == 8000


def test_a_recording_in_which_nobody_speaks_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "still.wav", np.zeros(8000, np.int16), 8000, "PCM_16")

    with pytest.raises(ParleyError, match="nobody speaks"):
        speech_of_file(tmp_path / "still.wav")
