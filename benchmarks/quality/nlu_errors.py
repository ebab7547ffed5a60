"""What a model gets wrong on a validation split: intents taken for others, and slots by kind of error."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from models.nlu.client import spans
from models.nlu.corpora import Sentence
from models.nlu.judge import Answer

_TOP = 15


def errors(rows: Sequence[Sentence], answers: Sequence[Answer]) -> dict[str, Any]:
    """The most frequent confusions of intents, and for each slot its spans by what became of them."""
    mistaken = Counter((r.intent, a.intent) for r, a in zip(rows, answers, strict=True) if r.intent != a.intent)
    slots: dict[str, Counter[str]] = defaultdict(Counter)
    for row, got in zip(rows, answers, strict=True):
        for slot, kind in span_errors(row.tags, got.tags):
            slots[slot][kind] += 1
    worst = sorted(slots.items(), key=lambda item: -sum(n for kind, n in item[1].items() if kind != "right"))
    return {
        "intents": [{"said": said, "heard": heard, "times": n} for (said, heard), n in mistaken.most_common(_TOP)],
        "slots": {slot: dict(counts) for slot, counts in worst[:_TOP]},
    }


def span_errors(wanted: Sequence[str], got: Sequence[str]) -> list[tuple[str, str]]:
    """``(slot, kind)`` of every wanted span, and of every span out of nothing.

    Kinds: ``right``; ``label`` (the span of another slot); ``boundary`` (its slot, another extent); ``missed``;
    ``invented`` (a span found where there is none).
    """
    found = spans(got)
    judged = []
    touched: set[tuple[str, int, int]] = set()
    for slot, start, end in spans(wanted):
        near = [span for span in found if span[1] < end and span[2] > start]
        touched.update(near)
        if (slot, start, end) in near:
            kind = "right"
        elif any(span[1:] == (start, end) for span in near):
            kind = "label"
        elif any(span[0] == slot for span in near):
            kind = "boundary"
        else:
            kind = "missed"
        judged.append((slot, kind))
    return judged + [(span[0], "invented") for span in found if span not in touched]
