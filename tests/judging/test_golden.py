"""Golden items: what a line says, and by which digests a version may know it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from manifests import row, write_manifest

from judging.golden import GoldenItem, read_golden
from models.stored_audio import recording_digests
from parley.errors import ParleyError
from parley.utterances import of_texts


def write(folder: Path, *entries: dict[str, object]) -> Path:
    path = folder / "golden.jsonl"
    path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return path


def test_items_are_read_by_their_kind_and_known_by_what_they_hold(tmp_path: Path) -> None:
    write_manifest(tmp_path / "m.jsonl", [row("a.wav")])
    slots = {"size": "large", "coffeeDrink": "latte"}
    text, audio, act, part = read_golden(
        write(
            tmp_path,
            {"id": "a", "text": "one latte", "intent": "orderDrink", "slots": slots},
            {"id": "b", "audio": "a.wav", "intent": "", "slots": {}},
            {"id": "c", "act": "confirm", "slots": slots},
            {"id": "d", "act": "confirm", "slots": slots, "say": ["size"]},
        )
    )

    assert text == GoldenItem("a", "text", "one latte", slots, "orderDrink", tuple(slots), tmp_path)
    assert (audio.kind, audio.audio, audio.intent) == ("audio", tmp_path / "a.wav", "")
    assert (act.kind, act.say, part.say) == ("act", tuple(slots), ("size",))
    assert text.digests() == (of_texts([("train", ["one latte"])])[0].sha256,)
    assert audio.digests() == recording_digests(tmp_path / "a.wav") and act.digests() == ()


def test_what_must_be_said_is_among_the_slots(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="golden.jsonl:1: say"):
        read_golden(write(tmp_path, {"id": "c", "act": "confirm", "slots": {}, "say": ["size"]}))


def test_a_bot_without_a_golden_set_has_no_items(tmp_path: Path) -> None:
    assert read_golden(tmp_path / "golden.jsonl") == []
