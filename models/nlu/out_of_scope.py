"""Thresholds that tell sentences out of scope, chosen on validation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.nlu.corpora import CLINC_OUT_OF_SCOPE, Sentence
from models.nlu.judge import Answer


@dataclass(frozen=True)
class Threshold:
    """An answer whose in-scope score is below ``value`` is out of scope."""

    value: float

    def apply(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers, those below the threshold out of scope."""
        return [replace(a, intent=CLINC_OUT_OF_SCOPE) if a.in_scope < self.value else a for a in answers]


def choose_thresholds(rows: Sequence[Sentence], answers: Sequence[Answer]) -> dict[str, Threshold]:
    """Operating points; none where validation has nothing out of scope.

    ``best_overall`` has the highest accuracy over all validation sentences, out of scope as one more intent (the rule
    of Larson et al. 2019); ``balanced`` the highest mean of in-scope accuracy and out-of-scope recall.
    """
    outside = np.array([row.intent == CLINC_OUT_OF_SCOPE for row in rows])
    if not outside.any():
        return {}
    right = np.array([row.intent == got.intent for row, got in zip(rows, answers, strict=True)])
    score = np.array([got.in_scope for got in answers])
    candidates = [-np.inf, *np.unique(score)]
    overall, balanced = [], []
    for candidate in candidates:
        below = score < candidate
        kept = np.where(outside, below | right, right & ~below)
        overall.append(kept.mean())
        balanced.append((kept[outside].mean() + kept[~outside].mean()) / 2)
    points = {"best_overall": overall, "balanced": balanced}
    return {name: Threshold(float(candidates[int(np.argmax(values))])) for name, values in points.items()}
