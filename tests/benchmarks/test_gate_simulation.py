"""The simulation that holds the gate to its level: its people are what it says, and it can tell a bad gate."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import gate
from benchmarks.gate import World, draw, main, rate, unequal_sizes


def _accuracies(world: World) -> tuple[float, float, float]:
    sides = [0.0, 0.0, 0.0]
    for drawn in draw(np.random.default_rng(1), world, 20, 20, 1500):
        sides[0] += drawn.champion.mean(axis=1).sum()
        sides[1] += drawn.candidate.mean(axis=1).sum()
        sides[2] += (drawn.champion != drawn.candidate).mean(axis=1).sum()
    return sides[0] / 1500, sides[1] / 1500, sides[2] / 1500


@pytest.mark.parametrize("world", [World(), World(gain=0.04), World(gain=-0.05), World(unlucky=0.15)])
def test_the_drawn_models_are_as_good_as_stated(world: World) -> None:
    champion, candidate, differ = _accuracies(world)

    assert champion == pytest.approx(world.accuracy, abs=0.005)
    assert candidate == pytest.approx(world.accuracy + world.gain, abs=0.005)
    assert 0.05 < differ < 0.15, "models fail on much the same utterances, not on all the same"


def test_speakers_have_unequal_numbers_of_recordings() -> None:
    sizes = unequal_sizes(10, 20)

    assert sizes.mean() == pytest.approx(20, abs=1) and sizes.max() == 4 * sizes.min()


def test_the_interval_of_a_rate_is_wilsons() -> None:
    assert rate(0, 100)["interval"] == [0.0, pytest.approx(0.0370, abs=1e-4)]
    assert rate(10, 100)["interval"] == pytest.approx([0.0552, 0.1744], abs=1e-4)


def test_equal_models_are_accepted_at_most_at_the_level_and_a_gain_is_seen() -> None:
    rows = {}
    for gain in (0.0, 0.04):
        world = replace(World(), gain=gain)
        drawn = list(draw(np.random.default_rng([3, round(gain * 100)]), world, 30, 20, 800))
        rows[gain] = sum(gate.accepts(d, d.by_speaker()) for d in drawn)
        if not gain:
            common = sum(gate.others(np.random.default_rng(4), d, d.by_speaker())["bootstrap_means_t_test_100"]
                         for d in drawn)  # fmt: skip

    assert rate(rows[0.0], 800)["interval"][0] <= gate.RULES.alpha
    assert rows[0.04] > 0.4 * 800
    # What the gate replaces says "better" of nearly every second equal pair: the simulation can tell.
    assert common > 0.3 * 800


def test_the_command_writes_the_figures_that_are_asked_for(tmp_path: Path) -> None:
    out, png = tmp_path / "gate.json", tmp_path / "gate.png"

    assert main(["--json", str(out), "--png", str(png), "--trials", "24"]) == 0

    report = json.loads(out.read_text())
    assert 0 <= report["equal_models"]["accept_rate"] <= 1 and report["equal_models"]["nominal"] == 0.025
    assert set(report["power"]) == {"+1", "+2", "+4"}
    assert report["whole_gate"]["equal"]["trials"] == 3
    assert png.stat().st_size > 10_000
