"""Export a trained STT: ``python -m models.stt.export RUN [--precision fp32|fp16|int8] [--tensorrt]`` -> RUN/bundle.

The graph takes one chunk and the state of one or many calls, dynamic batch. The export fails when torch and ONNX
differ on real audio, streamed chunk by chunk.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import exporting
from models.checkpoints import load_checkpoint
from models.dataset import Dataset
from models.pronunciation import pronunciations
from models.run_directory import bot_of, finished_run, lineage_of, weights_to_begin_with
from models.stt import confidence
from models.stt.client import IMPLEMENTATION, save_graph
from models.stt.evaluate import split_as_trained
from models.stt.network import HOP, STRIDE, SttConfig, SttNetwork
from models.weights import matching_nodes
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, Pcm
from parley.bot import Bot
from parley.bot.grammar import Grammar
from parley.bundle import Manifest, TensorSpec, write_bundle
from parley.command import exit_with
from parley.errors import ParleyError
from parley.runs import Run
from parley.utterances import Utterance, Utterances, write_utterances

LOG = logging.getLogger(__name__)
_TOLERANCE = {"fp32": 1e-4, "fp16": 5e-2, "fp16-weights": 5e-2, "int8": 0.25, "int8-weights": 0.25}
"""On log-probabilities down to -30, relative to the largest. int8 is judged by its word errors (parley bench speed);
here a wreck fails: 0.6 was one, with three times the word errors, and 0.04 is none."""
INT8_KEEPS = ("/MatMul", "/MatMul_1")
"""Nodes that int8 leaves in single precision: spectrum and mel bands of the features, whose range is an ear's. With
them in 8 bits commands understood fell from 98 to 76 of 100; without, nothing changed (docs/quality.md)."""
_PROVIDES = {"casing": "lower", "numbers": "words", "punctuation": "none"}
"""How its transcripts are written: the decoder's words are the grammar's, which spells everything out."""
_INPUTS, _OUTPUTS = ("pcm", "state"), ("log_probs", "new_state")


class Step(nn.Module):
    """The exported call: int16 chunk and state in, scores and state out."""

    def __init__(self, network: SttNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, pcm: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(pcm.to(torch.float32), state)


def load_network(run: Run) -> SttNetwork:
    """The run's best network, in eval mode.

    Raises:
        ParleyError: the run has no weights.
    """
    weights = weights_to_begin_with(finished_run(run.path, "stt").path)
    fields = dict(run.params["config"])
    fields["blocks"] = tuple(tuple(b) for b in fields["blocks"])
    network = SttNetwork(SttConfig(**fields))
    load_checkpoint(weights, network)
    return network.eval()


def export(run: Run, precision: str = "fp32", *, tensorrt: bool = False, confidence_of: Sequence[Path] = ()) -> Path:
    """Write the run's bundle and return its folder.

    Args:
        run: a finished training.
        precision: how numbers are kept, one of `models.exporting.PRECISIONS`.
        tensorrt: build ``model.plan`` as well.
        confidence_of: runs of the same recipe on whose people its confidence is fitted.

    Raises:
        ParleyError: parity is off, a TensorRT plan is asked for without a GPU, or the run learned from everybody and
            no other runs are given.
    """
    network, dataset = load_network(run), split_as_trained(run)
    people = {row.split for row in dataset.rows if row.source == "recording"}
    if people == {"train"} and not confidence_of:
        raise ParleyError(
            "the run learned from everybody recorded: there is nobody to fit its confidence on", where=str(run.path),
            mend="--confidence RUN ...: exported runs of the same recipe that kept people apart (its folds)",
        )  # fmt: skip
    for other in confidence_of:
        _check_fold(run, Run.open(other))
    with exporting.staged(run.bundle_path) as bundle:
        manifest = _export_into(
            bundle, run, network, dataset, precision, tensorrt=tensorrt, confidence_of=confidence_of
        )
    size = (run.bundle_path / "model.onnx").stat().st_size
    run.figures(precision=precision, confidence=manifest.constants["confidence"], bundle_bytes=size)
    return run.bundle_path


def _check_fold(run: Run, other: Run) -> None:
    """The confidence is that of a grammar: a run that lends its people must have one like it.

    Raises:
        ParleyError: it is another bot's.
    """
    if other.params["bot"] != run.params["bot"]:
        raise ParleyError(
            f"a run of bot {other.params['bot']}, the confidence is of {run.params['bot']}", where=str(other.path),
            mend="name runs of the same recipe",
        )  # fmt: skip
    if other.params.get("bot_digest") != run.params.get("bot_digest"):
        LOG.warning("%s was trained on another text of the bot: its margins are of that grammar", other.path)


def _export_into(
    bundle: Path, run: Run, network: SttNetwork, dataset: Dataset, precision: str, *, tensorrt: bool,
    confidence_of: Sequence[Path],
) -> Manifest:  # fmt: skip
    config, model, step = network.config, bundle / "model.onnx", Step(network).eval()
    example = (torch.zeros(2, config.chunk_samples, dtype=torch.int16), network.initial_state(2))
    dynamic = {name: {0: "batch"} for name in (*_INPUTS, *_OUTPUTS)}
    exporting.to_onnx(step, example, _INPUTS, _OUTPUTS, model, dynamic)
    exporting.convert(model, precision, matching_nodes(model, INT8_KEEPS if precision.startswith("int8") else ()))

    def run_torch(feed: exporting.Feeds) -> list[NDArray[Any]]:
        with torch.no_grad():
            return [t.numpy() for t in step(torch.from_numpy(feed["pcm"]), torch.from_numpy(feed["state"]))]

    feeds = _real_chunks(step, network, dataset)
    parity = exporting.check_parity(run_torch, model, feeds, _TOLERANCE[precision])
    if tensorrt:
        widths = {"pcm": config.chunk_samples, "state": config.state_size()}
        exporting.tensorrt(model, {name: ((1, width), (8, width), (32, width)) for name, width in widths.items()})
    bot = bot_of(run)
    grammar = Grammar(bot)
    save_graph(bundle, grammar.network(), pronunciations(grammar.words(), bot.speech))
    rows = tuple(Utterance(row.sha256, row.id, row.split) for row in dataset.rows)
    write_utterances(bundle, Utterances(dataset.digest, dataset.bot, dataset.licence, rows))
    manifest = write_bundle(bundle, _manifest(run, bot, network, dataset, {**parity, "precision": precision}))
    # The confidence is fitted by decoding with the bundle itself, so it is written in a second pass.
    if confidence_of:
        points = confidence.read_points(confidence_of)
    else:
        points = asyncio.run(confidence.measure(bundle, dataset, bot.speech))
        confidence.write_points(run.path, points)
    constants = {**manifest.constants, "confidence": confidence.fit(points)}
    return write_bundle(bundle, manifest.model_copy(update={"constants": constants}))


def _manifest(run: Run, bot: Bot, network: SttNetwork, dataset: Dataset, parity: dict[str, Any]) -> Manifest:
    config = network.config
    frames = config.chunk_samples // (STRIDE * HOP)
    return Manifest(
        family="stt",
        bot=run.params["bot"],
        model=f"{run.params['bot']}_stt",
        implementation=IMPLEMENTATION,
        sample_rate=TELEPHONE_RATE,
        inputs=[
            TensorSpec(name="pcm", dtype="INT16", dims=[config.chunk_samples]),
            TensorSpec(name="state", dtype="FP32", dims=[config.state_size()]),
        ],
        outputs=[
            TensorSpec(name="log_probs", dtype="FP32", dims=[frames, len(config.labels)]),
            TensorSpec(name="new_state", dtype="FP32", dims=[config.state_size()]),
        ],
        max_batch_size=32,
        preferred_batch_sizes=[4, 8, 16],
        warmup={"pcm": [config.chunk_samples], "state": [config.state_size()]},
        constants={
            "language": bot.language,
            "labels": list(config.labels),
            "chunk_samples": config.chunk_samples,
            "flush_samples": config.flush_samples,
            "frame_samples": STRIDE * HOP,
            "lookahead_frames": config.lookahead_frames,
            "lookahead_ms": config.lookahead_frames * STRIDE * 10,
            "state_size": config.state_size(),
            "confidence": {"offset": 4.0, "slope": 2.0, "threshold": 0.5},
        },
        lineage=lineage_of(run, dataset.digest),
        parity=parity,
        data_licence=dataset.licence,
        provides=_PROVIDES,
    )  # fmt: skip


def _real_chunks(step: Step, network: SttNetwork, dataset: Dataset, utterances: int = 8) -> list[exporting.Feeds]:
    """Chunks of dev audio with the state that streaming gives them, batches of one and of many."""
    rows = (dataset.split("dev", "recording") or dataset.split("dev") or dataset.split("train"))[:utterances]
    size = network.config.chunk_samples
    audio = [dataset.heard(row) for row in rows]
    chunks = min(12, *(max(1, len(a) // size) for a in audio))
    state = network.initial_state(len(audio))
    feeds: list[exporting.Feeds] = []
    for i in range(chunks):
        pcm = np.stack([_padded(a[i * size : (i + 1) * size], size) for a in audio])
        feeds.append({"pcm": pcm, "state": state.numpy().copy()})
        feeds.append({"pcm": pcm[:1], "state": state.numpy()[:1].copy()})
        with torch.no_grad():
            _, state = step(torch.from_numpy(pcm), state)
    return feeds


def _padded(pcm: Pcm, size: int) -> Pcm:
    return np.pad(pcm, (0, size - len(pcm)))


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and export. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory of the training")
    parser.add_argument(
        "--precision", choices=exporting.PRECISIONS, default="fp32", help="how numbers are kept: docs/quality.md"
    )
    parser.add_argument("--tensorrt", action="store_true", help="also build model.plan (needs a GPU)")
    say = "fit it on what these exported runs measured: for a run that learned from everybody"
    parser.add_argument("--confidence", type=Path, nargs="+", default=[], metavar="RUN", help=say)
    args = parser.parse_args(argv)
    print(export(Run.open(args.run), args.precision, tensorrt=args.tensorrt, confidence_of=args.confidence))
    return 0


if __name__ == "__main__":
    exit_with(main)
