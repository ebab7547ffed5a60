"""Export an NLG run as a bundle: `python -m models.nlg.export RUN [--precision int8] [--tensorrt]`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn

from models import exporting
from models.checkpoints import load_checkpoint
from models.exporting import Feeds, Reference, check_parity, convert, session, staged, to_onnx
from models.nlg.client import IMPLEMENTATION, TOKENIZER
from models.nlg.data import NlgData, encode, make_data
from models.nlg.greedy_graph import END, PAD, STEP_INPUTS, STEP_OUTPUTS, greedy_loop
from models.nlg.network import NlgConfig, NlgNetwork
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

TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2, "fp16-weights": 2e-2, "int8": 0.25, "int8-weights": 5e-2}
"""Largest difference of a step's logit, relative to the largest; token sequences must be equal in any precision."""
INT8_KEEPS = ("*/score/*",)
"""Nodes that int8 leaves in single precision: the words' scores, which alone made nearly all of what it lost."""
_STEP_ROWS = 12
PROVIDES = {"text": "written"}
"""Replies as one writes them, with capitals, signs and figures: what the voice reads out."""


class Step(nn.Module):
    """`NlgNetwork.step` as a module of its own, to be traced."""

    def __init__(self, network: NlgNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, token: Tensor, position: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        return self.network.step(token, position, cache)


def open_run(run: Run) -> tuple[Bot, NlgNetwork]:
    """The bot that a finished training saw, and its best weights.

    Raises:
        ParleyError: no weights, or no bot (:func:`models.run_directory.bot_of`).
    """
    finished_run(run.path, "nlg")
    network = NlgNetwork(NlgConfig(**read_run_json(run, "config.json")))
    load_checkpoint(run.path / "best", network)
    return bot_of(run), network.eval()


def data_of(run: Run, bot: Bot) -> NlgData:
    """The replies of a training, made again.

    Raises:
        ParleyError: they are no longer those that the training saw.
    """
    data = make_data(bot, run.params["seed"])
    check_data(run, data.digest, f"replies of bot {bot.name}")
    return data


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


def _export_into(bundle: Path, run: Run, bot: Bot, network: NlgNetwork, precision: str, *, tensorrt: bool) -> Manifest:
    shutil.copyfile(run.path / TOKENIZER, bundle / TOKENIZER)
    write_atomic(bundle / BOT, canonical_json(bot.model_dump(mode="json")))
    tokenizer, data = read_tokenizer(bundle / TOKENIZER), data_of(run, bot)
    splits = (("train", data.train), ("valid", data.valid), ("test", data.test))
    learned = tuple(of_texts((split, [row.text for row in part]) for split, part in splits))
    write_utterances(bundle, Utterances(data.digest, bot.name, _licence(bot), learned))
    prompt = max(len(encode(tokenizer, row)[0]) for row in data.rows)
    model = bundle / "model.onnx"
    rows = data.rows[:: max(1, len(data.rows) // _STEP_ROWS)][:_STEP_ROWS]
    feeds = step_feeds(network, [encode(tokenizer, row) for row in rows])
    parity = write_graph(network, model, prompts(tokenizer, data, prompt), feeds, precision)
    if tensorrt:
        exporting.tensorrt(model, {"prompt_ids": ((1, prompt), (4, prompt), (16, prompt))})
    return write_bundle(bundle, _manifest(run, bot, network, prompt, parity))


def write_graph(
    network: NlgNetwork, model: Path, ids: NDArray[np.int64], feeds: Sequence[Feeds], precision: str
) -> dict[str, Any]:
    """Write the reply graph of a network to ``model`` and return how near it is to torch.

    Args:
        network: in eval mode.
        model: the file to write.
        ids: real prompts int64 [rows, width], padded at their end: whole replies to them must be equal.
        feeds: real inputs of single steps.
        precision: ``fp32`` or ``int8``.

    Raises:
        ParleyError: the graph does not agree with torch.
    """
    step = model.with_name("step.onnx")
    example = (torch.zeros(2, dtype=torch.int64), torch.tensor(3), network.empty_cache(2))
    axes = {name: {0: "batch"} for name in ("token", "cache", *STEP_OUTPUTS)}
    to_onnx(Step(network), example, STEP_INPUTS, STEP_OUTPUTS, step, axes)
    convert(step, precision, matching_nodes(step, INT8_KEEPS if precision.startswith("int8") else ()))
    config = network.config
    cache = (2 * config.layers, config.heads, config.head_width)
    onnx.save(greedy_loop(onnx.load(str(step)), config.buffer, ids.shape[1], cache), str(model))
    parity = {
        "precision": precision,
        "step": check_parity(_torch_step(network), step, feeds, TOLERANCE[precision]),
        **check_replies(network, model, ids, TOLERANCE[precision]),
    }
    step.unlink()
    return parity


def _licence(bot: Bot) -> str:
    return f"Apache-2.0: generated from bots/{bot.name}/bot.yaml"


def _torch_step(network: NlgNetwork) -> Reference:
    def run_torch(feed: Feeds) -> list[NDArray[Any]]:
        with torch.no_grad():
            return [
                out.numpy() for out in network.step(*(torch.from_numpy(np.asarray(feed[name])) for name in STEP_INPUTS))
            ]

    return run_torch


@torch.no_grad()
def step_feeds(network: NlgNetwork, rows: Sequence[tuple[list[int], list[int]]]) -> list[Feeds]:
    """Every step of some real prompts and replies, with the cache that torch has at that point."""
    feeds: list[Feeds] = []
    for prompt, reply in rows:
        cache = network.empty_cache(1)
        for position, token in enumerate(prompt + reply[:-1]):
            feeds.append({"token": np.array([token]), "position": np.array(position), "cache": cache.numpy()})
            _, cache = network.step(torch.tensor([token]), torch.tensor(position), cache)
    return feeds


def prompts(tokenizer: Tokenizer, data: NlgData, width: int) -> NDArray[np.int64]:
    """All prompts of the data, int64 [rows, width], padded at their end."""
    ids = [encode(tokenizer, row)[0] for row in data.rows]
    return np.array([row + [PAD] * (width - len(row)) for row in ids], dtype=np.int64)


def check_replies(network: NlgNetwork, model: Path, ids: NDArray[np.int64], tolerance: float) -> dict[str, Any]:
    """Whole replies: the graph's tokens must be torch's, alone and in a batch of unlike prompts.

    Raises:
        ParleyError: a sequence differs, or its log-probability does by more than ``tolerance`` a token.
    """
    graph = session(model)
    worst = 0.0
    for feed in [*(ids[i : i + 1] for i in range(len(ids))), ids[:: max(1, len(ids) // 16)][:16]]:
        buffer, total = network.generate(torch.from_numpy(feed), PAD, END)
        tokens, logprob = graph.run(["tokens", "logprob"], {"prompt_ids": feed})
        if not np.array_equal(buffer.numpy(), tokens):
            raise ParleyError("parity: torch and ONNX write different replies", where=str(model),
                              mend="export with --precision fp32, or train longer")  # fmt: skip
        worst = max(worst, float(np.abs(total.numpy() - logprob[:, 0]).max()) / network.config.buffer)
    if worst > tolerance:
        raise ParleyError(f"parity: log-probabilities differ by {worst:.2e} a token, allowed {tolerance:.0e}",
                          where=str(model), mend="export with --precision fp32")  # fmt: skip
    return {"replies_equal": len(ids), "max_logprob_error_per_token": worst}


def _manifest(run: Run, bot: Bot, network: NlgNetwork, prompt: int, parity: dict[str, Any]) -> Manifest:
    figures = run.figures()
    return Manifest(
        family="nlg", bot=bot.name, model=f"{bot.name}_nlg", implementation=IMPLEMENTATION,
        inputs=[TensorSpec(name="prompt_ids", dtype="INT64", dims=[prompt])],
        outputs=[TensorSpec(name="tokens", dtype="INT64", dims=[network.config.buffer]),
                 TensorSpec(name="logprob", dtype="FP32", dims=[1])],
        max_batch_size=16, preferred_batch_sizes=[4, 8],
        warmup={"prompt_ids": [prompt]},
        constants={"prompt_tokens": prompt, "buffer_tokens": network.config.buffer, "styles": figures["styles"],
                   "parameters": figures["parameters"], "language": bot.language},
        lineage=lineage_of(run, figures["dataset_digest"]),
        parity=parity,
        data_licence=_licence(bot), provides=PROVIDES,
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
