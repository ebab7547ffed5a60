"""What a changed stage costs, and whether that is within the bot's budgets; what one check of the gate says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from registry.gating.gate_rules import StageBudget

Outcome = Literal["passed", "failed", "not judged"]


@dataclass(frozen=True)
class Check:
    """One thing the gate looked at."""

    name: str
    outcome: Outcome
    refuses: bool
    """Whether the candidate is refused for it."""
    sentence: str
    """For anyone to read."""
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class StageCost:
    """What one changed stage takes, champion and candidate in turns on the same things."""

    stage: str
    champion_ms: tuple[float, ...] = ()
    candidate_ms: tuple[float, ...] = ()
    champion_mb: float | None = None
    candidate_mb: float | None = None

    @property
    def slower(self) -> float | None:
        """Median over utterances of candidate / champion."""
        ratios = [b / a for a, b in zip(self.champion_ms, self.candidate_ms, strict=True) if a > 0]
        return float(np.median(ratios)) if ratios else None

    @property
    def larger(self) -> float | None:
        """Memory, candidate / champion."""
        if self.champion_mb is None or self.candidate_mb is None:
            return None
        return self.candidate_mb / max(self.champion_mb, 0.1)


def budget_checks(cost: StageCost, budget: StageBudget) -> Iterator[Check]:
    """Each limit of a stage's budget, kept or not."""
    p95 = [float(np.percentile(ms, 95)) if ms else None for ms in (cost.champion_ms, cost.candidate_ms)]
    rows = [
        ("p95_ms", "an answer's 95th percentile", "ms", p95[1], budget.p95_ms, p95[0]),
        ("slower", "median time beside the champion's", "times", cost.slower, budget.slower, None),
        ("memory_mb", "memory", "MB", cost.candidate_mb, budget.memory_mb, None),
        ("larger", "memory beside the champion's", "times", cost.larger, budget.larger, None),
    ]
    for key, what, unit, value, limit, champion in rows:
        if limit is not None:
            yield _budget_check(f"budget {cost.stage} {key}", f"{cost.stage}: {what}", unit, value, limit, champion)


def _budget_check(name: str, what: str, unit: str, value: float | None, limit: float, champion: float | None) -> Check:
    if value is None:
        return Check(name, "not judged", True, f"{what} was not measured, and the rules have a limit for it.")
    figures = {"value": round(value, 3), "limit": limit, "champion": champion}
    passed = value <= limit
    shown = f"{value:.2f}" if unit == "times" else f"{value:.1f}"
    sentence = f"{what} is {shown} {unit}, {'within' if passed else 'over'} the budget of {limit:g}."
    if not passed and champion is not None and champion > limit:
        # The champion kept this budget when it was accepted: more likely than not the machine is busy.
        sentence += f" So is the champion's ({champion:.1f}): measure again where nothing else runs."
        return Check(name, "not judged", True, sentence, figures)
    return Check(name, "passed" if passed else "failed", not passed, sentence, figures)
