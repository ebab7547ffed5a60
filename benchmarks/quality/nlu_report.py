"""The table and the picture of `benchmarks.quality.nlu`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

PUBLISHED: dict[str, list[tuple[str, dict[str, float]]]] = {
    "snips": [
        ("Stack-Propagation (Qin et al. 2019)", {"intent_accuracy": 98.0, "slot_f1": 94.2, "sentence_accuracy": 86.9}),
        ("Co-Interactive (Qin et al. 2021)", {"intent_accuracy": 98.8, "slot_f1": 95.9, "sentence_accuracy": 90.3}),
    ],
    "atis": [
        ("Stack-Propagation (Qin et al. 2019)", {"intent_accuracy": 96.9, "slot_f1": 95.9, "sentence_accuracy": 86.5}),
        ("Co-Interactive (Qin et al. 2021)", {"intent_accuracy": 97.7, "slot_f1": 95.9, "sentence_accuracy": 87.4}),
    ],
    "banking77": [("BERT tuned, pre-trained (Casanueva et al. 2020)", {"intent_accuracy": 93.7})],
    "clinc150": [
        ("MLP on a pre-trained encoder (Larson et al. 2019)", {"in_scope_accuracy": 93.5, "out_of_scope_recall": 47.4}),
        ("SVM (Larson et al. 2019)", {"in_scope_accuracy": 91.0, "out_of_scope_recall": 14.5}),
    ],
}
COLUMNS = {
    "intent_accuracy": "intent",
    "slot_f1": "slot F1",
    "sentence_accuracy": "sentence",
    "in_scope_accuracy": "in scope",
    "out_of_scope_recall": "out-of-scope recall",
    "out_of_scope_auroc": "AUROC",
}


def markdown(report: dict[str, Any]) -> str:
    """A table a corpus: ours (mean, smallest to largest of the runs, interval over sentences), then the published."""
    header = report["header"]
    lines = [f"`{header['command']}`  ", f"commit {header['git_commit'][:10]}, {header['machine']['cpus']} CPUs"]
    for name, corpus in report["corpora"].items():
        columns = [c for c in COLUMNS if c in corpus["summary"]["test"]]
        lines += ["", f"### {name}", "", "| model | " + " | ".join(COLUMNS[c] for c in columns) + " |",
                  "|---" * (len(columns) + 1) + "|"]  # fmt: skip
        for part, summary in corpus["summary"].items():
            if part == "test" and "test_best_overall" in corpus["summary"]:
                continue  # the same figures under the name of their threshold
            lines.append(
                f"| Parley, {part.replace('_', ' ')} | " + " | ".join(_cell(summary[c]) for c in columns) + " |"
            )
        for peer, values in PUBLISHED[name]:
            cells = [f"{values[c]:.1f}" if c in values else "" for c in columns]
            lines.append(f"| {peer}, published | " + " | ".join(cells) + " |")
        lines += ["", *_sizes(corpus)]
    return "\n".join(lines)


def _cell(figure: dict[str, Any]) -> str:
    text = f"{100 * figure['mean']:.2f} ({100 * figure['min']:.2f} to {100 * figure['max']:.2f}, {figure['runs']} runs)"
    if figure["interval"]:
        text += f" [{100 * figure['interval'][0]:.1f}, {100 * figure['interval'][1]:.1f}]"
    return text


def _sizes(corpus: dict[str, Any]) -> list[str]:
    lines = ["| precision | MB | p50 ms | p95 ms | largest loss of a test figure, points |", "|---|---|---|---|---|"]
    run = corpus["runs"][0]
    for precision in ("fp32", "fp16", "int8"):
        entry = run.get(precision)
        if entry is None:
            continue
        if "refused" in entry:
            lines.append(f"| {precision} | refused: {entry['refused']} | | | |")
            continue
        lost = max(run["fp32"]["test"][c] - entry["test"][c] for c in COLUMNS if c in entry["test"])
        late = entry["latency_ms"]
        lines.append(f"| {precision} | {entry['megabytes']} | {late['p50']} | {late['p95']} | {100 * lost:.2f} |")
    return [*lines, "", f"{run['parameters']:,} parameters; one query at a time, one thread."]


def draw(report: dict[str, Any], path: Path) -> None:
    """A panel a corpus: ours with the interval over sentences, the published figures as marks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    corpora = report["corpora"]
    figure = Figure(figsize=(3.4 * len(corpora), 3.6), dpi=120)
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, len(corpora), squeeze=False)[0]
    for panel, (name, corpus) in zip(panels, corpora.items(), strict=True):
        summary = corpus["summary"]["test"]
        columns = [c for c in COLUMNS if c in summary]
        for at, column in enumerate(columns):
            mean = 100 * summary[column]["mean"]
            low, high = (100 * v for v in summary[column]["interval"] or [summary[column]["mean"]] * 2)
            panel.errorbar(at, mean, [[max(0, mean - low)], [max(0, high - mean)]], fmt="o", color="#2b6cb0", capsize=4)
            for peer, (_, values) in enumerate(PUBLISHED[name]):
                if column in values:
                    panel.plot(at + 0.2, values[column], marker="_x"[peer], color="#9b2c2c", linestyle="none")
        panel.set_xticks(range(len(columns)), [COLUMNS[c].replace(" ", "\n") for c in columns], fontsize=7)
        panel.set_xlim(-0.5, len(columns) - 0.3)
        panel.set_title(f"{name}: ours (blue, 95 %), published (red)", fontsize=7)
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
