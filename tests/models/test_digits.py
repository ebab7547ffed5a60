"""Strings of spoken digits: how takes are dealt, put together and written to a manifest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile
from manifests import row, write_manifest

from models.digits import GAP_S, manifest, read_takes, strings
from parley.audio import TELEPHONE_RATE
from parley.errors import ParleyError
from parley.recordings import read_recordings, write_recordings

_TONE = (8000 * np.sin(np.arange(TELEPHONE_RATE // 4) * 0.3)).astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for speaker in ("ann", "ben"):
        for digit in "0123456789":
            soundfile.write(str(tmp_path / f"{digit}_{speaker}_0.flac"), _TONE, TELEPHONE_RATE)
    return tmp_path


def test_strings_use_every_take_equally_often_and_only_one_speakers(folder: Path) -> None:
    takes = read_takes(folder)

    made = list(strings(takes["ann"], range(1, 6), 4, seed=1))

    assert [len(s.takes) for s in made] == [n for n in range(1, 6) for _ in range(4)]
    assert {s.speaker for s in made} == {"ann"}
    assert set(Counter(t.digit for s in made for t in s.takes).values()) == {6}


def test_the_seed_decides_the_strings(folder: Path) -> None:
    takes = read_takes(folder)["ben"]

    first, again, other = (list(strings(takes, (8,), 5, seed)) for seed in (1, 1, 2))

    assert first == again != other


def test_a_string_sounds_as_its_takes_with_gaps_between(folder: Path) -> None:
    spoken = next(strings(read_takes(folder)["ann"], (3,), 1, seed=1))

    pcm = spoken.audio(around_s=0.3)

    assert len(spoken.digits) == 3 and all(GAP_S[0] <= gap <= GAP_S[1] for gap in spoken.gaps_s)
    assert len(pcm) == pytest.approx(TELEPHONE_RATE * (0.6 + sum(spoken.gaps_s)) + 3 * len(_TONE), abs=4)
    assert not pcm[: int(0.3 * TELEPHONE_RATE)].any() and not pcm[-int(0.3 * TELEPHONE_RATE) :].any()


def test_the_manifest_holds_every_take_and_other_recordings(folder: Path) -> None:
    said = row("x.flac", speaker="cy", intent="order", slots={"size": "large"}, text="a latte", accent="welsh")
    other = write_manifest(folder / "other" / "manifest.jsonl", [said])
    written = folder / "all.jsonl"
    write_recordings(written, manifest(folder, [other]))

    found = read_recordings(written)

    assert len(found) == 21 and found[0].text == "zero" and found[0].path.is_file()
    assert found[-1].text == "a latte" and found[-1].path == (other.parent / "x.flac").resolve()
    assert (found[-1].intent, found[-1].slots, found[-1].label("accent")) == ("", {}, "welsh")


def test_a_folder_without_digits_is_told_the_names(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="no digits here"):
        read_takes(tmp_path)
