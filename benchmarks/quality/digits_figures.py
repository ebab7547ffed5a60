"""The figures of recognised digit strings: digit errors, whole strings, and which digit was taken for which.

Two intervals each, 95 %: by string (strings share takes, so it is somewhat narrow), and by drawing whole speakers, who
are four, so that it says little more than how far they are apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from registry.gating.statistics import cluster_bootstrap

NOTHING = "-"
"""Stands for the digit that was not said, or not heard."""


@dataclass(frozen=True)
class Heard:
    """A string as it was said and heard."""

    speaker: str
    said: str
    heard: str
    accepted: bool
    """False when the system would ask again."""


def aligned(said: str, heard: str) -> list[tuple[str, str]]:
    """Pairs of digits along the fewest edits; :data:`NOTHING` on one side of an insertion or deletion.

    >>> aligned("402", "42")
    [('4', '4'), ('0', '-'), ('2', '2')]
    """
    table = [list(range(len(heard) + 1))]
    for i, digit in enumerate(said, start=1):
        row = [i]
        for j, other in enumerate(heard, start=1):
            row.append(min(table[-1][j] + 1, row[-1] + 1, table[-1][j - 1] + (digit != other)))
        table.append(row)
    pairs: list[tuple[str, str]] = []
    i, j = len(said), len(heard)
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + (said[i - 1] != heard[j - 1]):
            i, j = i - 1, j - 1
            pairs.append((said[i], heard[j]))
        elif i and table[i][j] == table[i - 1][j] + 1:
            i -= 1
            pairs.append((said[i], NOTHING))
        else:
            j -= 1
            pairs.append((NOTHING, heard[j]))
    return pairs[::-1]


def figures(heard: Sequence[Heard]) -> dict[str, Any]:
    """Everything the report shows of one system under one condition."""
    pairs = Counter(pair for h in heard for pair in aligned(h.said, h.heard))
    by_length: dict[int, list[Heard]] = defaultdict(list)
    by_speaker: dict[str, list[Heard]] = defaultdict(list)
    for h in heard:
        by_length[len(h.said)].append(h)
        by_speaker[h.speaker].append(h)
    wrong = {pair: n for pair, n in pairs.most_common() if pair[0] != pair[1]}
    sure = [h for h in heard if h.accepted]
    return {
        **_errors(heard),
        "substitutions": sum(n for (a, b), n in wrong.items() if NOTHING not in (a, b)),
        "deletions": sum(n for (_, b), n in wrong.items() if b == NOTHING),
        "insertions": sum(n for (a, _), n in wrong.items() if a == NOTHING),
        "asked_again": round(1 - len(sure) / len(heard), 4),
        "wrong_and_accepted": round(sum(h.said != h.heard for h in sure) / len(heard), 4),
        "by_length": {str(n): _errors(part) for n, part in sorted(by_length.items())},
        "by_speaker": {name: _errors(part) for name, part in sorted(by_speaker.items())},
        "pairs": {f"{a} {b}": n for (a, b), n in sorted(pairs.items())},
        "misses": [[h.speaker, h.said, h.heard] for h in heard if h.said != h.heard],
    }


def _errors(heard: Sequence[Heard]) -> dict[str, Any]:
    edits = [sum(a != b for a, b in aligned(h.said, h.heard)) for h in heard]
    digits = [len(h.said) for h in heard]
    wrong = [int(n > 0) for n in edits]
    speakers = [h.speaker for h in heard]
    return {
        "strings": len(heard), "digits": sum(digits),
        "digit_error": round(sum(edits) / sum(digits), 5),
        "digit_error_by_string": _interval(edits, digits, range(len(heard))),
        "digit_error_by_speaker": _interval(edits, digits, speakers),
        "string_error": round(sum(wrong) / len(heard), 5),
        "string_error_by_string": _interval(wrong, [1] * len(heard), range(len(heard))),
        "string_error_by_speaker": _interval(wrong, [1] * len(heard), speakers),
    }  # fmt: skip


def _interval(errors: Sequence[int], sizes: Sequence[int], clusters: Sequence[Any]) -> list[float]:
    """Bootstrap over clusters. Without a single error it is [0, 3 / clusters] (Hanley & Lippman-Hand 1983)."""
    sums: dict[Any, list[int]] = defaultdict(lambda: [0, 0])
    for error, size, cluster in zip(errors, sizes, clusters, strict=True):
        sums[cluster][0] += error
        sums[cluster][1] += size
    if not any(errors):
        return [0.0, round(min(1.0, 3 / len(sums)), 5)]
    low, high = cluster_bootstrap([s for s, _ in sums.values()], [n for _, n in sums.values()])
    return [round(low, 5), round(high, 5)]
