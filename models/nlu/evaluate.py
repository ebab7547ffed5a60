"""Measure an NLU bundle: `python -m models.nlu.evaluate RUN [--recordings M] [--out-of-scope FILE] [--json OUT]`.

Test sentences go through the client and ONNX Runtime, one by one, as in a call. ``--recordings`` adds the sentences
of a manifest of recordings, ``--out-of-scope`` a file of sentences (lines, or JSON lines with ``text``) that the bot
has no answer to; both are only ever tested on.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.contracts import Understanding
from models.nlu.client import JointBioClient, encode, feeds, read_labels, spans
from models.nlu.data import OUT_OF_SCOPE, Example
from models.nlu.export import data_of
from models.run_directory import bot_of, check_family
from models.tokenizer import read_tokenizer
from parley.arguments import ArgumentParser
from parley.bundle import read_manifest, write_bundle
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.recordings import read_recordings
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine
from parley.text_files import parse_json, read_lines


def span_f1(wanted: Sequence[Sequence[str]], got: Sequence[Sequence[str]]) -> dict[str, float]:
    """Exact-span precision, recall and F1 over sentences of BIO tags, as conlleval counts them (CoNLL-2000).

    A span is right when slot, start and end agree. Without any span on either side all three are 1.
    """
    right = found = there = 0
    for expected, actual in zip(wanted, got, strict=True):
        mine, theirs = Counter(spans(expected)), Counter(spans(actual))
        right += sum((mine & theirs).values())
        found += sum(theirs.values())
        there += sum(mine.values())
    precision = right / found if found else float(not there)
    recall = right / there if there else float(not found)
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return {"f1": f1, "precision": precision, "recall": recall, "right": right, "found": found, "there": there}


@dataclass(frozen=True)
class Judged:
    """A row and what the client made of it."""

    row: Example
    got: Understanding

    @property
    def intent_right(self) -> bool:
        return self.row.intent == self.got.intent

    @property
    def frame_right(self) -> bool:
        return self.intent_right and dict(self.row.slots) == self.got.slots


def frame_figures(judged: list[Judged]) -> dict[str, Any]:
    """Intent and frame accuracy, with the counts they rest on."""
    n = len(judged)
    intent, frame = sum(j.intent_right for j in judged), sum(j.frame_right for j in judged)
    return {"rows": n, "intent_right": intent, "frame_right": frame,
            "intent_accuracy": intent / n if n else None, "frame_accuracy": frame / n if n else None}  # fmt: skip


def out_of_scope_figures(judged: list[Judged]) -> dict[str, Any]:
    """How well what means nothing is told from what means something."""
    flagged = sum(j.got.out_of_scope for j in judged)
    there = sum(j.row.intent == OUT_OF_SCOPE for j in judged)
    both = sum(j.got.out_of_scope and j.row.intent == OUT_OF_SCOPE for j in judged)
    return {"precision": both / flagged if flagged else None, "recall": both / there if there else None,
            "flagged": flagged, "there": there, "right": both}  # fmt: skip


def calibration_error(judged: list[Judged], bins: int = 10) -> float:
    """Expected calibration error of the confidence against the whole answer being right (Guo et al. 2017)."""
    sure = np.array([j.got.confidence for j in judged])
    right = np.array([j.frame_right for j in judged], dtype=float)
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(sure[place == b].mean() - right[place == b].mean()) * (place == b).sum() for b in set(place.tolist())]
    return float(sum(gaps) / len(judged)) if judged else 0.0


async def understand_all(client: JointBioClient, rows: list[Example]) -> tuple[list[Judged], list[float]]:
    """Parse rows one after the other; also the milliseconds each took."""
    judged, took_ms = [], []
    with progress("evaluate", len(rows)) as bar:
        for row in rows:
            start = time.perf_counter()
            got = await client.parse(row.text)
            took_ms.append((time.perf_counter() - start) * 1000)
            judged.append(Judged(row, got))
            bar.advance()
    return judged, took_ms


async def tag_rows(bundle: Path, engine: OnnxEngine, rows: list[Example]) -> list[list[str]]:
    """The network's tags for rows, before they become values: what span F1 judges."""
    labels, tokenizer = read_labels(bundle / "labels.json"), read_tokenizer(bundle / "tokenizer.json")
    tagged = []
    for row in rows:
        said = encode(tokenizer, row.words, labels.max_tokens)
        answer = await engine.infer("", 0, feeds(said, labels.max_tokens))
        best = answer["tag_logits"][0][said.first].argmax(-1)
        tags = [labels.tags[i] for i in best]
        tagged.append(tags + ["O"] * (len(row.words) - len(tags)))
    return tagged


def recorded_rows(manifest: Path) -> tuple[list[Example], int]:
    """Rows of a recordings manifest whose text says the values of its slots, and how many rows do not.

    The texts are aligned by machine, the slots labelled by people: where they disagree the text is at fault.
    """
    rows, left_out = [], 0
    for one in read_recordings(manifest, needs=("intent", "slots")):
        if not one.text or not all(f" {value} " in f" {one.text} " for value in one.slots.values()):
            left_out += 1
            continue
        words = tuple(one.text.split())
        rows.append(Example(words, ("O",) * len(words), one.intent or "", tuple(sorted(one.slots.items())), "recorded"))
    return rows, left_out


def foreign_rows(file: Path) -> list[Example]:
    """Sentences of a file, all out of scope. Of JSON lines with an intent, those labelled ``oos``."""
    rows = []
    for number, line in enumerate(read_lines(file), start=1):
        where = f"{file}:{number}"
        record = parse_json(line, where) if line.startswith("{") else {"text": line}
        if not isinstance(record.get("text"), str):
            raise ParleyError("text: expected a sentence", where=where, mend='give {"text": "…"} or the sentence')
        words = tuple(record["text"].split())
        if record.get("intent", "oos") == "oos" and words:
            rows.append(Example(words, ("O",) * len(words), OUT_OF_SCOPE, (), "foreign"))
    return rows


async def measure(run: Run, recordings: Path | None, foreign: Path | None) -> dict[str, Any]:
    """All figures of a run's bundle."""
    bot, bundle = bot_of(run), run.bundle_path
    rows = data_of(run, bot).test
    async with OnnxEngine.from_bundle(bundle, threads=1) as engine:
        client = JointBioClient(bundle, engine, f"{bot.name}_nlu", 0)
        await client.parse("warm up")
        judged, took_ms = await understand_all(client, rows)
        tagged = await tag_rows(bundle, engine, [r for r in rows if r.intent != OUT_OF_SCOPE])
        inside = [j for j in judged if j.row.intent != OUT_OF_SCOPE]
        figures = {
            "test": {**frame_figures(inside),
                     "clean": frame_figures([j for j in inside if j.row.group == "clean"]),
                     "noisy": frame_figures([j for j in inside if j.row.group == "noisy"])},
            "slots": span_f1([j.row.tags for j in inside], tagged),
            "out_of_scope": out_of_scope_figures(judged),
            "calibration_error": calibration_error(judged),
            "latency_ms": {"p50": float(np.percentile(took_ms, 50)), "p95": float(np.percentile(took_ms, 95)),
                           "sentences": len(took_ms)},
        }  # fmt: skip
        if recordings:
            spoken, left_out = recorded_rows(recordings)
            figures["recordings"] = {
                **frame_figures((await understand_all(client, spoken))[0]),
                "rows_left_out": left_out,
            }
        if foreign:
            figures["foreign"] = out_of_scope_figures((await understand_all(client, foreign_rows(foreign)))[0])
    return figures


def evaluate(run: Run, *, recordings: Path | None = None, foreign: Path | None = None) -> dict[str, Any]:
    """Measure, and write the figures into the bundle's manifest and the run's ``figures.json``.

    Args:
        run: with a bundle.
        recordings: a manifest of recordings whose texts are tested as well.
        foreign: a file of sentences that the bot has no answer to.

    Raises:
        ParleyError: the run has no bundle, its data cannot be made again, or a file cannot be read.
    """
    check_family(run, "nlu")
    manifest = read_manifest(run.bundle_path)
    for file in filter(None, (recordings, foreign)):
        if not file.is_file():
            raise ParleyError("no such file", where=str(file), mend="give the path of a file of sentences")
    figures = asyncio.run(measure(run, recordings, foreign))
    write_bundle(run.bundle_path, manifest.model_copy(update={"evaluation": figures}))
    run.figures(evaluation=figures)
    return figures


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and evaluate. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory with a bundle")
    parser.add_argument("--recordings", type=Path, help="manifest of recordings whose texts are tested too")
    parser.add_argument("--out-of-scope", type=Path, dest="foreign", help="sentences the bot has no answer to")
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args(argv)
    figures = evaluate(Run.open(args.run), recordings=args.recordings, foreign=args.foreign)
    if args.json:
        write_json(args.json, figures)
    print(json.dumps(figures, indent=2))
    return 0


if __name__ == "__main__":
    exit_with(main)
