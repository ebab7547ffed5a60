"""The gate's decision: what accepts a candidate, and each thing that refuses it, with the reason said."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from registry.gating.comparison import Comparison, Measure, Pair
from registry.gating.gate import Check, Evidence, GoldenResult, Leak, StageCost, Verdict, decide
from registry.gating.gate_rules import Cheaper, GateRules, SliceRule, StageBudget

RULES = GateRules(min_speakers=6, min_utterances=40)
STT = {"stt": ("barista_stt 1", "barista_stt 2")}


def _pairs(
    gained: int = 0, lost: int = 0, *, speakers: int = 12, each: int = 20, measure: Measure = "understanding",
    slices: dict[str, str] | None = None, spread: bool = True,
) -> list[Pair]:  # fmt: skip
    """`gained` and `lost` utterances dealt out over the speakers in turns, or all to the first ones."""
    table = np.ones((speakers, each, 2), int)
    table[:, -1] = 0  # the last one of each is wrong with both
    for side, count in ((0, gained), (1, lost)):
        for n in range(count):
            speaker, place = (n % speakers, n // speakers) if spread else (n // (each // 2), n % (each // 2))
            table[speaker, place + side * (each // 2), side] = 0
    return [
        Pair(
            f"{s}-{u}", f"spk{s}", *map(int, table[s, u]), measure=measure, slices=slices or {"condition": "clean"}
        )
        for s in range(speakers)
        for u in range(each)
    ]  # fmt: skip


def _evidence(pairs: list[Pair], **changes: object) -> Evidence:
    return replace(Evidence("barista", 4, 1, STT, pairs), **changes)  # type: ignore[arg-type]


def _check(verdict: Verdict, name: str) -> Check:
    return next(c for c in verdict.checks if c.name == name)


def test_a_candidate_that_is_clearly_better_is_accepted_and_the_headline_says_so() -> None:
    verdict = decide(_evidence(_pairs(gained=24)), RULES)

    assert verdict.accepted
    assert verdict.headline == "Accepted: release 4 is better than release 1."
    assert "+10.0 points" in _check(verdict, "better understanding").sentence
    assert verdict.report()["accepted"] is True


def test_the_same_versions_are_never_accepted() -> None:
    verdict = decide(_evidence(_pairs(gained=24), changed={}), RULES)

    assert not verdict.accepted and "the same versions" in verdict.headline


def test_a_release_whose_bot_file_alone_differs_is_refused_for_that() -> None:
    verdict = decide(_evidence([], changed={}, dialogue_changed=True), RULES)

    assert not verdict.accepted and "bot.yaml alone" in verdict.headline


def test_an_equal_candidate_is_refused_and_told_what_could_have_been_seen() -> None:
    verdict = decide(_evidence(_pairs(gained=9, lost=9)), RULES)

    check = _check(verdict, "better understanding")
    assert not verdict.accepted and check.refuses
    assert "may well be chance" in check.sentence and "would be seen 80% of the time" in check.sentence


@pytest.mark.parametrize(("lost", "words"), [(2, "That is no gain."), (24, "That is worse (p = 0.0002)")])
def test_a_candidate_that_understands_less_is_not_told_that_it_may_be_chance(lost: int, words: str) -> None:
    verdict = decide(_evidence(_pairs(lost=lost)), RULES)

    assert not verdict.accepted and words in verdict.headline and "chance" not in verdict.headline


def test_a_gain_of_one_speaker_only_is_no_gain() -> None:
    everyone = decide(_evidence(_pairs(gained=10)), RULES)
    one_speaker = decide(_evidence(_pairs(gained=10, spread=False)), RULES)

    assert everyone.accepted and not one_speaker.accepted
    # McNemar's test over utterances cannot tell them apart.
    mcnemar = [_check(v, "better understanding").figures["p_mcnemar"] for v in (everyone, one_speaker)]
    assert mcnemar[0] == mcnemar[1] <= 0.001


def test_a_sure_gain_below_the_minimum_effect_is_not_worth_a_change() -> None:
    pairs = _pairs(gained=12, speakers=12, each=100)

    verdict = decide(_evidence(pairs), RULES.model_copy(update={"min_effect": 0.02}))

    assert not verdict.accepted and "make a change worth it" in verdict.headline
    assert decide(_evidence(pairs), RULES).accepted


def test_a_slice_that_gets_worse_refuses_whatever_is_gained_elsewhere() -> None:
    rules = RULES.model_copy(update={"slices": [SliceRule(field="condition", margin=0.05)]})
    quiet, loud = _pairs(gained=60, slices={"condition": "clean"}), _pairs(lost=30, slices={"condition": "9 dB"})

    verdict = decide(_evidence([*quiet, *loud]), rules)

    assert _check(verdict, "better understanding").outcome == "passed"
    assert _check(verdict, "slice condition clean").outcome == "passed"
    assert not verdict.accepted and "condition 9 dB" in verdict.headline and "That is worse" in verdict.headline


@pytest.mark.parametrize(("unjudged", "accepted"), [("refuse", False), ("allow", True)])
def test_a_slice_with_too_little_data_is_named_and_the_rule_says_what_that_means(unjudged: str, accepted: bool) -> None:
    rules = RULES.model_copy(update={"slices": [SliceRule(field="group", unjudged=unjudged, min_utterances=40)]})  # type: ignore[arg-type]
    pairs = _pairs(gained=24, slices={"group": "home"}) + _pairs(speakers=2, each=5, slices={"group": "car"})

    verdict = decide(_evidence(pairs), rules)

    check = _check(verdict, "slice group car")
    assert check.outcome == "not judged" and check.refuses is not accepted
    assert "10 utterances of 2 speakers are too few" in check.sentence
    assert verdict.accepted is accepted


def test_a_declared_field_that_no_recording_has_is_not_passed_over_in_silence() -> None:
    rules = RULES.model_copy(update={"slices": [SliceRule(field="accent")]})

    verdict = decide(_evidence(_pairs(gained=24)), rules)

    assert not verdict.accepted and "no utterance says its accent" in verdict.headline


def test_too_few_speakers_are_refused_before_anything_is_claimed() -> None:
    verdict = decide(_evidence(_pairs(gained=20, speakers=5)), RULES)

    assert not verdict.accepted and "100 utterances of 5 speakers are too few" in verdict.headline


def test_what_a_candidate_changes_must_have_been_measured() -> None:
    verdict = decide(_evidence(_pairs(gained=24), changed={**STT, "tts": ("a 1", "a 2")}), RULES)

    assert not verdict.accepted and "nothing was measured of voice" in verdict.headline


def test_a_lost_golden_item_refuses_and_one_that_was_wrong_before_does_not() -> None:
    open_ = GoldenResult("hear-02", False, False, "affirm", "deny")
    lost = GoldenResult("hear-01", True, False, "orderDrink(size=large)", "orderDrink(size=small)")
    won = GoldenResult("hear-03", False, True)

    kept = decide(_evidence(_pairs(gained=24), golden=[open_, won]), RULES)
    refused = decide(_evidence(_pairs(gained=24), golden=[open_, lost, won]), RULES)

    assert kept.accepted and "1 are wrong with both" in _check(kept, "golden").sentence
    assert not refused.accepted
    assert "hear-01: wanted orderDrink(size=large), got orderDrink(size=small)" in refused.headline


def test_a_candidate_that_was_taught_the_test_is_refused_first_of_all() -> None:
    leak = Leak("utterance a.flac", "barista_stt 2")

    verdict = decide(_evidence(_pairs(gained=24, lost=40), leaks=[leak]), RULES)

    assert not verdict.accepted
    assert verdict.headline.startswith("Refused: barista_stt 2 learned from what it is judged on (1 found: utterance a")


@pytest.mark.parametrize(("unknown", "accepted"), [("refuse", False), ("allow", True)])
def test_unknown_lineage_means_what_the_rules_say(unknown: str, accepted: bool) -> None:
    rules = RULES.model_copy(update={"unknown_lineage": unknown})

    verdict = decide(_evidence(_pairs(gained=24), unknown_lineage=["barista_stt 2"]), rules)

    assert verdict.accepted is accepted and _check(verdict, "leakage").outcome == "not judged"


@pytest.mark.parametrize(
    ("budget", "words"),
    [
        (StageBudget(p95_ms=20), "stt: an answer's 95th percentile is 30.0 ms, over the budget of 20"),
        (StageBudget(slower=1.5), "stt: median time beside the champion's is 3.00 times, over the budget of 1.5"),
        (StageBudget(memory_mb=30), "stt: memory is 44.0 MB, over the budget of 30"),
        (StageBudget(larger=2), "stt: memory beside the champion's is 2.20 times, over the budget of 2"),
    ],
)
def test_over_a_budget_is_refused(budget: StageBudget, words: str) -> None:
    cost = StageCost("stt", (10.0,) * 20, (30.0,) * 20, 20.0, 44.0)

    verdict = decide(_evidence(_pairs(gained=24), costs=[cost]), RULES.model_copy(update={"budgets": {"stt": budget}}))
    roomy = RULES.model_copy(update={"budgets": {"stt": StageBudget(p95_ms=90, slower=9, memory_mb=90, larger=9)}})

    assert not verdict.accepted and words in verdict.headline
    assert decide(_evidence(_pairs(gained=24), costs=[cost]), roomy).accepted


def test_a_budget_that_was_not_measured_is_not_kept() -> None:
    rules = RULES.model_copy(update={"budgets": {"stt": StageBudget(p95_ms=50), "nlu": StageBudget(p95_ms=1)}})

    verdict = decide(_evidence(_pairs(gained=24)), rules)

    assert not verdict.accepted and "was not measured" in verdict.headline
    assert not any("nlu" in c.name for c in verdict.checks), "the NLU is not changed"


def test_better_at_one_thing_may_not_be_worse_at_another() -> None:
    both = {**STT, "nlg": ("barista_nlg 1", "barista_nlg 2")}
    replies = {"measure": "wording", "slices": {}, "speakers": 30, "each": 8}

    kept = decide(_evidence(_pairs(gained=24) + _pairs(**replies), changed=both), RULES)  # type: ignore[arg-type]
    worse = decide(_evidence(_pairs(gained=24) + _pairs(lost=30, **replies), changed=both), RULES)  # type: ignore[arg-type]

    assert kept.accepted, kept.headline
    assert not worse.accepted and "replies" in worse.headline


def test_with_several_measures_each_has_to_be_surer() -> None:
    # Seven speakers gain one utterance each: 1/128 alone, twice that beside another measure.
    pairs = _pairs(gained=6, speakers=12)
    alone = decide(_evidence(pairs), RULES)
    both = {**STT, "nlg": ("barista_nlg 1", "barista_nlg 2")}
    beside = decide(_evidence(pairs + _pairs(measure="wording", slices={}), changed=both), RULES)

    assert _check(alone, "better understanding").figures["p"] == pytest.approx(1 / 64)
    assert _check(beside, "better understanding").figures["p"] == pytest.approx(2 / 64)
    assert alone.accepted and not beside.accepted


CHEAPER = RULES.model_copy(update={"cheaper": Cheaper(latency=0.8)})
FAST = StageCost("stt", (10.0,) * 9, (6.0,) * 9)


def test_a_candidate_that_is_not_worse_is_taken_only_for_what_it_saves() -> None:
    alike = _pairs(speakers=20, each=20)

    assert not decide(_evidence(alike, costs=[FAST]), CHEAPER).accepted, "it was to be better"
    assert decide(_evidence(alike, costs=[FAST]), CHEAPER, "non-inferior").accepted
    slow = decide(_evidence(alike, costs=[StageCost("stt", (10.0,) * 9, (9.5,) * 9)]), CHEAPER, "non-inferior")
    assert not slow.accepted and "at most 0.8 times the latency" in slow.headline
    assert not decide(_evidence(alike, costs=[FAST]), RULES, "non-inferior").accepted, "the rules do not open it"


def test_a_cheaper_candidate_that_may_be_worse_by_the_margin_is_refused() -> None:
    verdict = decide(_evidence(_pairs(lost=6, gained=3, speakers=20), costs=[FAST]), CHEAPER, "non-inferior")

    assert not verdict.accepted and "not worse by 2.0 points is not shown" in verdict.headline


def test_two_steps_of_not_worse_do_not_follow_each_other() -> None:
    evidence = _evidence(_pairs(speakers=20), costs=[FAST], against_purpose="non-inferior")

    verdict = decide(evidence, CHEAPER, "non-inferior")

    assert not verdict.accepted and "two such steps may add up" in verdict.headline


def _scored(champion: float, candidate: float) -> list[Pair]:
    rng = np.random.default_rng(4)
    found = []
    for pair in _pairs(gained=24, speakers=24):
        inside = rng.random() < 0.7
        scores = [float(inside * gap + rng.normal()) for gap in (champion, candidate)]
        found.append(replace(pair, in_domain=inside, champion_score=scores[0], candidate_score=scores[1]))
    return found


def test_a_confidence_that_no_longer_tells_what_the_bot_can_answer_is_refused() -> None:
    worse = decide(_evidence(_scored(3.0, 1.0)), RULES)
    same = decide(_evidence([replace(p, candidate_score=p.champion_score) for p in _scored(3.0, 3.0)]), RULES)

    assert not worse.accepted and "AUC" in worse.headline
    assert same.accepted and _check(same, "ranking").outcome == "passed"


def test_words_are_counted_by_sentence_where_several_units_are_right_or_wrong() -> None:
    pairs = [Pair(f"t{n}", f"t{n}", 7, 8 if n % 2 else 7, of=10, measure="voice") for n in range(80)]

    found = Comparison.of(pairs)
    verdict = decide(_evidence(pairs, changed={"tts": ("t 1", "t 2")}), RULES)

    assert (found.units, found.gain, found.gained) == (800, 0.05, 40)
    assert verdict.accepted and "of 800 words right" in _check(verdict, "better voice").sentence
