"""The tables and the picture of `parley bench speed`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_TITLES = {"stt": "STT, one chunk", "nlu": "NLU, one sentence", "nlg": "NLG, one reply", "tts": "TTS, one piece"}
_COLOURS = {
    "fp32": "#1b1f24",
    "fp16": "#9b2c2c",
    "fp16-weights": "#c05621",
    "int8": "#2b6cb0",
    "int8-weights": "#2f855a",
}


def markdown(report: dict[str, Any]) -> str:
    """Header, and for each family what a precision costs and how fast it is."""
    machine = report["machine"]
    core = "all cores" if machine["core"] is None else "one core for client, server and graph"
    lines = [
        "# Precision, size and speed",
        "",
        f"`{report['command']}`",
        "",
        f"commit {report.get('git_commit', '')[:10]}, {machine['cpus']} CPUs, {core}, one thread a session, "
        f"load a core before the run {machine['load_per_core']}"
        + ("; **times are provisional: the machine was busy**" if machine["provisional"] else ""),
    ]
    for family, found in report["families"].items():
        lines += ["", f"## {_TITLES[family]}", ""]
        if "left_out" in found:
            lines.append(f"left out: {found['left_out']}")
            continue
        lines += [*_costs(found["precisions"]), "", *_speeds(found["precisions"])]
    return "\n".join([*lines, "", _NOTE, ""])


_NOTE = (
    "Quality with its 95 % interval over speakers (STT) or items; Δ is the change against fp32 on the same items, with "
    "the interval of the change. Batch-mates: by how much an answer changes, relative to its peak, with what else is "
    "in its batch. RTF is of the graph alone."
)


def _costs(precisions: dict[str, Any]) -> list[str]:
    names = list(dict.fromkeys(n for one in precisions.values() for n in one.get("quality", {})))
    head = ["precision", "file, MB", "memory, MB"]
    for name in names:
        head += [name.replace("_", " "), "Δ"]
    lines = ["| " + " | ".join([*head, "batch-mates"]) + " |", "|---" * (len(head) + 1) + "|"]
    for precision, one in precisions.items():
        if "refused" in one:
            lines.append(f"| {precision} | refused: {one['refused'].replace('|', '/')}" + " |" * len(head))
            continue
        cells = [precision, f"{one['megabytes']:.2f}", f"{one['memory_mb']:.0f}"]
        for name in names:
            cells += _quality(name, one["quality"].get(name))
        mates = one.get("batch_mates", 0.0)
        lines.append("| " + " | ".join([*cells, f"{mates:.1e}"]) + " |")
    return lines


def _quality(name: str, figure: dict[str, Any] | None) -> list[str]:
    if figure is None:
        return ["", ""]
    scale, unit = (1.0, "") if name.endswith("_db") else (100.0, " %")
    low, high = (scale * v for v in figure["interval"])
    cells = [f"{scale * figure['value']:.2f}{unit} ({low:.2f} to {high:.2f}, n {figure['items']})", ""]
    if "change" in figure:
        low, high = (scale * v for v in figure["change_interval"])
        cells[1] = f"{scale * figure['change']:+.2f} ({low:+.2f} to {high:+.2f})"
    return cells


def _speeds(precisions: dict[str, Any]) -> list[str]:
    measured = {p: one for p, one in precisions.items() if "batches" in one}
    sizes = list(next(iter(measured.values()))["batches"])
    head = ["precision", "engine", "p50, ms", "p95, ms", "RTF", *(f"items/s, batch {size}" for size in sizes)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for precision, one in measured.items():
        batches = one["batches"]
        for side in ("raw", "triton"):
            if side in batches["1"]:
                rtf = one["real_time_factor"].get(side)
                cells = [precision, {"raw": "ONNX Runtime", "triton": "Triton"}[side]]
                cells += [f"{batches['1'][side][q]:.2f}" for q in ("p50_ms", "p95_ms")]
                cells += [f"{rtf:.4f}" if rtf is not None else ""]
                lines.append(
                    "| " + " | ".join([*cells, *(f"{batches[s][side]['items_per_s']:.0f}" for s in sizes)]) + " |"
                )
        if "ratio" in batches["1"]:
            ratios = [f"{batches[s]['ratio']:.2f}" for s in sizes]
            lines.append(f"| {precision} | Triton over raw, p50 | {ratios[0]} | | | " + " | ".join(ratios) + " |")
    return lines


def draw(report: dict[str, Any], path: Path) -> None:
    """A panel a family: items a second over the batch, a colour a precision; dashed is through Triton."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    families = {f: one for f, one in report["families"].items() if "precisions" in one}
    figure = Figure(figsize=(3.6 * max(1, len(families)), 3.6), dpi=120)
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(1, max(1, len(families)), squeeze=False)[0]
    for panel, (family, found) in zip(panels, families.items(), strict=False):
        for precision, one in found["precisions"].items():
            batches = one.get("batches", {})
            for side, line in (("raw", "-"), ("triton", "--")):
                points = [(int(size), b[side]["items_per_s"]) for size, b in batches.items() if side in b]
                if points:
                    label = precision if side == "raw" else None
                    panel.plot(*zip(*points, strict=True), line, marker=".", color=_COLOURS[precision], label=label)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_xlabel("batch")
        panel.set_title(f"{_TITLES[family]}: items a second\ndashed: through Triton", fontsize=8)
        panel.grid(alpha=0.3)
        panel.tick_params(labelsize=7)
        panel.legend(fontsize=6)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
