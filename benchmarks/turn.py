"""``python -m benchmarks.turn``: where the milliseconds of a turn go, and the same graphs in one process as the floor.

One caller orders, over the whole wire: gateway client, HAProxy, Ray Serve, Triton. The server's own trace gives each
stage's time. The floor runs the same versions on the same audio with ONNX Runtime in this process: no wire, no proxy,
no server. Both sides take turns within one run, so that a machine that drifts drifts under both.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from calling.caller import CallOptions, place_call
from calling.report import summarise
from calling.speech import Speech, speech_of_file
from calling.synthetic import synthetic_caller
from models.pool import ClientPool
from orchestrator.dialogue import Dialogue, State
from orchestrator.running import running_site
from orchestrator.stages import Stages
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE
from parley.bot import load_bot
from parley.files import write_json
from parley.progress import progress
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import Settings, settings
from parley.table import aligned
from registry.reading import release_of

_STAGES = ("stt_ms", "nlu_ms", "nlg_ms", "tts_first_ms")
_FEED = 1280


class Floor:
    """The four graphs of a release in this process."""

    def __init__(self, bot_name: str, site: Settings, engine: OnnxEngine) -> None:
        bot = load_bot(bot_name, site)
        pool = ClientPool(site.repo_dir, engine)
        self._stages = Stages(bot, pool, release_of(site, bot_name).stages, None)
        self._dialogue = Dialogue(bot)

    async def turn(self, recording: Speech) -> dict[str, float]:
        """Milliseconds of each stage for one utterance, measured as the server measures them."""
        hearing = self._stages.hear()
        end = min(len(recording.pcm), recording.speech_end + int(0.4 * TELEPHONE_RATE))
        spoken = np.concatenate([recording.pcm[:end], np.zeros(int(0.4 * TELEPHONE_RATE), np.int16)])
        for start in range(0, len(spoken), _FEED):
            await hearing.feed(spoken[start : start + _FEED])
        took: dict[str, float] = {}
        began = time.perf_counter()
        transcript = (await hearing.finish()).value
        took["stt_ms"] = _since(began)
        assert transcript is not None
        began = time.perf_counter()
        meant = (await self._stages.understand(transcript.text)).value
        took["nlu_ms"] = _since(began)
        assert meant is not None
        act = self._dialogue.understood(State(), meant).acts[0]
        began = time.perf_counter()
        reply = await (await self._stages.nlg()).generate(act.name, dict(act.slots))
        took["nlg_ms"] = _since(began)
        began = time.perf_counter()
        async with aclosing((await self._stages.tts()).synthesise(reply.text)) as pieces:
            await anext(pieces)
            took["tts_first_ms"] = _since(began)
        return took


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000


async def measure(
    url: str, floor: Floor, recordings: Sequence[Speech], calls: int
) -> tuple[list[Any], list[dict[str, float]]]:
    """Calls over the wire and turns on the floor, in alternation."""
    reports, floors = [], []
    for recording in recordings:
        await floor.turn(recording)  # opens the sessions
    with progress("turns", calls) as bar:
        for _ in range(calls):
            reports.append(await place_call(recordings, CallOptions(url, token=settings().read_secrets().site_token)))
            floors += [await floor.turn(recording) for recording in recordings]
            bar.advance()
    return reports, floors


def report_of(reports: Sequence[Any], floors: Sequence[dict[str, float]], site: Settings) -> dict[str, Any]:
    """The figures of both sides, and the ratio of what the system adds to what the graphs need."""
    wire = summarise(reports)
    floor = {name: _percentiles([f[name] for f in floors if name in f]) for name in _STAGES}
    ours = sum(wire["server"][name].get("p50", 0.0) for name in _STAGES)
    graphs = sum(floor[name].get("p50", 0.0) for name in _STAGES)
    return {
        "command": "python -m benchmarks.turn",
        "machine": {"cpus": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()},
        "end_of_turn_ms": site.end_of_turn_ms,
        "turns": wire["answered"],
        "caller_late_ms": wire["caller_late_ms"],
        "voice_to_voice_ms": wire["voice_to_voice_ms"],
        "stages_ms": {name: wire["server"][name] for name in _STAGES},
        "floor_ms": floor,
        "sum_of_stage_medians_ms": {"served": round(ours, 1), "floor": round(graphs, 1)},
        "served_to_floor": round(ours / graphs, 2) if graphs else None,
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 1) for q in (50, 95)} if values else {}


def print_report(report: dict[str, Any]) -> None:
    """A table for people."""
    rows: list[tuple[str, ...]] = [("ms", "served p50", "served p95", "floor p50", "floor p95")]
    for name in _STAGES:
        served, floor = report["stages_ms"][name], report["floor_ms"][name]
        cells = [f"{side.get(q, float('nan')):.1f}" for side in (served, floor) for q in ("p50", "p95")]
        rows.append((name.removesuffix("_ms"), *cells))
    waits = report["voice_to_voice_ms"]
    rows.append(("voice to voice", f"{waits.get('p50', 0):.0f}", f"{waits.get('p95', 0):.0f}", "", ""))
    print(aligned(rows, indent=""))
    print(
        f"{report['turns']} turns, end-of-turn silence {report['end_of_turn_ms']} ms; "
        f"stages served / floor = {report['served_to_floor']}; caller late p99 {report['caller_late_ms']} ms"
    )


def draw_report(report: dict[str, Any], path: Path) -> None:
    """The same as a picture: medians stacked by stage, whiskers to the 95th percentile of the wait."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.2), dpi=120)
    FigureCanvasAgg(figure)
    axis: Any = figure.subplots()
    waits = report["voice_to_voice_ms"]
    silence = float(report["end_of_turn_ms"])
    axis.barh("voice to voice", waits["p50"], color="#c9ced6", xerr=[[0], [waits["p95"] - waits["p50"]]])
    axis.axvline(silence, color="#9b2c2c", linestyle=":", linewidth=1)
    axis.text(silence, 2.45, "end-of-turn silence", fontsize=7, ha="right", color="#9b2c2c")
    for label, side in (("stages, served", "stages_ms"), ("stages, one process", "floor_ms")):
        left = 0.0
        for name, colour in zip(_STAGES, ("#2b6cb0", "#2f855a", "#b7791f", "#c05621"), strict=True):
            width = report[side][name].get("p50", 0.0)
            axis.barh(label, width, left=left, color=colour, label=name.split("_")[0] if side == "floor_ms" else None)
            left += width
        axis.text(left + 5, label, f"{left:.0f} ms", va="center", fontsize=8)
    axis.set_xlabel("milliseconds, median")
    axis.legend(fontsize=7, loc="lower right", ncols=4)
    axis.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, measure, print, write."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--bot", default="barista")
    parser.add_argument("--calls", type=int, default=5)
    parser.add_argument("--engine", choices=("triton", "onnx"))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--png", type=Path, help="draw the figures here")
    parser.add_argument("file", type=Path, nargs="*", help="what the caller says; default: the demo's caller")
    args = parser.parse_args(argv)
    site = settings(port=0, engine=args.engine)
    files = args.file or synthetic_caller(site.state_dir / "demo")[:3]
    recordings = [speech_of_file(path, TELEPHONE_RATE) for path in files]

    async def run(url: str) -> dict[str, Any]:
        async with OnnxEngine(site.repo_dir, Trust.of(site)) as engine:
            return report_of(*await measure(url, Floor(args.bot, site, engine), recordings, args.calls), site)

    with running_site(args.bot, site, Console(stderr=True)) as app:
        report = asyncio.run(run(app.address))
    print_report(report)
    if args.json:
        write_json(args.json, report)
    if args.png:
        draw_report(report, args.png)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
