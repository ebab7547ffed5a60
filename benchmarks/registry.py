"""``python -m benchmarks.registry --json OUT``: what versions, promotions and rollbacks cost the callers, in one run.

    swap_under_load     requests that fail, and their 99th percentile, while one operation runs each second
    rollback_seconds    from the start of `parley rollback` to the last replica that leaves the bad release
    publish             against hashing and copying the same bundle
    catalogue_10000     listing and lineage of 10,000 versions

Everything runs in scratch sites that are removed afterwards; the server, the signatures and the databases are real.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.rollback import measure_rollbacks
from benchmarks.small_site import scratch_site
from benchmarks.swap import measure_swaps
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.settings import Settings, settings
from parley.table import aligned

PARTS = ("swap", "rollback", "publish", "catalogue")
TARGETS = {
    "failed requests": (("swap_under_load", "failed"), 0),
    "p99 busy / quiet": (("swap_under_load", "p99_ratio"), 2.0),
    "rollback p95, s": (("rollback_seconds", "p95"), 1.0),
    "publish / hash and copy": (("publish", "ratio"), 2.0),
    "listing of 10,000, ms": (("catalogue_10000", "listing_ms"), 200.0),
    "lineage of 10,000, ms": (("catalogue_10000", "lineage_ms"), 200.0),
}


def measure(args: argparse.Namespace, site: Settings) -> dict[str, Any]:
    """The parts that were asked for.

    Raises:
        ParleyError: the bot is not known, or a part cannot run here.
    """
    bot = args.bot or "barista"
    if not (site.bots_dir / bot / "bot.yaml").is_file():
        raise ParleyError("there is no such bot", where=str(site.bots_dir / bot), mend="name one with --bot")
    report: dict[str, Any] = _header()
    with scratch_site(bot, site.bots_dir, site.repo_dir if args.bot else None) as (registry, publisher):
        if "swap" in args.parts:
            total = 2 * args.requests + args.requests // args.segments + 2 * (args.requests // args.segments // 5)
            with progress("requests", total) as bar:
                report["swap_under_load"] = measure_swaps(
                    registry, publisher, bot, bar, requests=args.requests, segments=args.segments, count=args.callers
                )
        if "rollback" in args.parts:
            with progress("rollbacks", 2 * args.rollbacks + 2) as bar:
                report["rollback_seconds"] = measure_rollbacks(
                    registry, publisher, bot, bar, runs=args.rollbacks, replicas=args.replicas
                )
    if "publish" in args.parts:
        from benchmarks.publishing import measure_publish

        report["publish"] = measure_publish()
    if "catalogue" in args.parts:
        report["catalogue_10000"] = _measure_catalogue()
    report["load_after"] = os.getloadavg()
    return report


def _measure_catalogue() -> dict[str, Any]:
    from benchmarks.catalogue import fill
    from benchmarks.catalogue import measure as ask
    from registry.catalogue import Catalogue

    with tempfile.TemporaryDirectory() as name, Catalogue.at(Settings(state_dir=Path(name))) as catalogue:
        fill(catalogue)
        questions = ask(catalogue)
    slowest = {
        f"{kind}_ms": max(figures["p50_ms"] for question, figures in questions.items() if question.startswith(prefix))
        for kind, prefix in (("listing", "list"), ("lineage", "lineage"))
    }
    return slowest | {"questions": questions}


def _header() -> dict[str, Any]:
    return {
        "command": " ".join(["python", "-m", "benchmarks.registry", *sys.argv[1:]]),
        "machine": {"cpus": os.cpu_count(), "processor": platform.processor() or platform.machine()},
        "load_before": os.getloadavg(),
    }


def print_report(report: dict[str, Any]) -> None:
    """A table for people: each figure beside what it should be."""
    rows = [("figure", "measured", "at most", "")]
    for name, ((part, key), most) in TARGETS.items():
        if part in report:
            value = report[part][key]
            rows.append((name, f"{value:g}", f"{most:g}", "" if value <= most else "missed"))
    print(aligned(rows, indent=""))
    if "swap_under_load" in report:
        swap = report["swap_under_load"]
        for side in ("quiet_ms", "busy_ms"):
            figures = "  ".join(f"{q} {swap[side][q]:.1f}" for q in ("p50", "p95", "p99"))
            print(f"{side.removesuffix('_ms')}: {figures} ms")
        done = ", ".join(f"{row['count']} x {name} ({row['p50_s']:.2f} s)" for name, row in swap["operations"].items())
        print(f"{swap['requests']} requests under {done}")
        for failure in swap["failures"]:
            print(f"failed {failure}")
    load = " ".join(f"{value:.1f}" for value in report["load_before"])
    print(f"{report['machine']['cpus']} CPUs, load before: {load}")


def draw_report(report: dict[str, Any], path: Path) -> None:
    """Latencies of the quiet and the busy requests as distributions."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), dpi=120)
    FigureCanvasAgg(figure)
    axis: Any = figure.subplots()
    for side, colour in (("quiet", "#5b7c99"), ("busy", "#9b2c2c")):
        values = sorted(report["swap_under_load"]["latencies_ms"][side])
        shares = [1 - n / len(values) for n in range(len(values))]
        axis.step(values, shares, where="post", color=colour, label=side)
    axis.axhline(0.01, color="#888888", linestyle=":", linewidth=1)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlabel("milliseconds")
    axis.set_ylabel("share of slower requests")
    axis.legend(frameon=False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, write."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--png", type=Path, help="draw the latencies here")
    parser.add_argument(
        "--bot", default="", help="use the versions of this bot; default: small models made on the spot"
    )
    parser.add_argument("--requests", type=int, default=10_000, help="requests under load, and again in quiet")
    parser.add_argument("--segments", type=int, default=5, help="quiet and busy segments in turn")
    parser.add_argument("--callers", type=int, default=16, help="calls at once")
    parser.add_argument("--rollbacks", type=int, default=20)
    parser.add_argument("--replicas", type=int, default=4, help="followers that a rollback has to reach")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    args = parser.parse_args(argv)
    report = measure(args, settings())
    print_report(report)
    if args.png and "swap_under_load" in report:
        draw_report(report, args.png)
    if args.json:
        report.get("swap_under_load", {}).pop("latencies_ms", None)
        write_json(args.json, report)
    return 0


if __name__ == "__main__":
    exit_with(main)
