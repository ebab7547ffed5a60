"""Where commands go wrong: by speaker, by slot, and what was heard instead of what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from judging.slu import Heard, understood
from parley.recordings import Recording

_NOTHING = "nothing"
_SHOWN = 8


def by_speaker_and_slot(recordings: Sequence[Recording], heard: Sequence[Heard]) -> dict[str, Any]:
    """Counts of what is an order: right and all of each speaker, of each slot, and the confusions of slots' values."""
    speakers: dict[str, list[int]] = {}
    slots: dict[str, list[int]] = {}
    confused: Counter[str] = Counter()
    for said, got in zip(recordings, heard, strict=True):
        if not said.intent:
            continue
        _count(speakers, said.speaker, understood(said, got))
        for name in sorted(said.slots.keys() | got.slots.keys()):
            meant, heard_as = said.slots.get(name, _NOTHING), got.slots.get(name, _NOTHING)
            _count(slots, name, meant == heard_as)
            if meant != heard_as:
                confused[f"{name}: {meant} -> {heard_as}"] += 1
    return {"by_speaker": speakers, "by_slot": slots, "confused": dict(confused.most_common())}


def _count(table: dict[str, list[int]], key: str, right: bool) -> None:
    count = table.setdefault(key, [0, 0])
    count[0] += right
    count[1] += 1


def error_analysis(results: Mapping[str, Any]) -> list[str]:
    """Markdown of one system's results: the speakers with most errors, the slots, the confusions, by condition."""
    rows = {name: row for name, row in results.items() if row.get("by_slot")}
    if not rows:
        return []
    lines = ["## Where it errs", ""]
    slots = sorted({slot for row in rows.values() for slot in row["by_slot"]})
    lines += ["| condition | " + " | ".join(f"{slot} wrong" for slot in slots) + " |", "|---" * (len(slots) + 1) + "|"]
    for name, row in rows.items():
        cells = [_wrong(row["by_slot"].get(slot, [0, 0])) for slot in slots]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    worst = sorted(_sums(rows, "by_speaker").items(), key=lambda item: item[1][0] / item[1][1])[:_SHOWN]
    lines += ["", f"All {len(rows)} conditions together, the speakers with the lowest acceptance: " + ", ".join(
        f"{who} {right / n:.0%} of {n}" for who, (right, n) in worst) + "."]  # fmt: skip
    confused: Counter[str] = Counter()
    for row in rows.values():
        confused.update(row["confused"])
    lines += ["", "Most often: " + "; ".join(f"{what} ({n})" for what, n in confused.most_common(2 * _SHOWN)) + ".", ""]
    return lines


def _wrong(count: Sequence[int]) -> str:
    right, n = count
    return f"{(n - right) / n:.1%} of {n}" if n else ""


def _sums(rows: Mapping[str, Any], key: str) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for row in rows.values():
        for name, (right, n) in row[key].items():
            before = found.get(name, (0, 0))
            found[name] = (before[0] + right, before[1] + n)
    return found
