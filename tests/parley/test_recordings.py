"""The one reader of manifests: what a line may say, what is refused and where, audio of any rate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from manifests import row, write_manifest

from parley.bot import load_bot
from parley.errors import ParleyError
from parley.recordings import Recording, of_speakers, read_recordings, write_recordings

PSEUDONYM, OTHER = "ab" * 32, "cd" * 32


def test_a_line_is_read_with_what_it_says_and_the_rest_by_its_key(tmp_path: Path) -> None:
    said = row(
        "a.wav", slots={"size": "large"}, speech_start=0.1, speech_end=0.4, accent="welsh", take=3, subject=PSEUDONYM
    )
    manifest = write_manifest(tmp_path / "m.jsonl", [said])

    (found,) = read_recordings(manifest)

    assert found == Recording(
        "a.wav", tmp_path / "a.wav", f"{manifest}:1", "ann", "help", {"size": "large"}, "help", 0.1, 0.4, PSEUDONYM,
        {"accent": "welsh", "take": 3},
    )  # fmt: skip
    assert (found.label("accent"), found.label("take"), found.label("speaker"), found.label("none")) == (
        "welsh", "3", "ann", "",
    )  # fmt: skip
    assert found.entry() == said


def test_what_is_not_known_is_left_out_where_nobody_needs_it(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [{"audio": "a.wav", "text": None, "speech_start": None}])

    (found,) = read_recordings(manifest, needs=())

    assert (found.speaker, found.intent, found.slots, found.text, found.marks) == ("", None, {}, None, None)
    with pytest.raises(ParleyError, match="m.jsonl:1: speaker: expected str"):
        read_recordings(manifest)


def test_a_manifest_that_was_written_reads_the_same(tmp_path: Path) -> None:
    read = read_recordings(write_manifest(tmp_path / "m.jsonl", [row("a.wav"), row("b.wav", speaker="ben", intent="")]))
    write_recordings(tmp_path / "n.jsonl", read)

    again = [replace(one, where="") for one in read_recordings(tmp_path / "n.jsonl")]

    assert again == [replace(one, where="") for one in read]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"audio": 1}, "audio: expected str"),
        ({"audio": ""}, "audio: is empty"),
        ({"speaker": ""}, "speaker: is empty"),
        ({"speaker": None}, "speaker: expected str"),
        ({"slots": []}, "slots: expected dict"),
        ({"slots": {"size": 8}}, "slots.size: 8 is no text"),
        ({"text": 5}, "text: expected str"),
        ({"speech_end": "late"}, "speech_end: expected seconds"),
        ({"speech_end": True}, "speech_end: expected seconds"),
        ({"speech_start": -1}, "speech_start: expected seconds"),
        ({"speech_start": 1.0, "speech_end": 0.5}, "speech_end: 0.5 s is before"),
        ({"audio": "gone.wav"}, "audio: no file .*gone.wav"),
        ({"audio": "./a.wav"}, "audio: ./a.wav stands in .*m.jsonl:1, too"),
        ({"subject": PSEUDONYM.upper()}, "subject: expected a pseudonym"),
        ({"subject": PSEUDONYM}, "speaker: ann has another subject before"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_wrong_line_is_named_with_its_key(tmp_path: Path, wrong: dict[str, Any], says: str) -> None:
    lines = write_manifest(tmp_path / "m.jsonl", [row("a.wav"), row("b.wav")]).read_text().splitlines()
    (tmp_path / "m.jsonl").write_text(lines[0] + "\n\n" + json.dumps(row("b.wav") | wrong) + "\n")

    with pytest.raises(ParleyError, match=f"m.jsonl:3: {says}"):
        read_recordings(tmp_path / "m.jsonl")


@pytest.mark.parametrize(
    "number", ["+15550100234", "+1 (555) 010-0234", "tel:+15550100234", "sip:+15550100234@gw.example"]
)
@pytest.mark.parametrize("key", ["speaker", "subject"])
def test_a_telephone_number_is_refused_and_not_repeated(tmp_path: Path, key: str, number: str) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [row("a.wav") | {key: number}])

    with pytest.raises(ParleyError, match=f"{key}: ") as caught:
        read_recordings(manifest)

    assert "0234" not in str(caught.value)


def test_a_person_is_one_speaker(tmp_path: Path) -> None:
    """Splits are by speaker: a person with two names could be trained on and tested with."""
    rows = [
        row("a.wav", subject=PSEUDONYM),
        row("b.wav", subject=PSEUDONYM),
        row("c.wav", speaker="ben", subject=OTHER),
    ]
    assert len(read_recordings(write_manifest(tmp_path / "m.jsonl", rows))) == 3

    rows[1]["speaker"] = "anne"
    with pytest.raises(ParleyError, match="m.jsonl:2: subject: was speaker ann before"):
        read_recordings(write_manifest(tmp_path / "m.jsonl", rows))


@pytest.mark.parametrize(
    ("intent", "slots", "says"),
    [
        ("orderTea", {}, "m.jsonl:2: intent: barista has no 'orderTea'; it has: .*orderDrink"),
        ("orderDrink", {"cup": "large"}, "m.jsonl:2: slots: barista has no 'cup'; it has: .*size"),
        ("orderDrink", {"size": "huge"}, "m.jsonl:2: slots.size: 'huge' is no value of it"),
        ("", {}, ""),
        ("orderDrink", {"size": "large"}, ""),
    ],
)
def test_recordings_mean_what_the_bot_knows(tmp_path: Path, intent: str, slots: dict[str, str], says: str) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [row("a.wav"), row("b.wav", intent=intent, slots=slots)])

    if says:
        with pytest.raises(ParleyError, match=says):
            read_recordings(manifest, bot=load_bot("barista"))
    else:
        assert len(read_recordings(manifest, bot=load_bot("barista"))) == 2


def test_a_manifest_without_recordings_and_none_at_all_are_said(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_text("\n")
    with pytest.raises(ParleyError, match="no recordings"):
        read_recordings(tmp_path / "m.jsonl")
    with pytest.raises(ParleyError, match="no such manifest"):
        read_recordings(tmp_path / "n.jsonl")


def test_only_some_speakers_are_taken_and_nobody_is_said(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path / "m.jsonl", [row("a.wav"), row("b.wav", speaker="ben")])
    read = read_recordings(manifest)

    assert of_speakers(read, (), manifest) == read
    assert [one.audio for one in of_speakers(read, ["ben"], manifest)] == ["b.wav"]
    with pytest.raises(ParleyError, match="no recording of these speakers"):
        of_speakers(read, ["cy"], manifest)


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_samples_have_the_rate_that_is_asked_for(tmp_path: Path, rate: int) -> None:
    tone = np.sin(2 * np.pi * 300 * np.arange(rate) / rate) * 0.25
    soundfile.write(tmp_path / "a.wav", tone, rate, subtype="PCM_16")
    (found,) = read_recordings(write_manifest(tmp_path / "m.jsonl", [row("a.wav")]))

    for asked in (8000, 16000):
        pcm = found.samples(asked)
        wanted = np.sin(2 * np.pi * 300 * np.arange(asked) / asked) * 8192
        assert pcm.dtype == np.int16 and len(pcm) == asked
        assert np.abs(pcm - wanted)[asked // 10 : -asked // 10].max() < 20
        assert np.array_equal(pcm, found.samples(asked))
    if rate == 8000:
        assert np.array_equal(found.samples(8000), soundfile.read(tmp_path / "a.wav", dtype="int16")[0])


def test_speech_is_cut_with_some_silence_around_it(tmp_path: Path) -> None:
    plain = Recording("a.wav", tmp_path / "a.wav")
    pcm = np.arange(16000, dtype=np.int16)

    assert np.array_equal(plain.speech(pcm, 8000), pcm)
    marked = replace(plain, speech_start_s=0.5, speech_end_s=1.0)
    assert np.array_equal(marked.speech(pcm, 8000), pcm[1600:10400])
    assert marked.speech(pcm, 16000)[0] == 3200
