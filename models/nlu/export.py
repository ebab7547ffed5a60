"""Export an NLU run as a bundle: `python -m models.nlu.export RUN [--precision int8] [--tensorrt]`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch

from models.exporting import Feeds, check_parity, convert, list_utterances, staged, tensorrt, to_onnx
from models.nlu.client import IMPLEMENTATION, LABELS, TOKENIZER, encode, feeds, read_labels
from models.nlu.data import SPLITS, Sizes, make_data
from models.nlu.network import NluConfig, NluNetwork
from models.tokenizer import read_tokenizer
from models.training import environment, git_lineage, load_checkpoint, trained_run
from models.weights import matching_nodes
from parley.arguments import ArgumentParser
from parley.bot import Bot
from parley.bundle import BOT, Lineage, Manifest, TensorSpec, write_bundle
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import canonical_json, write_atomic
from parley.runs import Run
from parley.utterances import Utterances, of_texts

INPUTS = ("input_ids", "attention_mask")
OUTPUTS = ("intent_logits", "tag_logits")
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "fp16-weights": 2e-2, "int8": 0.15, "int8-weights": 5e-2}
"""Largest difference of a logit, relative to the largest one (see `check_parity`); decisions must be equal as well."""
INT8_KEEPS = ("/tag/*",)
"""Nodes that int8 leaves in single precision: the tags' scores are what it moves most."""
PARITY_ROWS = 64
REQUIRES = {"stt.casing": "lower", "stt.numbers": "words"}
"""It learned sentences as callers say them, spelled out, in lower case."""


def open_run(path: Path) -> tuple[Run, Bot, NluNetwork]:
    """A finished training run: its figures, its bot as it is now, and its best weights.

    Raises:
        ParleyError: no such run, no weights, or the bot has changed since.
    """
    run, bot = trained_run(path, "nlu")
    network = NluNetwork(NluConfig(**json.loads((path / "config.json").read_text(encoding="utf-8"))))
    load_checkpoint(path / "best", network)
    return run, bot, network.eval()


def export(path: Path, precision: str = "fp32", *, plan: bool = False) -> Manifest:
    """Write ``path/bundle``.

    Raises:
        ParleyError: the run is not whole, or the exported graph does not agree with torch.
    """
    run, bot, network = open_run(path)
    with staged(run.bundle_path) as bundle:
        return _export_into(bundle, run, bot, network, precision, plan=plan)


def _export_into(bundle: Path, run: Run, bot: Bot, network: NluNetwork, precision: str, *, plan: bool) -> Manifest:
    path = run.path
    for asset in (TOKENIZER, LABELS):
        shutil.copyfile(path / asset, bundle / asset)
    write_atomic(bundle / BOT, canonical_json(bot.model_dump(mode="json")))
    _list_utterances(bundle, run, bot)
    model = bundle / "model.onnx"
    ids = torch.ones((2, 16), dtype=torch.int64)
    axes = {name: {0: "batch", 1: "tokens"} for name in (*INPUTS, "tag_logits")} | {"intent_logits": {0: "batch"}}
    to_onnx(network, (ids, ids), INPUTS, OUTPUTS, model, axes)
    convert(model, precision, matching_nodes(model, INT8_KEEPS if precision.startswith("int8") else ()))
    parity = _parity(network, bot, run, bundle, precision)
    if plan:
        tokens = network.config.max_tokens
        tensorrt(model, {name: ((1, 16), (4, 16), (16, tokens)) for name in INPUTS})
    return write_bundle(bundle, _manifest(run, bot, network, parity))


def _list_utterances(bundle: Path, run: Run, bot: Bot) -> None:
    data = make_data(bot, run.params["seed"], Sizes.of(run.params["rows"]))
    rows = of_texts((split, [row.text for row in getattr(data, split)]) for split in SPLITS)
    learned = Utterances(data.digest, bot.name, _licence(bot), tuple(rows))
    list_utterances(bundle, learned, run.figures()["dataset_digest"], f"sentences of bot {bot.name}")


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

    def run_torch(feed: Feeds) -> list[Any]:
        with torch.no_grad():
            return [out.numpy() for out in network(*(torch.from_numpy(feed[name]) for name in INPUTS))]

    figures = check_parity(run_torch, bundle / "model.onnx", checked, TOLERANCE[precision])
    return {**figures, "precision": precision, "sentences": len(rows), **_same_decisions(run_torch, bundle, checked)}


def _same_decisions(run_torch: Any, bundle: Path, checked: list[Feeds]) -> dict[str, Any]:
    from models.exporting import session

    graph = session(bundle / "model.onnx")
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
        lineage=Lineage(**git_lineage(), dataset_digest=figures["dataset_digest"], bot_digest=bot.digest,
                        params=run.params, seed=run.params["seed"], environment=environment()),
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
    manifest = export(args.run, args.precision, plan=args.tensorrt)
    print(json.dumps({"bundle": str(args.run / "bundle"), "parity": manifest.parity}))
    return 0


if __name__ == "__main__":
    exit_with(main)
