"""The report of a quality benchmark: a Markdown table and a plot beside the JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

from benchmarks.quality.slu_errors import error_analysis
from judging.conditions import GRID
from parley.files import write_atomic

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_TITLES = {
    "heard": "Parley, as a call hears", "given": "Parley, boundaries given",
    "sphinx": "PocketSphinx, exact grammar, boundaries given",
}  # fmt: skip
_MEAN = "mean of SNRs"
_ORDER = [*(condition.name for condition in GRID), _MEAN]


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write ``slu.md`` and ``slu.png`` into ``out``."""
    write_atomic(out / "slu.md", markdown(report))
    _plot(report, out / "slu.png")


def markdown(report: dict[str, Any]) -> str:
    """The table, with the command and the environment above it."""
    lines = ["# STT and NLU on real callers", "", f"`{report['command']}`", ""]
    lines += [", ".join(f"{k} {v}" for k, v in report.get("environment", {}).items()), ""]
    lines += [
        "| system | condition | command acceptance | 95 % by speaker | WER | intent | slot F1 | one turn "
        "| false accepts | false orders |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for system, results in report["results"].items():
        # JSON that was read again has its names in another order. A mean of some SNRs is none of all.
        for name in sorted((n for n, row in results.items() if row), key=_ORDER.index):
            shown = f"mean of {results[name]['snrs']} SNRs" if name == _MEAN else name
            lines.append(_line(_TITLES.get(system, system), shown, results[name]))
    return "\n".join([*lines, "", *error_analysis(report["results"].get("heard", {}))])


def _line(system: str, name: str, row: dict[str, Any]) -> str:
    def share(key: str) -> str:
        return f"{row[key]:.1%}" if key in row else ""

    low, high = row.get("command_acceptance_interval", (None, None))
    bounds = f"{low:.1%} to {high:.1%}" if low is not None else ""
    f1 = f"{row['slot_f1']:.3f}" if "slot_f1" in row else ""
    cells = [
        system, name, share("command_acceptance"), bounds, share("wer"), share("intent_accuracy"), f1,
        share("one_turn"), share("false_accepts"), share("false_orders"),
    ]  # fmt: skip
    return "| " + " | ".join(cells) + " |"


def _plot(report: dict[str, Any], path: Path) -> None:
    """Acceptance over the SNR, a line a system; the clean line is the point at the right."""
    figure, axes = plt.subplots(figsize=(7, 4))
    for system, results in report["results"].items():
        rows = [r for r in results.values() if r.get("condition", {}).get("snr_db") is not None]
        points = sorted((r["condition"]["snr_db"], r) for r in rows)
        if "clean" in results:
            points.append((30.0, results["clean"]))
        rows = [r for _, r in points]
        at, middle = [x for x, _ in points], [100 * r["command_acceptance"] for r in rows]
        sides = [[abs(100 * r["command_acceptance_interval"][i] - m) for r, m in zip(rows, middle, strict=True)]
                 for i in (0, 1)]  # fmt: skip
        axes.errorbar(at, middle, yerr=sides, marker="o", capsize=3, label=_TITLES.get(system, system))
    axes.set_xlabel("SNR of the kitchen noise, dB (30: clean)")
    axes.set_ylabel("commands accepted, %")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
