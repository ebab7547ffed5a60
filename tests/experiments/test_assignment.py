"""Assignment: uniform, independent, still under a ramp, frozen after the start, and true to the published vectors."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calls.pseudonyms import pseudonym, unit_of_call, unit_of_id
from experiments.assignment import (
    FROZEN,
    STAGES,
    Arm,
    Experiment,
    ExperimentRefused,
    Snapshot,
    arm_of,
    assign_call,
    ramp,
    refuse_frozen,
    start,
    stop,
)
from experiments.hashing import SPACE, draw64, encode_fields, gb_bucket_ranges, gb_choose, gb_hash, share64
from parley.errors import ParleyError

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "growthbook_v2.json").read_text(encoding="utf-8"))
IDS = 200_000
P_MIN = 0.001


@dataclass(frozen=True)
class Ref:
    model: str
    version: int


@dataclass(frozen=True)
class ReleaseStub:
    stages: dict[str, Ref]


RELEASE = ReleaseStub({stage: Ref(f"barista_{stage}", 1) for stage in STAGES})


def arms(*weights: float) -> tuple[Arm, ...]:
    return tuple(Arm(f"arm{i}", i + 1, weight, f"digest{i}") for i, weight in enumerate(weights or (0.5, 0.5)))


def experiment(name: str = "exp", stage: str = "stt", coverage: float = 1.0, **changes: object) -> Experiment:
    return replace(start(name, stage, f"barista_{stage}", arms(), coverage, ()), **changes)  # type: ignore[arg-type]


# The hash


@pytest.mark.parametrize(("seed", "value", "version", "expected"), VECTORS["hash"] + VECTORS["hash_utf16"])
def test_growthbook_hash_vectors(seed: str, value: str, version: int, expected: float | None) -> None:
    assert gb_hash(seed, value, version) == expected


@pytest.mark.parametrize(("arguments", "expected"), VECTORS["getBucketRange"])
def test_growthbook_bucket_range_vectors(arguments: list, expected: list) -> None:
    assert np.allclose(gb_bucket_ranges(*arguments), expected, atol=1e-9)


@pytest.mark.parametrize(("unit", "namespace", "expected"), VECTORS["inNamespace"])
def test_growthbook_namespace_vectors(unit: str, namespace: list, expected: bool) -> None:
    name, low, high = namespace
    draw = gb_hash(f"__{name}", unit, 1)
    assert draw is not None
    assert (low <= draw < high) is expected


@pytest.mark.parametrize("case", VECTORS["run"], ids=lambda c: f"{c['seed']}-v{c['hashVersion']}-{c['variations']}")
def test_growthbook_run_vectors(case: dict) -> None:
    ranges = gb_bucket_ranges(case["variations"], case["coverage"], case["weights"])
    draws = [gb_hash(case["seed"], unit, case["hashVersion"]) for unit in case["ids"]]
    assert [gb_choose(draw, ranges) for draw in draws if draw is not None] == case["arms"]


def test_gb2_experiment_gives_the_published_arm() -> None:
    """Experiment key "key", seed "foo", hash version 2, id "1": variation 1."""
    chosen = arm_of(experiment("key", algorithm="gb2", salt="foo"), "1")
    assert chosen is not None
    assert chosen.name == "arm1"


def test_draw_is_the_first_64_bits_of_sha256_over_length_prefixed_fields() -> None:
    message = b"\x00\x00\x00\x04salt" + b"\x00\x00\x00\x03arm" + b"\x00\x00\x00\x03\xc3\xa9x"
    expected = int.from_bytes(hashlib.sha256(message).digest()[:8], "big")
    assert draw64("salt", "arm", "éx") == expected
    assert draw64("salt", "arm", unicodedata.normalize("NFD", "éx")) == expected


fields = st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"])), min_size=1, max_size=4)


@given(fields, fields)
def test_length_prefix_never_lets_two_field_lists_collide(left: list[str], right: list[str]) -> None:
    same = [unicodedata.normalize("NFC", f) for f in left] == [unicodedata.normalize("NFC", f) for f in right]
    assert (encode_fields(*left) == encode_fields(*right)) is same


def test_moving_a_character_between_fields_changes_the_encoding() -> None:
    assert encode_fields("ab", "c") != encode_fields("a", "bc")
    assert encode_fields("ab", "") != encode_fields("ab")


def test_half_a_surrogate_pair_is_refused_in_words() -> None:
    with pytest.raises(ParleyError, match="Unicode"):
        draw64("salt", "arm", "\ud800")


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_never_has_fewer_draws(one: float, other: float) -> None:
    assert (share64(one) <= share64(other)) or one > other
    assert share64(0.0) == 0
    assert share64(1.0) == SPACE


# Statistics over 200,000 ids with fixed salts


@pytest.fixture(scope="module")
def draws() -> dict[str, dict[str, np.ndarray]]:
    """Stage to role to the draws of all ids, as shares in [0, 1): float64[IDS]."""
    return {
        stage: {
            role: np.array([draw64(f"exp-{stage}-1", role, f"user-{i}") for i in range(IDS)], dtype=np.float64) / SPACE
            for role in ("alloc", "arm")
        }
        for stage in STAGES
    }


@pytest.mark.parametrize("role", ["alloc", "arm"])
@pytest.mark.parametrize("stage", STAGES)
def test_draws_are_uniform(draws: dict[str, dict[str, np.ndarray]], stage: str, role: str) -> None:
    counts = np.histogram(draws[stage][role], bins=100, range=(0, 1))[0]
    assert counts.sum() == IDS
    assert stats.chisquare(counts).pvalue > P_MIN


STREAMS = [(stage, role) for stage in STAGES for role in ("alloc", "arm")]


@pytest.mark.parametrize(("one", "other"), combinations(STREAMS, 2), ids=lambda s: "-".join(s))
def test_stages_and_roles_are_independent(draws, one: tuple[str, str], other: tuple[str, str]) -> None:
    """10 x 10 chi-square of each pair of draws: four stages, and the two roles of each."""
    table = np.histogram2d(draws[one[0]][one[1]], draws[other[0]][other[1]], bins=10, range=[[0, 1], [0, 1]])[0]
    assert stats.chi2_contingency(table).pvalue > P_MIN


def test_the_independence_check_can_fail() -> None:
    """The same table over GrowthBook v1, which is known to be biased, is rejected: the check has teeth."""
    one, other = ([gb_hash(seed, f"user-{i}", 1) for i in range(50_000)] for seed in ("exp-stt-1", "exp-nlu-1"))
    table = np.histogram2d(np.array(one, float), np.array(other, float), bins=10, range=[[0, 1], [0, 1]])[0]
    assert stats.chi2_contingency(table).pvalue < P_MIN


@pytest.mark.parametrize("algorithm", ["sha256", "gb2"])
def test_a_ramp_moves_nobody_between_arms(algorithm: str) -> None:
    """Up in steps over 200,000 ids: who is in stays in, with the same arm; the shares are those asked for."""
    base = replace(experiment("ramped", coverage=0.05, algorithm=algorithm), arms=arms(0.2, 0.3, 0.5))
    units = [f"user-{i}" for i in range(IDS)]
    before: list[Arm | None] = [None] * IDS
    for coverage in (0.05, 0.3, 1.0):
        base = ramp(base, coverage)
        after = [arm_of(base, unit) for unit in units]
        assert all(old is None or old is new for old, new in zip(before, after, strict=True))
        inside = [arm for arm in after if arm is not None]
        assert abs(len(inside) / IDS - coverage) < 0.006
        counts = [sum(arm.name == name for arm in inside) for name in ("arm0", "arm1", "arm2")]
        assert np.allclose(np.array(counts) / len(inside), [0.2, 0.3, 0.5], atol=0.015)
        before = after


@given(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1),
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from(["sha256", "gb2"]),
)
def test_any_two_coverages_agree_on_the_arm(unit: str, one: float, other: float, algorithm: str) -> None:
    base = experiment(algorithm=algorithm)
    low, high = (arm_of(replace(base, coverage=c), unit) for c in sorted((one, other)))
    assert low is None or low == high


# A call


def snapshot(*experiments: Experiment) -> Snapshot:
    return Snapshot(7, tuple(experiments))


def test_without_experiments_the_release_answers_all_stages() -> None:
    served = assign_call(Snapshot(), RELEASE, "unit")
    assert list(served) == list(STAGES)
    assert {(a.version, a.reason, a.experiment, a.arm) for a in served.values()} == {(1, "release", None, None)}


def test_an_experiment_assigns_its_stage_only() -> None:
    live = replace(experiment("stt-2"), arms=(Arm("control", 1, 1e-9, "a"), Arm("treatment", 2, 1 - 1e-9, "b")))
    served = assign_call(snapshot(live), RELEASE, "unit")
    assert (served["stt"].version, served["stt"].arm, served["stt"].reason) == (2, "treatment", "experiment")
    assert (served["stt"].experiment, served["stt"].config_version) == ("stt-2", 7)
    assert {served[stage].reason for stage in ("nlu", "nlg", "tts")} == {"release"}


def test_another_bots_experiment_does_not_reach_this_call() -> None:
    other = start("bank-nlu", "nlu", "bank_nlu", arms(), 1.0, ())
    assert assign_call(snapshot(other), RELEASE, "unit")["nlu"].reason == "release"


def test_who_is_not_covered_gets_the_release() -> None:
    served = assign_call(snapshot(experiment(coverage=0.0)), RELEASE, "unit")["stt"]
    assert (served.version, served.experiment, served.arm, served.reason) == (1, "exp", None, "not_covered")


def test_a_call_without_unit_is_in_no_experiment() -> None:
    assert assign_call(snapshot(experiment()), RELEASE, "")["stt"].reason == "not_covered"


def test_a_stopped_experiment_leaves_the_release() -> None:
    served = assign_call(snapshot(stop(experiment())), RELEASE, "unit")["stt"]
    assert (served.version, served.experiment, served.arm, served.reason) == (1, "exp", None, "stopped")


def test_the_live_experiment_wins_over_an_older_stopped_one() -> None:
    stopped = replace(stop(experiment("old")), config_version=9)
    live = replace(experiment("new"), config_version=3)
    assert assign_call(snapshot(live, stopped), RELEASE, "unit")["stt"].experiment == "new"


def test_an_unavailable_arm_is_named_and_the_release_answers() -> None:
    live = replace(experiment(), arms=(Arm("control", 4, 0.5, "a"), Arm("treatment", 5, 0.5, "b")))
    served = assign_call(snapshot(live), RELEASE, "unit", available=lambda model, version: version == 1)["stt"]
    assert (served.version, served.reason) == (1, "arm_unavailable")
    assert served.arm in ("control", "treatment")


# Rules


@pytest.mark.parametrize(
    "weights",
    [(), (1.0,), (0.5, 0.6), (0.5, 0.4), (1.5, -0.5), (0.0, 1.0), (float("nan"), 0.5), (float("inf"), 0.5), (50, 50)],
)
def test_wrong_weights_are_refused_not_mended(weights: tuple[float, ...]) -> None:
    given_arms = tuple(Arm(f"arm{i}", 1, w, "d") for i, w in enumerate(weights))
    with pytest.raises(ExperimentRefused) as refused:
        start("exp", "stt", "barista_stt", given_arms, 1.0, ())
    assert (refused.value.status, refused.value.kind) == (422, "invalid-weights")
    assert refused.value.mend


@pytest.mark.parametrize("coverage", [-0.1, 1.01, 10, float("nan"), float("inf")])
def test_wrong_coverage_is_refused_at_start_and_ramp(coverage: float) -> None:
    with pytest.raises(ExperimentRefused, match="coverage"):
        start("exp", "stt", "barista_stt", arms(), coverage, ())
    with pytest.raises(ExperimentRefused, match="coverage"):
        ramp(experiment(), coverage)


@pytest.mark.parametrize("name", ["", "Stt", "a b", "../x", "x" * 65, "-x", "é"])
def test_wrong_names_are_refused(name: str) -> None:
    with pytest.raises(ExperimentRefused, match="name"):
        start(name, "stt", "barista_stt", arms(), 1.0, ())


def test_unknown_stage_algorithm_and_double_arms_are_refused() -> None:
    with pytest.raises(ExperimentRefused, match="stage"):
        start("exp", "asr", "barista_asr", arms(), 1.0, ())
    with pytest.raises(ExperimentRefused, match="algorithm"):
        start("exp", "stt", "barista_stt", arms(), 1.0, (), algorithm="md5")
    with pytest.raises(ExperimentRefused, match="one name"):
        start("exp", "stt", "barista_stt", (arms()[0], arms()[0]), 1.0, ())


def test_a_second_live_experiment_on_a_stage_is_refused_and_says_which_is_there() -> None:
    first = experiment("first")
    with pytest.raises(ExperimentRefused, match="'first' is live") as refused:
        start("second", "stt", "barista_stt", arms(), 1.0, [first])
    assert refused.value.status == 409
    assert start("second", "stt", "barista_stt", arms(), 1.0, [stop(first)]).name == "second"
    assert start("bank", "stt", "bank_stt", arms(), 1.0, [first]).bot == "bank"


def test_a_name_is_never_used_twice() -> None:
    with pytest.raises(ExperimentRefused, match="name is taken"):
        start("exp", "stt", "barista_stt", arms(), 1.0, [stop(experiment("exp"))])


def test_nothing_but_coverage_and_state_changes_after_the_start() -> None:
    began = experiment(coverage=0.1)
    ended = stop(ramp(began, 0.7))
    assert (ended.coverage, ended.state, ended.epoch) == (0.7, "stopped", 3)
    assert replace(ended, coverage=began.coverage, state=began.state, epoch=began.epoch) == began
    for change in (lambda: ramp(ended, 1.0), lambda: stop(ended)):
        with pytest.raises(ExperimentRefused, match="stopped"):
            change()


@pytest.mark.parametrize("field", FROZEN)
def test_frozen_fields_are_refused_with_the_way_out(field: str) -> None:
    with pytest.raises(ExperimentRefused, match="froze at the start") as refused:
        refuse_frozen("exp", [field])
    assert refused.value.status == 409
    assert "new name" in refused.value.mend


# Units


def test_pseudonym_is_hmac_sha256() -> None:
    """RFC 4231, test case 2."""
    expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    assert pseudonym("what do ya want for nothing?", "Jefe") == expected


def test_pseudonym_needs_a_key_and_a_caller() -> None:
    for caller, key in (("", "key"), ("+4930", "")):
        with pytest.raises(ParleyError):
            pseudonym(caller, key)


def test_withheld_callers_do_not_share_a_unit() -> None:
    assert unit_of_call("anonymous", "CA1", "key") != unit_of_call("Anonymous", "CA2", "key")
    assert unit_of_call(" +4930123 ", "CA1", "key") == unit_of_call("+4930123", "CA2", "key")
    assert unit_of_call("+4930123", "CA1", "key") == unit_of_id("+4930123", "key")


def test_a_pseudonym_from_the_records_is_taken_as_it_is() -> None:
    unit = pseudonym("+4930123", "key")
    assert unit_of_id(unit, "key") == unit


def test_two_experiments_never_share_a_salt() -> None:
    first = experiment("first", salt="one")

    for salt in ("one", "o\u006ee"):
        with pytest.raises(ExperimentRefused, match="its salt is that of 'first'"):
            start("second", "nlu", "barista_nlu", first.arms, 1.0, [first], salt=salt)
