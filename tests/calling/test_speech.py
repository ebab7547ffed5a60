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

    (said,) = [load_speech(listed, 8000) for listed in read_recordings(tmp_path / "m.jsonl", needs=())]

    assert (said.speech_end, said.recording.intent, said.recording.slots) == (7200, "orderDrink", {"size": "large"})
    assert abs(speech_of_file(tmp_path / "a.wav", 8000).speech_end - 8000) <= 320


@pytest.mark.parametrize(("rate", "wideband"), [(8000, False), (16000, True)])
def test_a_recording_is_said_at_the_wires_rate_with_all_of_its_band(tmp_path: Path, rate: int, wideband: bool) -> None:
    """Speech in the telephone's band, for voice activity, and 6 kHz beside it, which only a wideband wire carries."""
    said = tone(300, 1.0, rate=16000) + tone(6000, 1.0, 3000, rate=16000)
    soundfile.write(tmp_path / "wide.wav", np.concatenate([said, np.zeros(16000, np.int16)]), 16000, "PCM_16")

    speech = speech_of_file(tmp_path / "wide.wav", rate)

    spectrum = np.abs(np.fft.rfft(speech.pcm))  # a bin is half a hertz
    assert (speech.rate, len(speech.pcm)) == (rate, 2 * rate)
    assert abs(speech.speech_end - rate) <= rate // 25
    assert bool(spectrum[11_000:].max(initial=0.0) > 0.1 * spectrum.max()) is wideband


def test_a_recording_in_which_nobody_speaks_is_refused(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "still.wav", np.zeros(8000, np.int16), 8000, "PCM_16")

    with pytest.raises(ParleyError, match="nobody speaks"):
        speech_of_file(tmp_path / "still.wav", 8000)
