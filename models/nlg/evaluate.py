"""Measure an NLG bundle: `python -m models.nlg.evaluate RUN [--json OUT]`.

Every act with every set of slots in every style goes through the client and ONNX Runtime, with drawn values. Figures
are given over all of them and over the sets of slots that training never saw (``held_out``).
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu

from models.contracts import Reply
from models.nlg.client import ActPromptClient, SlotErrors, Writer
from models.nlg.data import Row, phrasings
from models.nlg.export import data_of
from models.run_directory import bot_of, check_family
from parley.arguments import ArgumentParser
from parley.bot import Bot
from parley.bot.replies import acts, says, spoken_values
from parley.bot.slots import draw_value
from parley.bundle import read_manifest, write_bundle
from parley.command import exit_with
from parley.files import write_json
from parley.progress import progress
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine


@dataclass(frozen=True)
class Written:
    """A row, what the network wrote for it with placeholders, and what the client said."""

    row: Row
    raw: str
    reply: Reply
    values_missing: int
    took_ms: float
    tokens: int


def draw_values(bot: Bot, row: Row, rng: random.Random) -> dict[str, str]:
    """Canonical values for the slots of a row; ``answer`` gets one of the bot's answers."""
    answers = [a for task in bot.dialogue.tasks.values() if task.answer for a in task.answer.values.values()]
    answers = answers or [bot.speech.probe]
    return {s: draw_value(bot.slots[s], rng) if s in bot.slots else rng.choice(answers) for s in row.slots}


async def write_all(
    client: ActPromptClient, writer: Writer, engine: OnnxEngine, rows: Sequence[Row], seed: int
) -> list[Written]:
    """Say every row twice: through the client, and once more to see what the network wrote before the check."""
    rng = random.Random(seed)
    written = []
    with progress("evaluate", len(rows)) as bar:
        for row in rows:
            values = draw_values(writer.bot, row, rng)
            start = time.perf_counter()
            reply = await client.generate(row.act, values, style=row.style)
            took_ms = (time.perf_counter() - start) * 1000
            feeds = writer.feeds(row.act, row.slots, row.style)
            assert feeds is not None  # every row's act is in the vocabulary
            tokens = (await engine.infer("", 0, feeds))["tokens"][0]
            raw = writer.text(tokens, feeds["prompt_ids"][0]) or ""
            steps = int((tokens != 0).sum())
            missing = len(says(reply.text, spoken_values(writer.bot, values), writer.bot.speech))
            written.append(Written(row, raw, reply, missing, took_ms, steps))
            bar.advance()
    return written


def figures_of(bot: Bot, written: Sequence[Written]) -> dict[str, Any]:
    """Slot errors before and after the check, fallbacks, BLEU against every phrasing of the templates."""
    errors = SlotErrors()
    for one in written:
        errors.update(SlotErrors.of(one.raw, one.row.slots))
    slots = sum(len(one.row.slots) for one in written)
    fallbacks = sum(one.reply.fallback for one in written)
    return {
        "replies": len(written), "slots": slots,
        "slot_error_rate_before_check": errors.total() / slots if slots else 0.0, "slot_errors": dict(errors),
        "slot_error_rate": sum(one.values_missing for one in written) / slots if slots else 0.0,
        "fallbacks": fallbacks, "fallback_rate": fallbacks / len(written) if written else None,
        "bleu": bleu(bot, written),
    }  # fmt: skip


def bleu(bot: Bot, written: Sequence[Written]) -> float | None:
    """Corpus BLEU (sacrebleu) of texts with placeholders; the references are all phrasings of the act and slots."""
    if not written:
        return None
    specs = {spec.act: spec for spec in acts(bot)}
    references = [phrasings(bot, specs[one.row.act], one.row.slots) for one in written]
    columns = [[texts[i % len(texts)] for texts in references] for i in range(max(map(len, references)))]
    return float(sacrebleu.corpus_bleu([one.raw for one in written], columns).score)


async def measure(run: Run) -> dict[str, Any]:
    """All figures of a run's bundle."""
    bot, bundle, seed = bot_of(run), run.bundle_path, run.params["seed"]
    data = data_of(run, bot)
    async with OnnxEngine.from_bundle(bundle, threads=1) as engine:
        client = ActPromptClient(bundle, engine, f"{bot.name}_nlg", 0)
        await client.generate("greet", {})  # opens the session
        written = await write_all(client, Writer(bundle), engine, data.rows, seed)
    held_out = set(data.test)
    took = [one.took_ms for one in written]
    return {
        "all": figures_of(bot, written),
        "held_out": figures_of(bot, [one for one in written if one.row in held_out]),
        "tokens_per_s": sum(one.tokens for one in written) / sum(took) * 1000,
        "latency_ms": {
            "p50": float(np.percentile(took, 50)),
            "p95": float(np.percentile(took, 95)),
            "replies": len(took),
        },
    }


def evaluate(run: Run) -> dict[str, Any]:
    """Measure, and write the figures into the bundle's manifest and the run's ``figures.json``.

    Raises:
        ParleyError: the run has no bundle, or its data cannot be made again.
    """
    check_family(run, "nlg")
    manifest = read_manifest(run.bundle_path)
    figures = asyncio.run(measure(run))
    write_bundle(run.bundle_path, manifest.model_copy(update={"evaluation": figures}))
    run.figures(evaluation=figures)
    return figures


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and evaluate. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory with a bundle")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args(argv)
    figures = evaluate(Run.open(args.run))
    if args.json:
        write_json(args.json, figures)
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    exit_with(main)
