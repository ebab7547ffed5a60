"""``parley bench speed --out DIR [--manifest M]``: what each precision costs and gains, family by family, on one core.

For STT (one chunk), NLU, NLG (one reply) and TTS (one piece): the file's size and memory, the loss in the family's own
figure against fp32 on the same items, latency and throughput by batch with ONNX Runtime in this process and through
the real tritonserver, and the ratio of both. ``--manifest`` gives recordings for the STT. The versions are those of
``--runs`` (``<family>-<bot>``, exported), else the champion's. A figure taken on a busy machine is marked provisional.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.speed import losses, timing
from benchmarks.speed.report import draw, markdown
from benchmarks.speed.variants import FAMILIES, make_variant, source_of
from judging.footprint import memory_mb
from models.exporting import PRECISIONS
from models.run_directory import environment, git_lineage
from parley.arguments import ArgumentParser
from parley.bot import load_bot
from parley.bundle import read_manifest
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_atomic, write_json
from parley.progress import ProgressHandle, progress
from parley.settings import settings

_IDLE_LOAD = 0.3
"""Runnable tasks a core, before the run, above which its times are provisional."""


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, measure, print and write. Returns the exit status: 1 when a family was left out."""
    args = _parser().parse_args(argv)
    command = " ".join(["parley bench speed", *(sys.argv[1:] if argv is None else argv)])
    families = _listed(args.only, FAMILIES, "--only")
    precisions = ["fp32", *(p for p in _listed(args.precisions, PRECISIONS, "--precisions") if p != "fp32")]
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    core = None if args.all_cores else timing.on_one_core()
    report: dict[str, Any] = {
        "command": command, "environment": environment(), **git_lineage(), "families": {},
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "core": core,
                    "load_per_core": round(load, 2), "provisional": load > _IDLE_LOAD},
    }  # fmt: skip
    with progress("speed", len(families) * (len(precisions) + 1)) as bar:
        for family in families:
            bar.update(family)
            try:
                report["families"][family] = asyncio.run(measure(family, precisions, args, bar))
            except ParleyError as error:
                report["families"][family] = {"left_out": str(error)}
            _write(report, args.out)
    print(markdown(report))
    return int(any("left_out" in one for one in report["families"].values()))


def _listed(text: str, known: Sequence[str], where: str) -> list[str]:
    wanted = [part.strip() for part in text.split(",") if part.strip()]
    for part in wanted:
        if part not in known:
            raise ParleyError(f"unknown: {part!r}", where=where, mend=f"some of {','.join(known)}")
    return [one for one in known if not wanted or one in wanted]


def _parser() -> argparse.ArgumentParser:
    parser = ArgumentParser(prog="parley bench speed", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of speed.json, speed.md, speed.png")
    parser.add_argument("--bot", default="barista")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the trained runs (default runs)")
    parser.add_argument("--only", default="", help=f"some of {','.join(FAMILIES)}")
    parser.add_argument("--precisions", default="", help=f"some of {','.join(PRECISIONS)}; fp32 is always among them")
    parser.add_argument("--manifest", type=Path, help="recordings (JSON lines) that the STT is judged by")
    parser.add_argument("--speakers", default="", help="only these of it, separated by commas")
    parser.add_argument("--recordings", type=int, default=60, help="at most so many of it (default 60)")
    parser.add_argument("--seconds", type=float, default=40.0, help="of timing a family (default 40)")
    parser.add_argument("--no-triton", action="store_true", help="ONNX Runtime in this process alone")
    parser.add_argument("--all-cores", action="store_true", help="leave the processes on all cores")
    return parser


async def measure(
    family: str, precisions: Sequence[str], args: argparse.Namespace, bar: ProgressHandle
) -> dict[str, Any]:
    """Every precision of a family.

    Raises:
        ParleyError: there is no version of it in fp32, or nothing to ask it.
    """
    speakers = tuple(filter(None, args.speakers.split(",")))
    material = losses.Material(load_bot(args.bot), args.manifest, speakers, args.recordings)
    with tempfile.TemporaryDirectory(prefix="parley-precision-") as name:
        scratch = Path(name)
        source = source_of(family, args.bot, args.runs, settings(), scratch)
        found: dict[str, Any] = {"precisions": {}}
        bundles: dict[str, Path] = {}
        base: list[losses.Scored] = []
        requests: list[losses.Feeds] = []
        for precision in precisions:
            bar.update(f"{family} {precision}: quality")
            try:
                bundle = make_variant(source, family, precision, scratch / "variants" / precision)
                scored, asked = await losses.judge(family, bundle, material, base)
            except ParleyError as error:
                if precision == "fp32":
                    raise
                found["precisions"][precision] = {"refused": str(error)}
                continue
            bundles[precision] = bundle
            found["precisions"][precision] = {
                "megabytes": round((bundle / "model.onnx").stat().st_size / 1e6, 3),
                "memory_mb": memory_mb(bundle),
                "quality": losses.summarise(scored, base),
            }
            base, requests = base or scored, requests or asked
            bar.advance()
        bar.update(f"{family}: time")
        timed, mates = await timing.measure(bundles, requests, args.seconds, timing.BATCHES, not args.no_triton)
        for precision in bundles:
            entry = found["precisions"][precision]
            entry["batch_mates"] = mates[precision]
            entry["batches"] = timing.summarise(timed, precision, timing.BATCHES)
            entry["real_time_factor"] = real_time_factor(source, entry["batches"]["1"])
        bar.advance()
        return {**found, "rounds": timed.rounds, "requests": len(requests)}


def real_time_factor(bundle: Path, single: dict[str, Any]) -> dict[str, float]:
    """Time a second of audio takes, of the graph alone: a chunk of the STT's, a piece of the TTS's; else empty."""
    manifest = read_manifest(bundle)
    constants = manifest.constants
    samples = constants.get("chunk_samples") or constants.get("piece_frames", 0) * constants.get("hop", 0)
    if not samples:
        return {}
    audio_ms = 1000 * samples / manifest.audio_rate
    return {side: round(single[side]["p50_ms"] / audio_ms, 5) for side in ("raw", "triton") if side in single}


def _write(report: dict[str, Any], out: Path) -> None:
    write_json(out / "speed.json", report)
    write_atomic(out / "speed.md", markdown(report))
    draw(report, out / "speed.png")


if __name__ == "__main__":
    exit_with(main)
