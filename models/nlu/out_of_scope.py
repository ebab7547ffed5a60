"""What is out of scope: a score for each answer, and thresholds for it, chosen on validation. Torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.nlu.corpora import CLINC_OUT_OF_SCOPE, Sentence
from models.nlu.judge import Answer


def best_intent(logits: NDArray[Any], intents: Sequence[str]) -> tuple[str, float]:
    """The best intent in scope, and by how much its logit exceeds that of out of scope; infinite without such a label.

    Of six scores tried on CLINC150's validation split (docs/quality-nlu.md) this one lost least in scope.
    """
    if CLINC_OUT_OF_SCOPE not in intents:
        return intents[int(logits.argmax())], float("inf")
    outside = intents.index(CLINC_OUT_OF_SCOPE)
    inside = np.array(logits, np.float32)
    inside[outside] = -np.inf
    return intents[int(inside.argmax())], float(inside.max() - logits[outside])


@dataclass(frozen=True)
class Threshold:
    """An answer whose in-scope score is below ``value`` is out of scope."""

    value: float

    def apply(self, answers: Sequence[Answer]) -> list[Answer]:
        """The answers, those below the threshold out of scope."""
        return [replace(a, intent=CLINC_OUT_OF_SCOPE) if a.in_scope < self.value else a for a in answers]


PLAIN = Threshold(0.0)
"""The most probable label, as if out of scope were an intent like others."""


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
    candidates = [score.min() - 1, 0.0, *np.unique(score)]
    overall, balanced = [], []
    for candidate in candidates:
        below = score < candidate
        kept = np.where(outside, below | right, right & ~below)
        overall.append(kept.mean())
        balanced.append((kept[outside].mean() + kept[~outside].mean()) / 2)
    points = {"best_overall": overall, "balanced": balanced}
    return {name: Threshold(float(candidates[int(np.argmax(values))])) for name, values in points.items()}
