"""``parley call --recordings``: one call a recording, of the speakers that are asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from manifests import row, write_manifest

from calling.report import CallReport, SaidReport
from calling.speech import Speech
from cli.main import run
from parley.errors import ParleyError


@pytest.fixture
def placed(monkeypatch: pytest.MonkeyPatch) -> list[Speech]:
    """What calls would be placed with."""
    found: list[Speech] = []

    async def place_calls(recordings: Sequence[Speech], *_: Any, **__: Any) -> list[CallReport]:
        found.extend(recordings)
        return [CallReport([SaidReport(one.name, 700.0)], end="hung_up") for one in recordings]

    monkeypatch.setattr("calling.caller.place_calls", place_calls)
    return found


def test_only_the_recordings_that_are_said_are_opened(tmp_path: Path, placed: list[Speech]) -> None:
    rows = [row(f"{who}{n}.wav", speaker=who, speech_end=0.4) for who in ("ann", "ben") for n in range(2)]
    manifest = write_manifest(tmp_path / "m.jsonl", rows)
    for unsaid in ("ann0", "ann1", "ben1"):
        (tmp_path / f"{unsaid}.wav").write_text("no audio")

    command = ["call", "--recordings", str(manifest), "--speakers", "ben", "--limit", "1"]
    assert run([*command, "--json", str(tmp_path / "out.json")]) == 0

    assert [one.name for one in placed] == ["ben0.wav"] and len(placed[0].pcm) == 4000
    assert json.loads((tmp_path / "out.json").read_text())["answered"] == 1


def test_what_a_caller_says_needs_no_label(tmp_path: Path, placed: list[Speech]) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [{"audio": "a.wav", "speech_end": 0.4}])

    assert run(["call", "--recordings", str(manifest)]) == 0

    assert placed[0].recording.intent is None
    with pytest.raises(ParleyError, match="no recording of these speakers"):
        run(["call", "--recordings", str(manifest), "--speakers", "ben"])
