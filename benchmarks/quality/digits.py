"""Strings of 1 to 16 spoken digits: ``python -m benchmarks.quality.digits --data DIGITS --runs RUNS --out DIR``.

``DIGITS`` holds single digits named ``<digit>_<speaker>_<take>.flac``; ``RUNS/digits-<speaker>`` is the exported run
that never heard that speaker (docs/quality-digits.md). A speaker's strings are put together from his own takes with
gaps of 50 to 400 ms, in a way that the seed fixes (`models.digits.strings`), and heard over mu-law.

Systems: ``loop`` and ``sphinx`` hear any row of digits, zero to nine and "oh"; ``bot`` hears whatever the digits bot
understands, "double three", "yes" and "operator" included. They are given the string with 300 ms around; ``call`` is
``bot`` with the voice activity and turn taking of a call. Every system hears the same samples. Clean speech comes in
all lengths, the other conditions in strings of eight. The report is written after every condition; a run that was
interrupted goes on where it stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.quality.cards import add_to_card
from benchmarks.quality.digits_figures import Heard, figures
from benchmarks.quality.digits_report import write_report, write_samples
from benchmarks.quality.ears import RunPool
from benchmarks.quality.pieces import made_by
from benchmarks.quality.sphinx import Sphinx
from judging.conditions import CLEAN, GRID, Condition, read_noise
from judging.slu import Listener
from models.digits import Spoken, read_takes, strings
from models.stt.client import PhoneCtcClient, load_graph
from models.stt.evaluate import decode
from orchestrator.stages import Stages
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import load_bot
from parley.bot.grammar import WordGraph
from parley.bot.slots import spot
from parley.bundle import read_manifest
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.language import language_of
from parley.progress import progress
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine
from parley.settings import settings

SYSTEMS = ("loop", "bot", "call", "sphinx")
LENGTHS = tuple(range(1, 17))
AIM_LENGTH = 8
_SILENCE_S, _GIVEN_S = 1.0, 0.3
"""Around a string, and what of it the systems keep that are given its ends."""
_DIGITS = language_of("en").digits
LOOP = "#JSGF V1.0;\ngrammar digits;\npublic <said> = (" + " | ".join(_DIGITS.single) + ")+;\n"


@dataclass(frozen=True)
class Recipe:
    """Which strings are made. The strings of ``AIM_LENGTH`` are more, so that their interval is narrow."""

    per_length: int = 25
    at_aim: int = 100
    seed: int = 7


Ear = Callable[[Spoken, Pcm], Awaitable[tuple[str, bool]]]
"""Digits heard in samples, and whether the system would act on them."""


def strings_of(folder: Path, recipe: Recipe) -> list[Spoken]:
    """Every speaker's strings.

    Raises:
        ParleyError: no digits in ``folder``.
    """
    made: list[Spoken] = []
    for takes in read_takes(folder).values():
        made += strings(takes, LENGTHS, recipe.per_length, recipe.seed)
        made += strings(takes, (AIM_LENGTH,), recipe.at_aim - recipe.per_length, recipe.seed + 1)
    return made


def digit_loop() -> WordGraph:
    """One to sixteen digits, zero to nine and "oh"."""
    most = LENGTHS[-1]
    arcs = tuple((at, at + 1, word) for at in range(most) for word in sorted(_DIGITS.single))
    return WordGraph(most + 1, 0, frozenset(range(1, most + 1)), arcs)


async def make_ear(system: str, runs: Path, speakers: list[str], stack: AsyncExitStack) -> Ear:
    """A system that hears every speaker by a model that never did.

    Raises:
        ParleyError: a speaker has no exported run, or one that was not tested on that speaker.
    """
    if system == "sphinx":
        peer = Sphinx(LOOP, _DIGITS.single)

        async def by_peer(spoken: Spoken, pcm: Pcm) -> tuple[str, bool]:
            return _DIGITS.digits_of(peer.hear(given(pcm)).split()) or "", True

        return by_peer
    clients = {name: await _client(runs / f"digits-{name}", name, system, stack) for name in speakers}
    bot = load_bot("digits")
    slots, language = bot.slots, bot.speech
    if system == "call":
        listeners = {name: _listener(client) for name, client in clients.items()}

        async def by_call(spoken: Spoken, pcm: Pcm) -> tuple[str, bool]:
            numbers = [
                spot(slots, turn.text, language).get("number", "")
                for turn in await listeners[spoken.speaker].listen(pcm)
            ]
            # What is said later replaces what was said before, as in the dialogue.
            return next((n for n in reversed(numbers) if n), ""), any(numbers)

        return by_call

    async def by_parley(spoken: Spoken, pcm: Pcm) -> tuple[str, bool]:
        transcript = await decode(clients[spoken.speaker], given(pcm))
        return spot(slots, transcript.text, language).get("number", ""), transcript.accepted

    return by_parley


def given(pcm: Pcm) -> Pcm:
    """The string with little silence around, of samples with much."""
    edge = round((_SILENCE_S - _GIVEN_S) * TELEPHONE_RATE)
    return pcm[edge : len(pcm) - edge]


def _listener(client: PhoneCtcClient) -> Listener:
    pool = RunPool(settings().repo_dir, client.engine, client)
    stages = Stages(load_bot("digits"), pool, {"stt": client}, None)
    return Listener(stages, settings().end_of_turn_ms)


async def _client(run: Path, speaker: str, system: str, stack: AsyncExitStack) -> PhoneCtcClient:
    bundle = run / "bundle"
    if not bundle.is_dir():
        mend = f"parley train stt --bot digits --fold without:{speaker} --out {run}; parley export stt {run}"
        raise ParleyError(f"no exported run without {speaker}", where=str(run), mend=mend)
    manifest = read_manifest(bundle)
    if manifest.lineage.params.get("fold") != f"without:{speaker}":
        raise ParleyError(
            f"this run may have heard {speaker}", where=str(run), mend=f"train it --fold without:{speaker}"
        )
    engine = await stack.enter_async_context(OnnxEngine.from_bundle(bundle))
    client = PhoneCtcClient(bundle, engine, "", 1)
    if system == "loop":
        client.graph = load_graph(bundle, manifest.constants["labels"], digit_loop())
    return client


async def measure(ear: Ear, condition: Condition, made: list[Spoken], noise: Any, label: str) -> list[Heard]:
    """What a system hears under a condition: every string when it is clean, else those of the aim's length."""
    chosen = made if condition == CLEAN else [s for s in made if len(s.digits) == AIM_LENGTH]
    heard = []
    with progress(label, len(chosen)) as bar:
        for spoken in chosen:
            got, sure = await ear(spoken, condition.apply(spoken.audio(_SILENCE_S), noise, spoken.key))
            heard.append(Heard(spoken.speaker, spoken.digits, got, sure))
            bar.advance()
    return heard


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure what the report lacks, and write it after every condition.

    Raises:
        ParleyError: data or a run is missing, or the report in ``--out`` is of other strings.
    """
    recipe = Recipe(args.per_length, args.at_eight, args.seed)
    made, noise, path = strings_of(args.data, recipe), read_noise(args.noise, "second"), args.out / "digits.json"
    args.out.mkdir(parents=True, exist_ok=True)
    report: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"results": {}}
    if report.get("recipe", asdict(recipe)) != asdict(recipe):
        raise ParleyError("a report of other strings is here", where=str(path), mend="name another --out")
    report |= {"recipe": asdict(recipe), "strings": len(made), "aim_length": AIM_LENGTH}
    report |= made_by(report, "benchmarks.quality.digits")
    speakers = sorted({s.speaker for s in made})
    for system in args.systems.split(","):
        async with AsyncExitStack() as stack:
            ear = await make_ear(system, args.runs, speakers, stack)
            done = report["results"].setdefault(system, {})
            for condition in [c for c in GRID if c.snr_db is None or noise is not None]:
                if condition.name in done or (args.only and condition.name not in args.only.split(";")):
                    continue
                heard = await measure(ear, condition, made, noise, f"{system}: {condition.name}")
                done[condition.name] = {"condition": asdict(condition), **figures(heard)}
                write_json(path, report)
                write_report(report, args.out)
            if system == "bot":
                report["samples"] = await write_samples(ear, made, noise, args.out, AIM_LENGTH, _SILENCE_S)
                write_json(path, report)
    return report


def write_card(report: dict[str, Any], run: Run) -> None:
    """Put what ``bot`` hears into a run's bundle: by condition, and by speaker where the line is clean."""
    errors = ("digit_error", "digit_error_by_string", "string_error", "string_error_by_string")
    results = report["results"]["bot"]
    slices = {}
    for name, row in results.items():
        at_aim = row["by_length"][str(AIM_LENGTH)]["string_error"]
        chosen = {k: row[k] for k in ("strings", "asked_again", *errors)}
        slices[name] = chosen | {f"string_error_of_{AIM_LENGTH}": at_aim}
    for speaker, row in results.get(CLEAN.name, {}).get("by_speaker", {}).items():
        slices[f"{CLEAN.name}, {speaker}"] = {k: row[k] for k in ("strings", *errors)}
    add_to_card(run, "leave one speaker out", slices)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, write and print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="recordings of single digits")
    parser.add_argument("--runs", type=Path, required=True, help="folder of the runs digits-<speaker>")
    parser.add_argument("--noise", type=Path, help="noise of a place; without it there are no SNRs")
    parser.add_argument("--systems", default=",".join(SYSTEMS), help="separated by commas")
    parser.add_argument("--only", default="", help="names of conditions, separated by semicolons")
    parser.add_argument("--per-length", type=int, default=Recipe.per_length, help="strings of each length and speaker")
    parser.add_argument("--at-eight", type=int, default=Recipe.at_aim, help="strings of eight digits of each speaker")
    parser.add_argument("--seed", type=int, default=Recipe.seed, help="of the strings")
    parser.add_argument("--card", type=Path, help="an exported run whose model card is to show these figures")
    parser.add_argument("--out", type=Path, required=True, help="folder of digits.json, digits.md, digits*.png")
    args = parser.parse_args(argv)
    report = asyncio.run(run(args))
    if args.card:
        write_card(report, Run.open(args.card))
    print((args.out / "digits.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    exit_with(main)
