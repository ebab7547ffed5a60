"""Measure an exported STT: ``python -m models.stt.evaluate RUN [--json OUT]``.

Runs the bundle through the serving client: word error rate, sentences right, and speed, on the dataset's test split
(speakers that training never heard), mu-law.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import numpy as np

from models.channel import through_codec
from models.contracts import SttClient, Transcript
from models.dataset import Dataset, Row, check_bot, load_split, speech_of
from models.run_directory import bot_of, check_data, check_family
from models.stt.client import PhoneCtcClient
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import Bot
from parley.bot.slots import spot
from parley.bundle import read_manifest, write_bundle
from parley.command import exit_with
from parley.files import write_json
from parley.progress import progress
from parley.resampling import Resampler
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine


async def decode(client: SttClient, pcm: Pcm) -> Transcript:
    """Stream one utterance, int16 ``[n]`` at the telephone's rate, through the client in frames of 20 ms."""
    stream = client.new_stream()
    if client.sample_rate != TELEPHONE_RATE:
        pcm = Resampler(TELEPHONE_RATE, client.sample_rate).push(pcm, last=True)
    frame = client.sample_rate // 50
    for start in range(0, len(pcm), frame):
        await stream.accept(pcm[start : start + frame])
    return await stream.finish()


async def decode_row(client: SttClient, dataset: Dataset, row: Row, codec: str = "ulaw") -> Transcript:
    """Decode a dataset row: its speech with 300 ms around it, through its own line and ``codec``."""
    return await decode(client, through_codec(speech_of(dataset.heard(row), row), codec))


def edit_distance(said: list[str], heard: list[str]) -> int:
    """Levenshtein distance in words: substitutions, deletions and insertions."""
    row = np.arange(len(heard) + 1)
    for i, word in enumerate(said, start=1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(heard, start=1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return int(row[-1])


async def measure(bundle: Path, dataset: Dataset, rows: list[Row], bot: Bot) -> dict[str, Any]:
    """Word error rate, sentence and command accuracy, and speed over ``rows`` that have a text.

    A command counts as accepted when the slot values that stand in the transcript are exactly the labelled ones.
    """
    errors = words = sentences = commands = 0
    seconds = spent = 0.0
    chunk_ms: list[float] = []
    async with OnnxEngine.from_bundle(bundle) as engine:
        client = PhoneCtcClient(bundle, engine, "", 1)
        with progress("stt evaluate", len(rows)) as bar:
            for row in rows:
                begun = time.perf_counter()
                transcript = await decode_row(client, dataset, row)
                took = time.perf_counter() - begun
                length = row.speech_end_s - row.speech_start_s + 0.6
                seconds, spent = seconds + length, spent + took
                chunk_ms.append(took * 1000 / max(1.0, length * TELEPHONE_RATE / client.chunk_samples))
                said = (row.text or "").split()
                errors += edit_distance(said, transcript.text.split())
                words += len(said)
                sentences += transcript.text.split() == said
                commands += spot(bot.slots, transcript.text, bot.speech) == row.slots
                bar.advance()
    return {
        "utterances": len(rows), "speakers": len({r.speaker for r in rows}), "words": words, "word_errors": errors,
        "wer": round(errors / max(1, words), 4), "sentence_accuracy": round(sentences / max(1, len(rows)), 4),
        "command_acceptance": round(commands / max(1, len(rows)), 4),
        "real_time_factor": round(spent / max(1e-9, seconds), 5),
        "chunk_ms": {f"p{q}": round(float(np.percentile(chunk_ms or [0.0], q)), 2) for q in (50, 95)},
    }  # fmt: skip


def split_as_trained(run: Run) -> Dataset:
    """The run's dataset, split as the run split it.

    Raises:
        ParleyError: it is another bot's, or has changed since the training.
    """
    dataset = load_split(run.params["data"], run.params.get("fold", "none"), run.params["seed"])
    check_bot(dataset, run.params["bot"])
    check_data(run, dataset.digest, str(dataset.path))
    return dataset


def evaluate(run: Run) -> dict[str, Any]:
    """Measure the run's bundle on its dataset's test split and write the figures into run and manifest.

    Returns:
        Figures by source (``recording``, ``synthetic``).

    Raises:
        ParleyError: the run has no bundle, or its dataset has changed since the training.
    """
    check_family(run, "stt")
    manifest = read_manifest(run.bundle_path)
    dataset, bot = split_as_trained(run), bot_of(run)
    figures: dict[str, Any] = {}
    for source in ("recording", "synthetic"):
        rows = [r for r in dataset.split("test", source) if r.text and (source == "recording" or r.intent)][:300]
        if rows:
            figures[source] = asyncio.run(measure(run.bundle_path, dataset, rows, bot))
    write_bundle(run.bundle_path, manifest.model_copy(update={"evaluation": figures}))
    run.figures(evaluation=figures)
    return figures


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and evaluate. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory of the training")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(argv)
    figures = evaluate(Run.open(args.run))
    if args.json:
        write_json(args.json, figures)
    for source, row in figures.items():
        commands, rtf = row["command_acceptance"], row["real_time_factor"]
        print(f"{source}: WER {row['wer']:.1%}, commands {commands:.1%}, RTF {rtf:.4f}")
    return 0


if __name__ == "__main__":
    exit_with(main)
