"""Export an NLU run as a bundle: `python -m models.nlu.export RUN [--precision int8] [--tensorrt]`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import exporting
from models.checkpoints import load_checkpoint
from models.exporting import Feeds, Reference, check_parity, convert, staged, to_onnx
from models.nlu.client import IMPLEMENTATION, LABELS, TOKENIZER, encode, feeds, read_labels
from models.nlu.data import SPLITS, NluData, Sizes, make_data
from models.nlu.network import NluConfig, NluNetwork
from models.run_directory import bot_of, check_data, finished_run, lineage_of, read_run_json
from models.tokenizer import read_tokenizer
from models.weights import matching_nodes
from parley.arguments import ArgumentParser
from parley.bot import Bot
from parley.bundle import BOT, Manifest, TensorSpec, read_manifest, write_bundle
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import canonical_json, write_atomic
from parley.runs import Run
from parley.utterances import Utterances, of_texts, write_utterances

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("intent_logits", "tag_logits")
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "fp16-weights": 2e-2, "int8": 0.15, "int8-weights": 5e-2}
"""Largest difference of a logit, relative to the largest one (see `check_parity`); decisions must be equal as well."""
INT8_KEEPS = ("/tag/*",)
"""Nodes that int8 leaves in single precision: the tags' scores are what it moves most."""
PARITY_ROWS = 64
REQUIRES = {"stt.casing": "lower", "stt.numbers": "words"}
"""It learned sentences as callers say them, spelled out, in lower case."""


def open_run(run: Run) -> tuple[Bot, NluNetwork]:
    """The bot that a finished training saw, and its best weights.

    Raises:
        ParleyError: no weights, or no bot (:func:`models.run_directory.bot_of`).
    """
    finished_run(run.path, "nlu")
    read_run_json(run, LABELS)  # written last, with the calibration
    network = NluNetwork(NluConfig(**read_run_json(run, "config.json")))
    load_checkpoint(run.path / "best", network)
    return bot_of(run), network.eval()


def export(run: Run, precision: str = "fp32", *, tensorrt: bool = False) -> Path:
    """Write the run's bundle and return its folder.

    Args:
        run: a finished training.
        precision: how numbers are kept, one of `TOLERANCE`.
        tensorrt: build ``model.plan`` as well.

    Raises:
        ParleyError: the run is not whole, its data cannot be made again, or the exported graph does not agree with
            torch.
    """
    bot, network = open_run(run)
    with staged(run.bundle_path) as bundle:
        _export_into(bundle, run, bot, network, precision, tensorrt=tensorrt)
    return run.bundle_path


def _export_into(bundle: Path, run: Run, bot: Bot, network: NluNetwork, precision: str, *, tensorrt: bool) -> Manifest:
    for asset in (TOKENIZER, LABELS):
        shutil.copyfile(run.path / asset, bundle / asset)
    write_atomic(bundle / BOT, canonical_json(bot.model_dump(mode="json")))
    _list_utterances(bundle, run, bot)
    model = bundle / "model.onnx"
    ids = torch.ones((2, 16), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "tokens"} for name in (*INPUTS, "tag_logits")} | {"intent_logits": {0: "batch"}}
    to_onnx(network, (ids, ids), INPUTS, OUTPUTS, model, axes)
    convert(model, precision, matching_nodes(model, INT8_KEEPS if precision.startswith("int8") else ()))
    parity = _parity(network, bot, run, bundle, precision)
    if tensorrt:
        tokens = network.config.max_tokens
        exporting.tensorrt(model, {name: ((1, 16), (4, 16), (16, tokens)) for name in INPUTS})
    return write_bundle(bundle, _manifest(run, bot, network, parity))


def data_of(run: Run, bot: Bot) -> NluData:
    """The sentences of a training, made again.

    Raises:
        ParleyError: they are no longer those that the training saw.
    """
    data = make_data(bot, run.params["seed"], Sizes.of(run.params["rows"]))
    check_data(run, data.digest, f"sentences of bot {bot.name}")
    return data


def _list_utterances(bundle: Path, run: Run, bot: Bot) -> None:
    data = data_of(run, bot)
    rows = of_texts((split, [row.text for row in getattr(data, split)]) for split in SPLITS)
    write_utterances(bundle, Utterances(data.digest, bot.name, _licence(bot), tuple(rows)))


def _licence(bot: Bot) -> str:
    elsewhere = "/".join(bot.speech.callers.elsewhere.parts[-4:])
    return f"Apache-2.0: generated from bots/{bot.name}/bot.yaml and {elsewhere}"


def _parity(network: NluNetwork, bot: Bot, run: Run, bundle: Path, precision: str) -> dict[str, Any]:
    """Test sentences one by one and as batches of unequal lengths: equal logits and equal decisions."""
    tokenizer, labels = read_tokenizer(bundle / TOKENIZER), read_labels(bundle / LABELS)
    size = min(400, run.params["rows"])
    rows = make_data(bot, run.params["seed"], Sizes(train=size, valid=1, test=PARITY_ROWS * 2)).test[:PARITY_ROWS]
    single: list[Feeds] = [feeds(encode(tokenizer, row.text, labels.max_tokens), labels.max_tokens) for row in rows]
    width = max(feed["input_ids"].shape[1] for feed in single)
    batch = {
        name: np.concatenate([np.pad(f[name], ((0, 0), (0, width - f[name].shape[1]))) for f in single[:8]])
        for name in INPUTS
    }
    checked = [*single, batch]

    def run_torch(feed: Feeds) -> list[NDArray[Any]]:
        with torch.no_grad():
            return [out.numpy() for out in network(*(torch.from_numpy(feed[name]) for name in INPUTS))]

    figures = check_parity(run_torch, bundle / "model.onnx", checked, TOLERANCE[precision])
    return {**figures, "precision": precision, "sentences": len(rows), **_same_decisions(run_torch, bundle, checked)}


def _same_decisions(run_torch: Reference, bundle: Path, checked: list[Feeds]) -> dict[str, Any]:
    graph = exporting.session(bundle / "model.onnx")
    for feed in checked:
        mine, theirs = run_torch(feed), graph.run(list(OUTPUTS), feed)
        heard = feed["attention_mask"].astype(bool)
        intents = np.array_equal(mine[0].argmax(-1), theirs[0].argmax(-1))
        tags = np.array_equal(mine[1].argmax(-1)[heard], theirs[1].argmax(-1)[heard])
        if not (intents and tags):
            raise ParleyError("parity: torch and ONNX decide differently on a test sentence", where=str(bundle),
                              mend="export with --precision fp32")  # fmt: skip
    return {"decisions_equal": True}


def _manifest(run: Run, bot: Bot, network: NluNetwork, parity: dict[str, Any]) -> Manifest:
    config = network.config
    figures = run.figures()
    return Manifest(
        family="nlu", bot=bot.name, model=f"{bot.name}_nlu", implementation=IMPLEMENTATION,
        inputs=[TensorSpec(name=name, dtype="INT64", dims=[-1]) for name in INPUTS],
        outputs=[TensorSpec(name="intent_logits", dtype="FP32", dims=[config.intents]),
                 TensorSpec(name="tag_logits", dtype="FP32", dims=[-1, config.tags])],
        max_batch_size=16, preferred_batch_sizes=[4, 8],
        warmup={name: [16] for name in INPUTS},
        constants={"max_tokens": config.max_tokens, "parameters": figures["parameters"], "language": bot.language},
        lineage=lineage_of(run, figures["dataset_digest"]),
        parity=parity,
        data_licence=_licence(bot), requires=REQUIRES,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and export. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="run directory of the training")
    parser.add_argument(
        "--precision", choices=sorted(TOLERANCE), default="fp32", help="how numbers are kept: docs/quality.md"
    )
    parser.add_argument("--tensorrt", action="store_true", help="build model.plan too (needs an NVIDIA GPU)")
    args = parser.parse_args(argv)
    bundle = export(Run.open(args.run), args.precision, tensorrt=args.tensorrt)
    print(json.dumps({"bundle": str(bundle), "parity": read_manifest(bundle).parity}))
    return 0


if __name__ == "__main__":
    exit_with(main)
