"""The benchmark of turns: counts on marked recordings, and detectors that feed one turn taking."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.quality import turns
from orchestrator.vad import Vad
from parley.audio import TELEPHONE_RATE, Pcm, write_wav
from parley.errors import ParleyError


def _voice(seconds: float) -> Pcm:
    time_s = np.arange(round(seconds * TELEPHONE_RATE)) / TELEPHONE_RATE
    wave = sum(np.sin(2 * np.pi * 120 * k * time_s) / k for k in range(1, 25))
    return (wave * np.clip(np.sin(2 * np.pi * time_s / 0.24) + 0.7, 0, 1) * 2000).astype(np.int16)


_QUIET = np.zeros(TELEPHONE_RATE, dtype=np.int16)


def test_turns_are_counted_against_the_marks() -> None:
    marks = [(1.0, 2.0)] * 5
    right, halves = [(1.05, 2.02)], [(1.0, 1.3), (1.9, 2.0)]
    late, beside_too, nothing = [(1.6, 1.7)], [(0.1, 0.4), (1.0, 2.0)], [(3.0, 3.5)]

    found = turns.figures(marks, [right, halves, late, beside_too, nothing], preroll_s=0.5)

    assert (found["missed"], found["cut"], found["beside"], found["clipped"], found["early"]) == (1, 1, 2, 1, 1)
    assert found["end_p50_ms"] == 0


@pytest.mark.parametrize("make", [Vad, turns.ByEnergy])
def test_one_utterance_is_one_turn_for_either_detector(make: type) -> None:
    (turn,) = turns.turns_of(np.concatenate([_QUIET, _voice(1.5), _QUIET]), make())

    assert turn[0] == pytest.approx(1.0, abs=0.15) and turn[1] == pytest.approx(2.5, abs=0.2)


def test_silero_is_asked_for_windows_of_32_ms_and_answers_for_frames_of_20() -> None:
    class Session:
        windows: list[NDArray[np.float32]] = []

        def run(self, _: None, feed: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
            self.windows.append(feed["input"])
            return [np.array([[0.9 if np.abs(feed["input"]).max() > 0 else 0.1]]), feed["state"]]

    session = Session()
    detector = turns.Silero(session)  # type: ignore[arg-type]  # as much of a session as it uses

    frames = detector.push(_QUIET) + detector.push(_voice(1.0))

    assert len(frames) == 100 and not any(frames[:50]) and sum(frames[50:]) > 40
    assert {w.shape for w in session.windows} == {(1, 288)} and len(session.windows) == 2 * TELEPHONE_RATE // 256


def test_the_report_is_written_and_recordings_without_marks_are_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", np.concatenate([_QUIET, _voice(1.5), _QUIET]))
    row = {"audio": "a.wav", "speaker": "ann", "text": "", "intent": "order", "slots": {}}
    manifest = tmp_path / "m.jsonl"
    manifest.write_text(json.dumps({**row, "speech_start": 1.0, "speech_end": 2.5}) + "\n")

    turns.main(["--manifest", str(manifest), "--out", str(tmp_path / "out")])

    report = json.loads((tmp_path / "out" / "turns.json").read_text())
    assert report["results"]["clean"]["both"]["missed"] == 0
    assert "| clean | energy | 0 | 0 | 0 |" in (tmp_path / "out" / "turns.md").read_text()
    assert (tmp_path / "out" / "turns.png").is_file()
    manifest.write_text(json.dumps(row) + "\n")
    with pytest.raises(ParleyError, match="where its speech is"):
        turns.main(["--manifest", str(manifest), "--out", str(tmp_path / "out")])
