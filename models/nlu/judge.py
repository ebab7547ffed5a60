"""How well a corpus is understood: intent accuracy, slot F1 as conlleval counts it, whole sentences, out of scope.

Intervals are 95 % bootstrap intervals over sentences (Efron 1979).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.nlu.client import spans
from models.nlu.corpora import CLINC_OUT_OF_SCOPE, Sentence


@dataclass(frozen=True)
class Answer:
    """What a model made of a sentence."""

    intent: str
    tags: tuple[str, ...]
    in_scope: float = float("inf")
    """Score of being in scope, higher is surer; `models.nlu.out_of_scope` compares it with a threshold."""


def span_counts(wanted: Sequence[str], got: Sequence[str]) -> tuple[int, int, int]:
    """Spans of BIO tags that are right (slot, start and end), found, and there, as conlleval (CoNLL-2000) counts."""
    mine, theirs = Counter(spans(wanted)), Counter(spans(got))
    return sum((mine & theirs).values()), sum(theirs.values()), sum(mine.values())


def f1(right: Any, found: Any, there: Any) -> Any:
    """F1 of counts (or of arrays of them); 1 where nothing is there and nothing is found."""
    return np.where(found + there > 0, 2 * right / np.maximum(found + there, 1), 1.0)


def figures(rows: Sequence[Sentence], answers: Sequence[Answer], draws: int = 2000) -> dict[str, Any]:
    """Figures of a split with slots or without: each a share and its interval."""
    intent = np.array([row.intent == got.intent for row, got in zip(rows, answers, strict=True)], float)
    found: dict[str, Any] = {"sentences": len(rows), **share("intent_accuracy", intent, draws)}
    counts = np.array([span_counts(row.tags, got.tags) for row, got in zip(rows, answers, strict=True)])
    if counts.sum():
        whole = np.array([r.tags == g.tags and r.intent == g.intent for r, g in zip(rows, answers, strict=True)], float)
        picks = _draw(len(rows), draws)
        drawn = f1(*(counts[:, i][picks].sum(1) for i in range(3)))
        found |= {"slot_f1": round(float(f1(*counts.sum(0))), 5), "slot_f1_interval": _interval(drawn),
                  **share("sentence_accuracy", whole, draws)}  # fmt: skip
    return found


def out_of_scope_figures(rows: Sequence[Sentence], answers: Sequence[Answer], draws: int = 2000) -> dict[str, Any]:
    """In-scope accuracy (over in-scope sentences) and out-of-scope recall, as Larson et al. 2019 count them."""
    outside = np.array([row.intent == CLINC_OUT_OF_SCOPE for row in rows])
    right = np.array([row.intent == got.intent for row, got in zip(rows, answers, strict=True)], float)
    score = np.array([got.in_scope for got in answers])
    return {
        **share("in_scope_accuracy", right[~outside], draws),
        **share("out_of_scope_recall", right[outside], draws),
        "out_of_scope_auroc": round(area(score[~outside], score[outside]), 5),
    }


def area(inside: NDArray[Any], outside: NDArray[Any]) -> float:
    """Area under the ROC curve: how often an in-scope sentence scores above an out-of-scope one (ties are half)."""
    below = np.searchsorted(np.sort(outside), inside, "left") + np.searchsorted(np.sort(outside), inside, "right")
    return float(below.mean() / 2 / max(1, len(outside)))


def share(name: str, right: NDArray[Any], draws: int) -> dict[str, Any]:
    """The mean of zeros and ones under ``name`` and its interval under ``name_interval``."""
    if not len(right):
        return {}
    return {name: round(float(right.mean()), 5),
            f"{name}_interval": _interval(right[_draw(len(right), draws)].mean(1))}  # fmt: skip


def _draw(n: int, draws: int, seed: int = 1) -> NDArray[Any]:
    return np.random.default_rng(seed).integers(0, n, (draws, n))


def _interval(drawn: NDArray[Any]) -> list[float]:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return [round(float(low), 5), round(float(high), 5)]
