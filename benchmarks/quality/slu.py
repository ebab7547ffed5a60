"""STT and NLU on real callers, condition by condition: ``python -m benchmarks.quality.slu --manifest M --out DIR``.

    # a release, on whatever the manifest holds
    python -m benchmarks.quality.slu --manifest test.jsonl --noise kitchen.flac --out quality/release
    # cross-validation: every speaker heard by the run that never trained on him
    python -m benchmarks.quality.slu --manifest all.jsonl --noise kitchen.flac --runs runs/fold[0-4] --out DIR

Systems: ``heard`` is what a call hears (voice activity, turn taking, STT, NLU); ``given`` is STT and NLU with the
speech's boundaries from the manifest, to tell what voice activity costs; ``sphinx`` is the peer, boundaries given.
Every system hears the same samples. ``--outside M2.jsonl`` adds speech that is no request, for the false acceptances.
The report is written after every condition; a run that was interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.quality.conditions import CLEAN, GRID, NOISY, Condition, read_noise
from benchmarks.quality.report import write_report
from benchmarks.quality.sphinx import Sphinx, jsgf
from benchmarks.slu import Heard, figures, listener_of, misses
from models.channel import Part
from models.dataset import fold_of, read_recordings
from models.stt.client import SttClient
from models.stt.evaluate import decode
from models.training import environment, git_lineage
from orchestrator.stages import ClientPool
from parley.audio import SAMPLE_RATE, Pcm, read_audio
from parley.bot import load_bot
from parley.bot.grammar import Grammar
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.runs import Run
from parley.serving.engine import Engine
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import settings
from registry.releasing.releases import Release, release_of

SYSTEMS = ("heard", "given", "sphinx")
OUTSIDE_CONDITIONS = (CLEAN, Condition(snr_db=12.0))
_AROUND_S = 0.3
Ear = Callable[[dict[str, Any], Pcm], Awaitable[Heard]]


class RunPool(ClientPool):
    """The repository's clients, but a run's own STT."""

    def __init__(self, repo: Path, engine: Engine, stt: SttClient) -> None:
        super().__init__(repo, engine)
        self._stt = stt

    def get(self, stage: str, model: str, version: int) -> Any:
        return self._stt if stage == "stt" else super().get(stage, model, version)


def cut(entry: dict[str, Any], pcm: Pcm) -> Pcm:
    """The speech of a recording by the manifest's marks, 300 ms around it; all of it where there are none."""
    if entry.get("speech_start") is None:
        return pcm
    start, end = max(0.0, entry["speech_start"] - _AROUND_S), entry["speech_end"] + _AROUND_S
    return pcm[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]


async def make_ears(system: str, bot_name: str, runs: Sequence[Path], stack: AsyncExitStack) -> dict[int, Ear]:
    """An ear for each fold (the key is -1 where one hears everybody).

    Raises:
        ParleyError: a run is no fold's, or has no bundle.
    """
    bot, site = load_bot(bot_name), settings()
    release = release_of(site, bot.name)
    engine = await stack.enter_async_context(OnnxEngine(site.repo_dir, Trust.of(site)))
    if system == "sphinx":
        peer = Sphinx(jsgf(bot), Grammar(bot).words())

        async def by_peer(entry: dict[str, Any], pcm: Pcm) -> Heard:
            return await _understood(stages, peer.hear(cut(entry, pcm)))

        stages = listener_of(bot_name, engine, release).stages
        return {-1: by_peer}
    if not runs:
        stt = release.stages["stt"]
        client = ClientPool(site.repo_dir, engine).get("stt", stt.model, stt.version)
        return {-1: _ear(system, bot_name, release, engine, client)}
    ears = {}
    for path in runs:
        run = Run.open(path)
        if run.params.get("fold") not in ("0", "1", "2", "3", "4") or not run.bundle_path.is_dir():
            raise ParleyError("not an exported run of a fold", where=str(path), mend="train with --fold N, then export")
        own = await stack.enter_async_context(OnnxEngine.from_bundle(run.bundle_path))
        client = SttClient(run.bundle_path, own, "", 1)
        ears[int(run.params["fold"])] = _ear(system, bot_name, release, engine, client)
    return ears


def _ear(system: str, bot_name: str, release: Release, engine: Engine, client: SttClient) -> Ear:
    listener = listener_of(bot_name, engine, release, RunPool(settings().repo_dir, engine, client))

    async def by_call(entry: dict[str, Any], pcm: Pcm) -> Heard:
        return await listener.hear(pcm)

    async def by_marks(entry: dict[str, Any], pcm: Pcm) -> Heard:
        transcript = await decode(client, cut(entry, pcm))
        return await _understood(listener.stages, transcript.text if transcript.accepted else "")

    return by_call if system == "heard" else by_marks


async def _understood(stages: Any, text: str) -> Heard:
    meant = await stages.understand(text) if text else None
    if meant is None or meant.out_of_scope:
        return Heard(text, "", {}, 1)
    return Heard(text, meant.intent, dict(meant.slots), 1)


def noise_part(runs: Sequence[Path]) -> Part:
    """The half of the noise that runs did not train on; all of it where none of them trained on any."""
    return "second" if any(Run.open(path).params.get("noise") for path in runs) else "whole"


async def measure(ears: dict[int, Ear], condition: Condition, args: argparse.Namespace, label: str) -> dict[str, Any]:
    """The figures of one system under one condition."""
    noise, seed = read_noise(args.noise, noise_part(args.runs)), args.seed
    entries = [(args.manifest.parent, e) for e in read_recordings(args.manifest)]
    if -1 not in ears:
        entries = [(d, e) for d, e in entries if fold_of(e["speaker"], seed) in ears]
    if args.outside and condition in OUTSIDE_CONDITIONS:
        entries += [(args.outside.parent, e) for e in read_recordings(args.outside)]
    heard = []
    with progress(label, len(entries)) as bar:
        for folder, entry in entries:
            ear = ears.get(-1) or ears.get(fold_of(entry["speaker"], seed)) or next(iter(ears.values()))
            pcm = condition.apply(read_audio(folder / entry["audio"]), noise, entry["audio"])
            heard.append(await ear(entry, pcm))
            bar.advance()
    rows = [e for _, e in entries]
    per_speaker: dict[str, list[int]] = {}
    for entry, got in zip(rows, heard, strict=True):
        if entry["intent"]:
            count = per_speaker.setdefault(entry["speaker"], [0, 0])
            count[0] += entry["intent"] == got.intent and entry["slots"] == got.slots
            count[1] += 1
    return {**figures(rows, heard), "by_speaker": per_speaker, "misses": misses(rows, heard)}


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the report lacks, and write it after every condition."""
    path = args.out / "slu.json"
    args.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {"results": {}}
    report |= {
        "command": " ".join(["python -m benchmarks.quality.slu", *sys.argv[1:]]), "environment": environment(),
        "runs": [str(r) for r in args.runs], "noise_part": noise_part(args.runs), **git_lineage(),
    }  # fmt: skip
    conditions = [c for c in GRID if args.noise or c.snr_db is None]
    for system in args.systems.split(","):
        async with AsyncExitStack() as stack:
            ears = await make_ears(system, args.bot, args.runs, stack)
            done = report["results"].setdefault(system, {})
            for condition in conditions:
                if condition.name in done or (args.only and condition.name not in args.only.split(";")):
                    continue
                done[condition.name] = {
                    "condition": asdict(condition),
                    **await measure(ears, condition, args, f"{system}: {condition.name}"),
                }
                done["mean of SNRs"] = mean_of_snrs(done)
                write_json(path, report)
                write_report(report, args.out)
    return report


def mean_of_snrs(done: dict[str, Any]) -> dict[str, float]:
    """Acceptance averaged over the SNRs measured."""
    found = [done[c.name]["command_acceptance"] for c in NOISY if c.name in done]
    return {"command_acceptance": round(sum(found) / len(found), 4), "snrs": len(found)} if found else {}


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, write and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--manifest", type=Path, required=True, help="recordings, as JSON lines")
    parser.add_argument("--outside", type=Path, help="manifest of speech that is no request")
    parser.add_argument("--noise", type=Path, help="noise of a place; without it there are no SNRs")
    parser.add_argument("--runs", type=Path, nargs="*", default=[], help="exported runs, one a fold")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="separated by commas")
    parser.add_argument("--only", default="", help="names of conditions, separated by semicolons")
    parser.add_argument("--bot", default="barista")
    parser.add_argument("--seed", type=int, default=7, help="of the folds")
    parser.add_argument("--out", type=Path, required=True, help="folder of slu.json, slu.md, slu.png")
    args = parser.parse_args(argv)
    asyncio.run(run(args))
    print((args.out / "slu.md").read_text())


if __name__ == "__main__":
    exit_with(main)
