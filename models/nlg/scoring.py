"""How good replies to the meanings of a corpus are: sacreBLEU (Post 2018) and the slot error rate, with intervals.

Intervals are 95 % bootstrap intervals over meanings (Koehn 2004); two systems are compared on the same draws.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sacrebleu.metrics import BLEU

from models.nlg.corpora import Meaning
from models.nlg.realisations import Patterns, SlotDiff

DRAWS = 1000


def bleu_statistics(
    replies: Sequence[str], references: Sequence[Sequence[str]], *, lowercase: bool = False
) -> NDArray[Any]:
    """sacreBLEU's counts [replies, 10], which BLEU sums: lengths of reply and nearest reference, n-grams right, all."""
    metric = BLEU(effective_order=True, lowercase=lowercase)
    scores = [metric.sentence_score(reply, texts) for reply, texts in zip(replies, references, strict=True)]
    return np.array([[s.sys_len, s.ref_len, *s.counts, *s.totals] for s in scores], np.int64)


def bleu_of(summed: NDArray[Any]) -> float:
    """BLEU, 0 to 100, of summed counts [10]."""
    system, reference, *counts = summed.tolist()
    return float(BLEU.compute_bleu(counts[:4], counts[4:], system, reference).score)


def drawn_bleu(statistics: NDArray[Any], draws: int = DRAWS, seed: int = 1) -> NDArray[Any]:
    """BLEU of each bootstrap draw over the rows of ``statistics``: the same rows for the same number of rows."""
    rng = np.random.default_rng(seed)
    n = len(statistics)
    return np.array([bleu_of(statistics[rng.integers(0, n, n)].sum(0)) for _ in range(draws)])


def interval(drawn: NDArray[Any]) -> list[float]:
    """The middle 95 %."""
    return [round(float(value), 3) for value in np.percentile(drawn, [2.5, 97.5])]


def slot_figures(replies: Sequence[str], meanings: Sequence[Meaning], patterns: Patterns) -> dict[str, Any]:
    """Slot errors: missing, added and wrong values over the values asked for, and the share of replies without any."""
    diffs = [patterns.errors(text, meaning) for text, meaning in zip(replies, meanings, strict=True)]
    total = sum(diffs, SlotDiff())
    slots = np.array([len(meaning) for meaning in meanings], float)
    errors = np.array([diff.errors for diff in diffs], float)
    rng = np.random.default_rng(1)
    picks = rng.integers(0, len(slots), (DRAWS, len(slots)))
    return {
        "slot_error_rate": round(float(errors.sum() / slots.sum()), 5),
        "slot_error_rate_interval": interval(errors[picks].sum(1) / slots[picks].sum(1)),
        "missing": total.missing, "added": total.added, "wrong": total.wrong, "repeated": total.repeated,
        "slots": int(slots.sum()), "replies_without_error": round(float((errors == 0).mean()), 5),
    }  # fmt: skip


def figures(
    replies: Sequence[str], meanings: Mapping[Meaning, Sequence[str]], patterns: Patterns, draws: int = DRAWS
) -> dict[str, Any]:
    """BLEU and slot errors of replies, one to each meaning in order."""
    statistics = bleu_statistics(replies, list(meanings.values()))
    lower = bleu_statistics(replies, list(meanings.values()), lowercase=True)
    return {
        "replies": len(replies),
        "bleu": round(bleu_of(statistics.sum(0)), 3),
        "bleu_interval": interval(drawn_bleu(statistics, draws)),
        "bleu_lowercase": round(bleu_of(lower.sum(0)), 3),
        "length_ratio": round(float(statistics[:, 0].sum() / statistics[:, 1].sum()), 4),
        **slot_figures(replies, list(meanings), patterns),
    }
