"""The digits benchmark: errors are counted as they should be, and only runs that never heard a speaker judge him."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from contextlib import AsyncExitStack
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.quality import digits
from benchmarks.quality.digits_figures import NOTHING, Heard, aligned, figures
from benchmarks.quality.digits_report import markdown, write_report, write_samples
from judging.conditions import Condition
from models.digits import Spoken
from models.stt.evaluate import edit_distance
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bundle import Lineage, Manifest, read_manifest, write_bundle
from parley.errors import ParleyError
from parley.runs import Run
from parley.settings import settings
from registry.reading import release_of
from registry.versions.card import model_card

_TONE = (8000 * np.sin(np.arange(TELEPHONE_RATE // 8) * 0.3)).astype(np.int16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = tmp_path / "data"
    data.mkdir()
    for speaker in ("ann", "ben"):
        for digit in "0123456789":
            soundfile.write(str(data / f"{digit}_{speaker}_0.flac"), _TONE, TELEPHONE_RATE)
    return data


@given(st.text("012", max_size=8), st.text("012", max_size=8))
def test_an_alignment_has_the_fewest_edits_and_spells_both_strings(said: str, heard: str) -> None:
    pairs = aligned(said, heard)

    assert "".join(a for a, _ in pairs if a != NOTHING) == said
    assert "".join(b for _, b in pairs if b != NOTHING) == heard
    assert sum(a != b for a, b in pairs) == edit_distance([*said], [*heard])


def test_figures_count_digits_strings_and_what_was_acted_on() -> None:
    heard = [
        Heard("ann", "1234", "1234", True),
        Heard("ann", "1234", "1294", True),
        Heard("ben", "12", "", False),
        Heard("ben", "55", "555", False),
    ]

    found = figures(heard)

    assert found["digit_error"] == pytest.approx(4 / 12, abs=1e-4)
    assert (found["substitutions"], found["deletions"], found["insertions"]) == (1, 2, 1)
    assert found["string_error"] == 0.75 and found["asked_again"] == 0.5 and found["wrong_and_accepted"] == 0.25
    assert found["by_length"]["4"]["string_error"] == 0.5 and found["by_speaker"]["ben"]["string_error"] == 1
    assert found["pairs"]["3 9"] == 1 and found["misses"][0] == ["ann", "1234", "1294"]
    low, high = found["string_error_by_string"]
    assert 0 <= low < 0.75 < high <= 1


def test_no_error_at_all_still_has_an_upper_bound() -> None:
    found = figures([Heard("ann", "12", "12", True)] * 100)

    assert found["string_error_by_string"] == [0.0, 0.03] and found["string_error_by_speaker"] == [0.0, 1.0]


def test_the_digit_loop_takes_one_to_sixteen_digits() -> None:
    loop = digits.digit_loop()

    assert loop.accepts(["oh"]) and loop.accepts(["nine"] * 16)
    assert not loop.accepts([]) and not loop.accepts(["nine"] * 17) and not loop.accepts(["double", "nine"])


def test_the_aims_length_has_its_own_count_and_every_speaker_the_same(folder: Path) -> None:
    made = digits.strings_of(folder, digits.Recipe(per_length=2, at_aim=5, seed=1))

    for speaker in ("ann", "ben"):
        lengths = [len(s.digits) for s in made if s.speaker == speaker]
        assert all(lengths.count(n) == (5 if n == digits.AIM_LENGTH else 2) for n in range(1, 17))


async def _half_deaf(spoken: Spoken, pcm: Pcm) -> tuple[str, bool]:
    rng = random.Random(spoken.key)
    return "".join(d if rng.random() < 0.9 else rng.choice("0123456789") for d in spoken.digits), True


def test_a_report_that_was_read_again_keeps_the_order_of_lengths_and_conditions(folder: Path) -> None:
    """JSON's keys are sorted as text when they are written: 10 before 2, 12 dB before 6."""
    made = digits.strings_of(folder, digits.Recipe(per_length=1, at_aim=1, seed=1))
    heard = asyncio.run(digits.measure(_half_deaf, Condition(), made, None, "test"))
    conditions = (Condition(), Condition(snr_db=6.0), Condition(snr_db=12.0))
    done = {c.name: {"condition": {"snr_db": c.snr_db}, **figures(heard)} for c in conditions}
    report = {"command": "c", "aim_length": 8, "results": {"loop": done}}

    again = markdown(json.loads(json.dumps(report, sort_keys=True)))

    cells = [line.split("|")[1:3] for line in again.splitlines() if line.startswith("| ")]
    assert [name.strip() for title, name in cells if title.strip() == "Parley, digits"] == [c.name for c in conditions]
    assert [int(title) for title, _ in cells if title.strip().isdigit()] == list(range(1, 17))


def test_the_report_holds_tables_plots_and_samples(folder: Path, tmp_path: Path) -> None:
    made = digits.strings_of(folder, digits.Recipe(per_length=2, at_aim=3, seed=1))
    noise = np.random.default_rng(1).normal(0, 1000, TELEPHONE_RATE).astype(np.float32)
    report: dict = {"command": "c", "aim_length": 8, "results": {"sphinx": {}, "loop": {}}}
    for done in report["results"].values():
        for condition in (Condition(), Condition(snr_db=12.0)):
            heard = asyncio.run(digits.measure(_half_deaf, condition, made, noise, "test"))
            done[condition.name] = {"condition": {"snr_db": condition.snr_db}, **figures(heard)}

    write_report(report, tmp_path)
    samples = asyncio.run(write_samples(_half_deaf, made, noise, tmp_path, 8, 1.0))

    rows = [line for line in markdown(report).splitlines() if line.startswith("| Parley, digits |")]
    written = (tmp_path / "digits.md").read_text()
    assert written.index("| Parley, digits |") < written.index("| PocketSphinx, digits |")
    assert len(rows) == 2 and "| clean | 66 |" in rows[0] and "| SNR 12 dB | 6 |" in rows[1]
    assert len(samples) == 4
    for name in ["digits.png", "digits-confusion.png", "digits-noise.png", *(s["audio"] for s in samples)]:
        assert (tmp_path / name).stat().st_size > 1000


@pytest.mark.parametrize("fold", ["none", "without:ben"])
def test_a_run_that_may_have_heard_the_speaker_judges_nobody(tmp_path: Path, fold: str) -> None:
    bundle = tmp_path / "digits-ann" / "bundle"
    with pytest.raises(ParleyError, match="no exported run without ann"):
        asyncio.run(_ear(tmp_path))
    bundle.mkdir(parents=True)
    lineage = Lineage(params={"fold": fold})
    write_bundle(
        bundle, Manifest(family="stt", bot="digits", model="digits_stt", inputs=[], outputs=[], lineage=lineage)
    )

    with pytest.raises(ParleyError, match="may have heard ann"):
        asyncio.run(_ear(tmp_path))


async def _ear(runs: Path) -> None:
    async with AsyncExitStack() as stack:
        await digits.make_ear("loop", runs, ["ann"], stack)


def test_the_figures_go_to_a_models_card_without_what_was_said(folder: Path, tmp_path: Path) -> None:
    site = settings()
    version = release_of(site, "barista").stages["stt"]
    run = Run.create(tmp_path / "run", "stt", "barista", {}, 7)
    shutil.copytree(site.repo_dir / version.model / str(version.version), run.bundle_path)
    made = digits.strings_of(folder, digits.Recipe(per_length=2, at_aim=3, seed=1))
    heard = asyncio.run(digits.measure(_half_deaf, Condition(), made, None, "test"))

    digits.write_card({"results": {"bot": {"clean": figures(heard), "loss 10%": figures(heard)}}}, run)

    card, error = model_card(read_manifest(run.bundle_path)), figures(heard)["digit_error"]
    assert f"| leave one speaker out.clean | digit_error | {error} |" in card
    assert "leave one speaker out.loss 10% | string_error_of_8" in card
    assert all(f"leave one speaker out.clean, {name} |" in card for name in {s.speaker for s in made})
    assert "misses" not in card
