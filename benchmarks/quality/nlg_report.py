"""The table and the picture of `benchmarks.quality.nlg`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parley.files import write_atomic


def write_report(report: dict[str, Any], out: Path) -> str:
    """Write ``nlg.md`` and ``nlg.png`` into ``out``; returns the Markdown."""
    text = markdown(report)
    write_atomic(out / "nlg.md", text)
    draw(report, out / "nlg.png")
    return text


def markdown(report: dict[str, Any]) -> str:
    """Systems with their intervals, differences, slices by the number of slots, speed, and examples."""
    lines = [f"# NLG on cleaned E2E, {report['split']} split", "", f"`{report['command']}`  ",
             f"commit {report['git_commit'][:10]}, {report['machine']['cpus']} CPUs, "
             f"sacreBLEU `{report['sacrebleu']}`  ",
             f"{report['meanings']} meanings, {report['references']} references; intervals are 95 %, over meanings", "",
             "| system | runs | BLEU | 95 % | case aside | length | slot errors | missing | added | wrong | no error |",
             "|---" * 11 + "|"]  # fmt: skip
    for name, system in report["systems"].items():
        mean, runs = system["mean"], system["runs"]
        spread = f" ({min(r['bleu'] for r in runs):.2f} to {max(r['bleu'] for r in runs):.2f})" if len(runs) > 1 else ""
        low, high = mean["bleu_interval"]
        of = system.get("meanings", report["meanings"])
        note = f", {of} merged meanings" if of != report["meanings"] else ""
        lines.append(f"| {name}{note} | {len(runs)} | {mean['bleu']:.2f}{spread} | {low:.2f} to {high:.2f} "
                     f"| {mean['bleu_lowercase']:.2f} | {mean['length_ratio']:.3f} "
                     f"| {mean['slot_error_rate']:.2%} | {mean['missing']:.1f} | {mean['added']:.1f} "
                     f"| {mean['wrong']:.1f} | {mean['replies_without_error']:.1%} |")  # fmt: skip
    lines += [*_differences(report), *_slices(report), *_speed(report), *_examples(report)]
    return "\n".join([*lines, ""])


def _differences(report: dict[str, Any]) -> list[str]:
    if not report["against"]:
        return []
    lines = ["", "Parley's BLEU less a peer's, means of the runs, paired bootstrap:", "",
             "| peer | difference | 95 % | draws not below |", "|---|---|---|---|"]  # fmt: skip
    for name, found in report["against"].items():
        low, high = found["interval"]
        lines.append(f"| {name} | {found['bleu_difference']:+.2f} | {low:+.2f} to {high:+.2f} "
                     f"| {found['share_of_draws_not_below']:.1%} |")  # fmt: skip
    return lines


def _slices(report: dict[str, Any]) -> list[str]:
    systems = report["systems"]
    names = list(systems)
    lines = ["", "BLEU and slot error rate, the middle run of each system:", "",
             "| meanings | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]  # fmt: skip
    for part in dict.fromkeys(part for name in names for part in systems[name]["slices"]):
        cells = []
        for name in names:
            found = systems[name]["slices"].get(part)
            cells.append(f"{found['bleu']:.1f}, {found['slot_error_rate']:.1%} (n={found['replies']})" if found else "")
        lines.append(f"| {part} | " + " | ".join(cells) + " |")
    return lines


def _speed(report: dict[str, Any]) -> list[str]:
    load = ", ".join(f"{x:.1f}" for x in report["machine"]["load"])
    lines = ["", f"One meaning at a time, one thread, checks included (machine's load {load}):", "",
             "| run | parameters | MB | tokens/s | p50 ms | p95 ms | other styles asked | sentences added | plain |",
             "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, system in report["systems"].items():
        for one in system.get("serving", []):
            late = one["latency_ms"]
            lines.append(f"| {name}, {one['run']} | {one['parameters']:,} | {one['megabytes']} "
                         f"| {one['tokens_per_s']:.0f} | {late['p50']} | {late['p95']} | {one['retries']} "
                         f"| {one['repairs']} | {one['fallbacks']} |")  # fmt: skip
    lines += [f"\n{precision}: refused, {why}" for precision, why in report.get("refused", {}).items()]
    return lines


def _examples(report: dict[str, Any]) -> list[str]:
    lines = ["", "Examples: the worst by slot errors and BLEU, then some of all.", ""]
    for row in report["examples"]:
        lines.append(f"- `{row['meaning']}` (slot errors {row['slot_errors']}, BLEU {row['bleu']})  \n"
                     f"  said: {row['text']}  \n  a reference: {row['reference']}")  # fmt: skip
    return lines


def draw(report: dict[str, Any], path: Path) -> None:
    """BLEU with its interval, and the slot error rate, a bar a system."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    systems = report["systems"]
    figure = Figure(figsize=(8, 3.2), dpi=130)
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    colours = ["#2b6cb0" if name.startswith("Parley") else "#a0aec0" for name in systems]
    means = [system["mean"] for system in systems.values()]
    below = [max(0.0, m["bleu"] - m["bleu_interval"][0]) for m in means]
    above = [max(0.0, m["bleu_interval"][1] - m["bleu"]) for m in means]
    left.barh(list(systems), [m["bleu"] for m in means], xerr=[below, above], color=colours, capsize=3)
    left.set_xlabel("BLEU, 95 % over meanings")
    right.barh(list(systems), [100 * m["slot_error_rate"] for m in means], color=colours)
    right.set_xlabel("slot error rate, %")
    for panel in (left, right):
        panel.invert_yaxis()
        panel.tick_params(labelsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    right.set_yticklabels([])
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
