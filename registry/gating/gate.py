"""The gate's decision: evidence and a bot's rules in, a verdict out. Nothing is measured, read or written here.

    verdict = decide(evidence, rules)
    verdict.accepted, verdict.headline

A candidate is accepted when every check that counts has passed: it is better by a paired test over speakers and by the
minimum effect, worse for no declared slice, within the bot's budgets, loses no golden item, and was not taught what
it is judged on. The level belongs to "not better at all": the minimum effect is asked of the estimate on top of the
test, so it can only make acceptance rarer. Every slice has to pass, so the slices need no correction among themselves
(an intersection-union test: Berger 1982); where one of several measures has to be better, Holm corrects them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from registry.gating.budgets import Check as Check
from registry.gating.budgets import StageCost as StageCost
from registry.gating.budgets import budget_checks
from registry.gating.comparison import MEASURE_OF_STAGE, MEASURES, UNITS, Comparison, Measure, Pair, ranking, split_by
from registry.gating.gate_rules import GateRules, SliceRule
from registry.gating.statistics import design_effect, holm, smallest_gain

Purpose = Literal["better", "non-inferior"]
POWER = 0.8


@dataclass(frozen=True)
class GoldenResult:
    """One golden item: whether each release gets it right, and what the candidate made of it."""

    id: str
    champion: bool
    candidate: bool
    wanted: str = ""
    got: str = ""


@dataclass(frozen=True)
class Leak:
    """Something the candidate is judged on that one of its versions learned from."""

    what: str
    """``utterance spk23/…`` or ``speaker spk23``."""
    learned_by: str
    """``barista_stt 4``."""


@dataclass(frozen=True)
class Evidence:
    """Everything the decision rests on."""

    bot: str
    candidate: int
    against: int
    changed: Mapping[str, tuple[str, str]]
    """Stage to the (champion's, candidate's) version, where they differ: ``("barista_stt 1", "barista_stt 4")``."""
    pairs: Sequence[Pair] = ()
    costs: Sequence[StageCost] = ()
    golden: Sequence[GoldenResult] = ()
    leaks: Sequence[Leak] = ()
    unknown_lineage: Sequence[str] = ()
    """Changed versions of which the catalogue does not know what they learned from."""
    against_purpose: Purpose = "better"
    """What the champion itself was accepted as."""
    earlier: int = 0
    """Verdicts given before on the same utterances."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Names and digests of what was measured on."""
    dialogue_changed: bool = False
    """Whether the bot's dialogue, replies or phrases differ."""
    faults: Sequence[str] = ()
    """Each time a stage of the candidate could not answer, and why."""


@dataclass(frozen=True)
class Verdict:
    """Accepted or refused, and why."""

    bot: str
    candidate: int
    against: int
    purpose: Purpose
    accepted: bool
    headline: str
    checks: tuple[Check, ...]
    changed: Mapping[str, tuple[str, str]]
    sources: Mapping[str, str]
    rules: Mapping[str, Any]

    @property
    def reasons(self) -> list[str]:
        """Why it was refused; or, accepted, what was shown."""
        return [c.sentence for c in self.checks if c.refuses or (self.accepted and c.outcome == "passed")]

    def report(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {**asdict(self), "reasons": self.reasons}


def decide(evidence: Evidence, rules: GateRules, purpose: Purpose = "better") -> Verdict:
    """Judge a candidate. A pure function of its arguments."""
    checks = [
        *_faults(evidence),
        *_leakage(evidence, rules),
        *_enough(evidence, rules),
        *(_better(evidence, rules) if purpose == "better" else _not_worse_and_cheaper(evidence, rules)),
        *_slices(evidence, rules),
        *_ranking(evidence, rules),
        *_budgets(evidence, rules),
        *_golden(evidence),
    ]
    accepted = bool(evidence.changed) and bool(checks) and not any(c.refuses for c in checks)
    return Verdict(
        evidence.bot, evidence.candidate, evidence.against, purpose, accepted,
        _headline(evidence, checks, purpose, accepted), tuple(checks), dict(evidence.changed),
        {**evidence.sources, "earlier_verdicts": str(evidence.earlier)}, rules.model_dump(mode="json"),
    )  # fmt: skip


def _headline(evidence: Evidence, checks: Sequence[Check], purpose: Purpose, accepted: bool) -> str:
    who, whom = f"Release {evidence.candidate}", f"release {evidence.against}"
    if not evidence.changed and evidence.dialogue_changed:
        return f"Refused: {who.lower()} differs from {whom} in its bot.yaml alone, which nothing here can judge."
    if not evidence.changed:
        return f"Refused: {who.lower()} answers with the same versions as {whom}, so there is nothing to prefer."
    if accepted:
        claim = "better than" if purpose == "better" else "not worse than, and cheaper than,"
        return f"Accepted: {who.lower()} is {claim} {whom}."
    failed = [c for c in checks if c.refuses]
    first = failed[0].sentence[0].lower() + failed[0].sentence[1:] if failed else "nothing was judged."
    more = f" And {len(failed) - 1} more." if len(failed) > 1 else ""
    return f"Refused: {first}{more}"


def _measures(evidence: Evidence) -> dict[Measure, Comparison]:
    """What the changed stages are judged by."""
    wanted = {MEASURE_OF_STAGE[stage] for stage in evidence.changed}
    parts = split_by(evidence.pairs, lambda p: p.measure)
    return {m: Comparison.of(parts[m]) for m in MEASURES if m in wanted and m in parts}


def _faults(evidence: Evidence) -> Iterator[Check]:
    if evidence.faults:
        what = ", ".join(dict.fromkeys(evidence.faults))
        sentence = f"A stage could not answer {len(evidence.faults)} times ({what}), so measuring was broken off."
        yield Check("faults", "failed", True, sentence, {"faults": list(evidence.faults)})


def _leakage(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    if evidence.leaks:
        by = ", ".join(sorted({leak.learned_by for leak in evidence.leaks}))
        some = ", ".join(leak.what for leak in evidence.leaks[:3])
        yield Check(
            "leakage", "failed", True,
            f"{by} learned from what it is judged on ({len(evidence.leaks)} found: {some}"
            f"{', …' if len(evidence.leaks) > 3 else ''}), so its figures here say nothing.",
            {"leaks": [asdict(leak) for leak in evidence.leaks[:200]], "count": len(evidence.leaks)},
        )  # fmt: skip
    elif evidence.unknown_lineage:
        names = ", ".join(evidence.unknown_lineage)
        yield Check(
            "leakage", "not judged", rules.unknown_lineage == "refuse",
            f"What {names} learned from is not in the catalogue, so nobody can say whether it was taught the test.",
        )  # fmt: skip
    else:
        yield Check("leakage", "passed", False, "Nothing it is judged on is among what its versions learned from.")


def _enough(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    judged = _measures(evidence)
    missing = sorted({MEASURE_OF_STAGE[s] for s in evidence.changed} - judged.keys())
    if missing:
        yield Check("evidence", "failed", True, f"Nothing was measured of {', '.join(missing)}, which it changes.")
    for measure, found in judged.items():
        if found.speakers < rules.min_speakers or found.pairs < rules.min_utterances:
            what = "speakers" if measure == "understanding" else "things said"
            yield Check(
                f"evidence {measure}", "failed", True,
                f"{found.pairs} utterances of {found.speakers} {what} are too few to judge {measure} by "
                f"(the rules ask for {rules.min_utterances} of {rules.min_speakers}).",
                {"pairs": found.pairs, "speakers": found.speakers},
            )  # fmt: skip


def _better(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    """At least one measure is better; the others are not worse."""
    judged = _measures(evidence)
    adjusted = dict(zip(judged, holm([found.p_above() for found in judged.values()]), strict=True))
    winners = {m for m, p in adjusted.items() if p <= rules.alpha and judged[m].gain >= rules.min_effect}
    for measure, found in judged.items():
        if measure in winners or not winners:
            yield _better_check(measure, found, rules, adjusted[measure], measure in winners)
        else:
            yield _not_worse_check(measure, found, rules.margin, rules.alpha, "overall")


def _better_check(measure: Measure, found: Comparison, rules: GateRules, p: float, better: bool) -> Check:
    said = _difference(measure, found, rules.alpha)
    if better:
        sentence = f"{said} That is better ({_p(p)}, at most {rules.alpha:g} allowed)."
    elif p <= rules.alpha:
        sentence = f"{said} It is better, but by less than the {_points(rules.min_effect)} that make a change worth it."
    elif found.p_worse() <= rules.alpha:
        sentence = f"{said} That is worse ({_p(found.p_worse())})."
    elif found.gain < 0:
        sentence = f"{said} That is no gain."
    else:
        sentence = f"{said} That may well be chance ({_p(p)}, at most {rules.alpha:g} allowed).{_hope(found, rules)}"
    figures = {**found.figures(rules.alpha), "p": round(p, 6), "alpha": rules.alpha, "min_effect": rules.min_effect}
    return Check(f"better {measure}", "passed" if better else "failed", not better, sentence, figures)


def _hope(found: Comparison, rules: GateRules) -> str:
    """What an evaluation of this size could have seen."""
    if not found.pairs or found.units != found.pairs:
        return ""
    differ = max((found.gained + found.lost) / found.pairs, 1 / found.pairs)
    effect = design_effect(found.gains, found.gained, found.lost)
    gain = smallest_gain(found.pairs, differ, rules.alpha, POWER, effect)
    return f" With so many utterances, a true gain of {_points(gain)} would be seen {POWER:.0%} of the time."


def _not_worse_check(
    name: str, found: Comparison, margin: float, alpha: float, kind: str, measure: Measure = "understanding"
) -> Check:
    p = found.p_above(-margin)
    passed = p <= alpha
    if name in MEASURES:
        measure = name
    said = _difference(measure, found, alpha)
    if passed:
        sentence = f"{said} It is not worse by {_points(margin)} ({_p(p)})."
    elif found.p_worse() <= alpha:
        sentence = f"{said} That is worse ({_p(found.p_worse())})."
    else:
        sentence = f"{said} That it is not worse by {_points(margin)} is not shown ({_p(p)}, {alpha:g} allowed)."
    figures = {**found.figures(alpha), "p": round(p, 6), "alpha": alpha, "margin": margin}
    return Check(f"{kind} {name}", "passed" if passed else "failed", not passed, sentence, figures)


def _not_worse_and_cheaper(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    """Not worse on every measure, and it saves what the rules ask for."""
    if rules.cheaper is None:
        yield Check("purpose", "failed", True, "This bot's gate has no `cheaper`: a candidate must be better.")
        return
    if evidence.against_purpose == "non-inferior":
        # Step by step, "not much worse than the last one" may lead anywhere.
        yield Check(
            "purpose", "failed", True,
            f"Release {evidence.against} was itself accepted as not worse; two such steps may add up. "
            "Compare with the last release that was accepted as better (--against).",
        )  # fmt: skip
    for measure, found in _measures(evidence).items():
        yield _not_worse_check(measure, found, rules.margin, rules.alpha, "overall")
    savings = []
    for cost in evidence.costs:
        if rules.cheaper.latency is not None and cost.slower is not None and cost.slower <= rules.cheaper.latency:
            savings.append(f"{cost.stage} takes {cost.slower:.2f} times as long")
        if rules.cheaper.memory is not None and cost.larger is not None and cost.larger <= rules.cheaper.memory:
            savings.append(f"{cost.stage} takes {cost.larger:.2f} times the memory")
    asked = " or ".join(f"{v:g} times the {k}" for k, v in rules.cheaper.model_dump().items() if v is not None)
    sentence = f"It is cheaper: {', '.join(savings)}." if savings else f"No changed stage takes at most {asked}."
    yield Check("cheaper", "passed" if savings else "failed", not savings, sentence, {"savings": savings})


def _slices(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    judged = {MEASURE_OF_STAGE[stage] for stage in evidence.changed}
    for rule in rules.slices:
        pairs = [p for p in evidence.pairs if p.measure in judged and rule.field in p.slices]
        if not pairs and any(p.measure == "understanding" for p in evidence.pairs):
            yield Check(
                f"slice {rule.field}", "not judged", rule.unjudged == "refuse",
                f"No utterance says its {rule.field}, so nobody is known to be no worse off by it.",
            )  # fmt: skip
        for value, part in split_by(pairs, lambda p, f=rule.field: p.slices[f]).items():  # type: ignore[misc]
            yield _slice_check(rule, value, part)


def _slice_check(rule: SliceRule, value: str, part: Sequence[Pair]) -> Check:
    found = Comparison.of(part)
    name = f"{rule.field} {value}"
    if found.speakers < rule.min_speakers or found.pairs < rule.min_utterances:
        return Check(
            f"slice {name}", "not judged", rule.unjudged == "refuse",
            f"{rule.field} {value}: {found.pairs} utterances of {found.speakers} speakers are too few to judge "
            f"(the rules ask for {rule.min_utterances} of {rule.min_speakers}).",
            {**found.figures(rule.alpha), "alpha": rule.alpha, "margin": rule.margin},
        )  # fmt: skip
    check = _not_worse_check(name, found, rule.margin, rule.alpha, "slice", part[0].measure)
    return Check(check.name, check.outcome, check.refuses, f"{rule.field} {value}: {check.sentence}", check.figures)


def _ranking(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    areas = ranking([p for p in evidence.pairs if p.measure == "understanding"])
    if areas is None:
        return
    p = areas.p_above(-rules.ranking_margin)
    passed = p <= rules.alpha
    tail = "is not shown" if not passed else "holds"
    yield Check(
        "ranking", "passed" if passed else "failed", not passed,
        f"Its confidence tells what the bot can answer from what it cannot with AUC {areas.candidate:.3f} "
        f"(champion {areas.champion:.3f}); that this is no fall by {rules.ranking_margin:g} {tail} ({_p(p)}).",
        {**asdict(areas), "p": round(p, 6), "margin": rules.ranking_margin},
    )  # fmt: skip


def _budgets(evidence: Evidence, rules: GateRules) -> Iterator[Check]:
    costs = {cost.stage: cost for cost in evidence.costs}
    for stage, budget in rules.budgets.items():
        if stage in evidence.changed:
            yield from budget_checks(costs.get(stage, StageCost(stage)), budget)


def _golden(evidence: Evidence) -> Iterator[Check]:
    if not evidence.golden:
        yield Check("golden", "not judged", False, "No golden item tests the stages it changes.")
        return
    lost = [g for g in evidence.golden if g.champion and not g.candidate]
    open_ = [g for g in evidence.golden if not g.champion and not g.candidate]
    figures = {"items": len(evidence.golden), "lost": [asdict(g) for g in lost], "open": [asdict(g) for g in open_]}
    if lost:
        some = "; ".join(f"{g.id}: wanted {g.wanted}, got {g.got or 'nothing'}" for g in lost[:3])
        yield Check("golden", "failed", True, f"{len(lost)} golden items are lost ({some}).", figures)
        return
    still = f" {len(open_)} are wrong with both." if open_ else ""
    yield Check("golden", "passed", False, f"None of {len(evidence.golden)} golden items is lost.{still}", figures)


def _difference(measure: Measure, found: Comparison, alpha: float) -> str:
    low, high = found.interval(alpha)
    return (
        f"It gets {found.candidate:.1%} of {found.units} {UNITS[measure]} right, the champion {found.champion:.1%}: "
        f"{found.gain * 100:+.1f} points ({1 - 2 * alpha:.0%} interval {low * 100:+.1f} to {high * 100:+.1f})."
    )


def _points(share: float) -> str:
    return f"{share * 100:.1f} points"


def _p(p: float) -> str:
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.4f}" if p < 0.1 else f"p = {p:.2f}"
