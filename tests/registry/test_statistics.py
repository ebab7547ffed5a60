"""The gate's statistics against published examples, other implementations and brute force."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from registry.gating.statistics import (
    Effort,
    cluster_bootstrap,
    delong,
    design_effect,
    gain_interval,
    gain_p,
    holm,
    mcnemar_p,
    power_of,
    sign_flip_interval,
    sign_flip_p,
    smallest_gain,
    smallest_speakers,
    student_t_sf,
    tango_p,
)

_gains = st.lists(st.integers(-6, 6), min_size=1, max_size=9)


def _brute_force(gains: list[int], sizes: list[int], null: float) -> float:
    excess = np.array(gains) - null * np.array(sizes)
    patterns = np.array(list(itertools.product([1, -1], repeat=len(gains))))
    return float(np.mean(patterns @ excess >= excess.sum() - 1e-9))


@given(_gains, st.sampled_from([0.0, -0.02, -0.05, 0.125]))
def test_the_sign_flip_counts_every_pattern(gains: list[int], null: float) -> None:
    sizes = [abs(g) + 3 for g in gains]

    assert sign_flip_p(gains, sizes, null) == pytest.approx(_brute_force(gains, sizes, null), abs=1e-12)


def test_the_sign_flip_agrees_with_scipys_permutation_test() -> None:
    gains = [3, -1, 2, 0, 4, 1, -2, 5, 1]

    theirs = stats.permutation_test(
        (np.array(gains),), np.sum, permutation_type="samples", alternative="greater", n_resamples=np.inf
    )

    assert sign_flip_p(gains, [10] * 9) == pytest.approx(theirs.pvalue, abs=1e-12)


@given(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12))
def test_with_one_utterance_a_speaker_the_sign_flip_is_mcnemars_exact_test(gained: int, lost: int, same: int) -> None:
    gains = [1] * gained + [-1] * lost + [0] * same

    assert sign_flip_p(gains, [1] * len(gains)) == pytest.approx(mcnemar_p(gained, lost), abs=1e-12)


def test_drawn_sign_patterns_agree_with_the_exact_ones() -> None:
    gains, sizes = [3, -1, 2, 0, 4, 1, -2, 5, 1, 2, -3, 1], [20] * 12
    exact = sign_flip_p(gains, sizes, -0.02)

    assert sign_flip_p(gains, sizes, -0.02, effort=Effort(additions=0)) == pytest.approx(exact, abs=0.005)


def test_fewer_than_six_speakers_can_never_reach_two_and_a_half_percent() -> None:
    assert smallest_speakers(0.025) == 6
    assert sign_flip_p([9] * 5, [10] * 5) > 0.025 >= sign_flip_p([9] * 6, [10] * 6)
    assert sign_flip_interval([9] * 5, [10] * 5) == (-1.0, 1.0)


@given(st.lists(st.integers(-4, 6), min_size=6, max_size=10), st.integers(0, 10**6))
def test_a_gain_is_significant_exactly_when_its_interval_lies_above_it(gains: list[int], seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(6, 30, len(gains)).tolist()

    low, high = sign_flip_interval(gains, sizes)

    for null in (-0.1, -0.02, 0.0, 0.02, 0.1):
        assert (sign_flip_p(gains, sizes, null) <= 0.025) == (null < low)
    assert low <= sum(gains) / sum(sizes) <= high


def test_drawn_subsets_give_nearly_the_listed_interval() -> None:
    gains, sizes = [3, -1, 2, 0, 4, 1, -2, 5, 1, 2, -3, 1], list(range(10, 34, 2))
    listed = sign_flip_interval(gains, sizes)

    assert sign_flip_interval(gains, sizes, effort=Effort(listed_speakers=0)) == pytest.approx(listed, abs=0.004)


def test_mcnemar_of_the_airway_example() -> None:
    # Fagerland, Lydersen and Laake 2013, table 1 (Bentur et al. 2009): 7 and 1 discordant pairs, exact p 0.070.
    assert mcnemar_p(7, 1, one_sided=False) == pytest.approx(0.0703, abs=5e-5)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_binomial_test(gained: int, lost: int) -> None:
    if gained + lost:
        assert mcnemar_p(gained, lost) == pytest.approx(
            stats.binomtest(gained, gained + lost, alternative="greater").pvalue
        )
    else:
        assert mcnemar_p(gained, lost) == 1.0


@pytest.mark.parametrize(
    ("gained", "lost", "n", "level", "limits"),
    [
        (1, 7, 21, 0.95, (-0.517, -0.026)),  # the airway example in Fagerland et al. 2014
        (28, 25, 618, 0.90, (-0.0148, 0.0247)),  # PropCIs::scoreci.mp(25, 28, 618)
    ],
)
def test_tangos_test_gives_the_published_intervals(
    gained: int, lost: int, n: int, level: float, limits: tuple[float, float]
) -> None:
    tail = (1 - level) / 2
    # At a limit of the interval the one-sided p-value of that side is the tail.
    assert tango_p(gained, lost, n, -limits[0]) == pytest.approx(tail, rel=0.02)
    assert tango_p(gained, lost, n, -limits[1]) == pytest.approx(1 - tail, rel=0.02)


def test_without_any_disagreement_it_takes_enough_utterances_to_call_a_model_not_worse() -> None:
    # The margin times the utterances must be about 3.8, what one expects to lose; a sign flip alone would say yes.
    few, many = [0] * 6, [0] * 6

    assert sign_flip_p(few, [5] * 6, -0.05) < 0.025
    assert gain_p(few, [5] * 6, -0.05, (0, 0, 30)) > 0.025
    assert gain_p(many, [13] * 6, -0.05, (0, 0, 78)) < 0.025


def test_speakers_who_differ_keep_a_model_from_being_called_not_worse() -> None:
    table = (18, 18, 400)
    alike = [0] * 20
    apart = [9, -9] * 2 + [0] * 16

    assert gain_p(alike, [20] * 20, -0.03, table) < 0.05 < gain_p(apart, [20] * 20, -0.03, table)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=6, max_size=10))
def test_the_gates_interval_and_its_test_agree(speakers: list[tuple[int, int]]) -> None:
    gains, sizes = [up - down for up, down in speakers], [12] * len(speakers)
    table = (sum(up for up, _ in speakers), sum(down for _, down in speakers), 12 * len(speakers))

    low, high = gain_interval(gains, sizes, 0.025, table)

    assert low < high, "full agreement is no certainty"
    for null in (-0.2, -0.05, 0.0, 0.05):
        assert (gain_p(gains, sizes, null, table) <= 0.025) == (null < low)


def test_holm_of_the_textbook_example() -> None:
    # Holm 1979 as worked in Wright 1992 (Biometrics 48:1005).
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.floats(-8, 8), st.integers(1, 200))
def test_students_t_is_scipys(t: float, degrees: int) -> None:
    assert student_t_sf(t, degrees) == pytest.approx(stats.t.sf(t, degrees), abs=1e-9)


def _kernel_delong(a: np.ndarray, b: np.ndarray, positive: np.ndarray) -> tuple[float, float, float]:
    """Areas and standard error by DeLong's definition: every positive against every negative, numpy.cov over rows."""

    def psi(scores: np.ndarray) -> np.ndarray:
        x, y = scores[positive][:, None], scores[~positive][None, :]
        return (x > y) + 0.5 * (x == y)

    kernels = [psi(a), psi(b)]
    s10 = np.cov(np.stack([k.mean(axis=1) for k in kernels]))
    s01 = np.cov(np.stack([k.mean(axis=0) for k in kernels]))
    covariance = s10 / positive.sum() + s01 / (~positive).sum()
    contrast = np.array([-1, 1])
    return kernels[0].mean(), kernels[1].mean(), math.sqrt(contrast @ covariance @ contrast)


def _rankings(seed: int, n: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    positive = np.arange(n) < n * 2 // 3
    shared = rng.normal(size=n) + 1.2 * positive
    # Rounded, so that there are ties.
    return np.round(shared + rng.normal(size=n), 1), np.round(shared + 0.5 * rng.normal(size=n), 1), positive


@pytest.mark.parametrize("seed", range(5))
def test_delong_is_its_definition(seed: int) -> None:
    a, b, positive = _rankings(seed)

    mine = delong(a, b, positive)

    assert (mine.champion, mine.candidate, mine.standard_error) == pytest.approx(_kernel_delong(a, b, positive))
    assert mine.champion == pytest.approx(
        stats.mannwhitneyu(a[positive], a[~positive]).statistic / (positive.sum() * (~positive).sum())
    )


def test_delong_agrees_with_the_bootstrap() -> None:
    a, b, positive = _rankings(3, 240)
    rng = np.random.default_rng(8)
    drawn = []
    for _ in range(800):
        rows = np.concatenate([rng.choice(np.flatnonzero(positive == kind), sum(positive == kind)) for kind in (1, 0)])
        one = delong(a[rows], b[rows], positive[rows])
        drawn.append(one.candidate - one.champion)

    assert delong(a, b, positive).standard_error == pytest.approx(np.std(drawn), rel=0.1)


def test_delong_with_clusters_agrees_with_drawing_whole_speakers() -> None:
    rng = np.random.default_rng(5)
    speakers = np.repeat(np.arange(60), 8)
    positive = np.tile([True, True, True, True, True, False, False, False], 60)
    habit = rng.normal(size=60)[speakers]  # a speaker whom one model ranks worse throughout
    a = positive * 1.5 + rng.normal(size=480)
    b = a + habit * positive + 0.3 * rng.normal(size=480)
    drawn = []
    for _ in range(500):
        picks = rng.integers(0, 60, 60)
        rows = (picks[:, None] * 8 + np.arange(8)).ravel()
        one = delong(a[rows], b[rows], positive[rows])
        drawn.append(one.candidate - one.champion)

    clustered = delong(a, b, positive, [str(s) for s in speakers])

    assert clustered.standard_error == pytest.approx(np.std(drawn), rel=0.12)
    assert clustered.standard_error > 1.3 * delong(a, b, positive).standard_error
    assert clustered.degrees == 59


def test_rankings_that_are_the_same_are_not_worse_but_not_better() -> None:
    a, _, positive = _rankings(1)

    same = delong(a, a, positive)

    assert same.p_above(-0.02) == 0.0 and same.p_above(0.0) == 1.0
    with pytest.raises(ValueError, match="both kinds"):
        delong(a, a, np.ones(len(a), bool))


def test_the_bootstrap_is_the_one_that_benchmarks_report() -> None:
    from judging.slu import clustered

    right, speakers = [(1, 1)] * 30 + [(0, 1)] * 10, ["a"] * 10 + ["b"] * 10 + ["c"] * 10 + ["d"] * 10

    low, high = cluster_bootstrap([10, 10, 10, 0], [10] * 4)

    assert clustered(right, speakers, empty=0.0) == (0.75, (round(low, 4), round(high, 4)))


@pytest.mark.parametrize(("gain", "discordant", "n"), [(0.05, 0.15, 400), (0.03, 0.10, 800)])
def test_power_is_what_the_exact_test_reaches(gain: float, discordant: float, n: int) -> None:
    up = (discordant + gain) / 2
    rng = np.random.default_rng(2)
    tables = rng.multinomial(n, [up, discordant - up, 1 - discordant], 4000)
    reached = np.mean([mcnemar_p(int(t[0]), int(t[1])) <= 0.025 for t in tables])

    # The exact test is a little conservative, the approximation knows nothing of that.
    assert reached == pytest.approx(power_of(gain, n, discordant), abs=0.05)


def test_the_smallest_gain_is_found_with_the_power_asked_for() -> None:
    gain = smallest_gain(500, 0.1, design=1.5)

    assert power_of(gain, 500, 0.1, design=1.5) == pytest.approx(0.8, abs=1e-6)
    assert smallest_gain(500, 0.1, design=3.0) > gain > smallest_gain(2000, 0.1, design=1.5)
    assert design_effect([3, -3, 0, 0], 3, 3) == 3.0 and design_effect([0, 0], 0, 0) == 1.0
