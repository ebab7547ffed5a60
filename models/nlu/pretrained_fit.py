"""Train an intent head on a pre-trained encoder: `python -m models.nlu.pretrained_fit --corpus DIR --out RUN`.

The lowest layers stay frozen and are computed once (``frozen.safetensors`` in the run); ``--tuned`` layers on top of
them, none to all six, learn with the head. Figures are those of validation, as in `models.nlu.fit`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from models.fitting import add_knobs, check_same_run, knobs_of
from models.nlu.client import TOKENIZER
from models.nlu.corpora import OUTSIDE, Corpus, Sentence, read_corpus
from models.nlu.judge import Answer, figures
from models.nlu.linear import LinearIntents, learn_once
from models.nlu.out_of_scope import PLAIN, best_intent
from models.nlu.pretrained import PretrainedNetwork, SentenceConfig, package_folder, read_sentence_encoder
from models.training import load_checkpoint, parameter_count, save_checkpoint, seed_everything, warm_up_then_cosine
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_atomic
from parley.progress import progress
from parley.runs import Run


@dataclass(frozen=True)
class TuneParams:
    """The knobs of a run."""

    tuned: int = 0
    """Layers that learn, from the top."""
    epochs: int = 20
    batch: int = 32
    lr: float = 1e-4
    """Of the tuned layers."""
    head_lr: float = 3e-3
    dropout: float = 0.2
    smoothing: float = 0.1
    linear: int = 0
    """Buckets of a linear model of n-grams beside the network, as in `models.nlu.fit`."""


@dataclass(frozen=True)
class Hidden:
    """Frozen hidden states of sentences, one after the other: float16 [all pieces, width], and where each starts."""

    states: Tensor
    starts: Tensor

    def batch(self, places: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Hidden states [batch, pieces, width] and mask int64 [batch, pieces] of some sentences."""
        parts = [self.states[self.starts[i] : self.starts[i + 1]].float() for i in places]
        mask = nn.utils.rnn.pad_sequence([torch.ones(len(p), dtype=torch.int64) for p in parts], batch_first=True)
        return nn.utils.rnn.pad_sequence(parts, batch_first=True), mask


def pieces_of(tokenizer: Tokenizer, row: Sentence) -> list[int]:
    """A sentence's piece numbers, with BERT's marks around it."""
    ids: list[int] = tokenizer.encode(" ".join(row.words)).ids
    return ids


@torch.no_grad()
def freeze(network: PretrainedNetwork, tokenizer: Tokenizer, rows: Sequence[Sentence], layers: int) -> Hidden:
    """Hidden states after the lowest ``layers``; with all of them, the mean alone, as one piece."""
    network.eval()
    encoder = network.encoder
    coded = [pieces_of(tokenizer, row) for row in rows]
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(coded[i]))
    whole = layers == encoder.config.layers
    with progress("frozen layers", len(rows)) as bar:
        for start in range(0, len(order), 32):
            places = order[start : start + 32]
            ids = nn.utils.rnn.pad_sequence([torch.tensor(coded[i]) for i in places], batch_first=True)
            mask = nn.utils.rnn.pad_sequence([torch.ones(len(coded[i]), dtype=torch.int64) for i in places], True)
            x = encoder.blocks_between(encoder.embed(ids), mask, 0, layers)
            for at, i in enumerate(places):
                own = x[at, : len(coded[i])]
                found[i] = (own.mean(0, keepdim=True) if whole else own).half().clone()
            bar.advance(len(places))
    return Hidden(torch.cat(found), torch.tensor([0, *np.cumsum([len(f) for f in found]).tolist()]))


def _frozen(out: Path, network: PretrainedNetwork, tokenizer: Tokenizer, corpus: Corpus, layers: int) -> list[Hidden]:
    """Hidden states of training and validation, kept beside the run."""
    cache = out / "frozen.safetensors"
    parts = {"train": corpus.train, "valid": corpus.valid}
    if not cache.exists():
        hidden = {name: freeze(network, tokenizer, rows, layers) for name, rows in parts.items()}
        tensors = {f"{name}.{part}": getattr(h, part) for name, h in hidden.items() for part in ("states", "starts")}
        save_file(tensors, out / ".frozen.new")
        (out / ".frozen.new").rename(cache)
    kept = load_file(cache)
    return [Hidden(kept[f"{name}.states"], kept[f"{name}.starts"]) for name in parts]


def tune(folder: Path, out: Path, seed: int, params: TuneParams, source: Path | None = None) -> Run:
    """Train on a corpus, or continue where the run in ``out`` was stopped.

    Args:
        folder: the corpus.
        out: the run directory.
        seed: of the head and the order of rows.
        params: the knobs.
        source: folder of the encoder; by default that of the package.

    Raises:
        ParleyError: the encoder is not installed, or ``out`` holds a run with other parameters.
    """
    corpus = read_corpus(folder)
    seed_everything(seed)
    asked = {**asdict(params), "corpus": corpus.name, "corpus_digest": corpus.digest, "seed": seed}
    if (out / "params.json").exists():
        check_same_run(out, asked)
    run = Run.create(out, "nlu-pretrained", corpus.name, asked, seed)
    config, weights, tokenizer = read_sentence_encoder(source or package_folder())
    network = PretrainedNetwork(config, len(corpus.intents), params.dropout)
    network.encoder.load_state_dict(weights)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    run.write_json("config.json", asdict(config))
    run.write_json("labels.json", {"intents": corpus.intents})
    hidden, valid = _frozen(out, network, tokenizer, corpus, config.layers - params.tuned)
    _tune(run, network, corpus, hidden, valid, seed, params)
    linear = learn_once(out, corpus, params.linear) if params.linear else None
    answers = answers_of(scores(network, valid, config.layers - params.tuned), corpus.intents, corpus.valid, linear)
    parameters = sum(p.numel() for p in network.parameters()) + (linear.parameters if linear else 0)
    run.figures(parameters=parameters, valid=figures(corpus.valid, answers))
    save_checkpoint(out / "best", network, None, {"epochs": params.epochs})
    (out / "frozen.safetensors").unlink()
    run.finish()
    return run


def _tune(
    run: Run, network: PretrainedNetwork, corpus: Corpus, hidden: Hidden, valid: Hidden, seed: int, params: TuneParams
) -> None:
    first = network.encoder.config.layers - params.tuned
    network.requires_grad_(False)
    upper = nn.ModuleList([*list(network.encoder.blocks)[first:], network.head]).requires_grad_(True)
    run.figures(trained_parameters=parameter_count(upper))
    groups = [{"params": list(upper[:-1].parameters()), "peak": params.lr},
              {"params": list(network.head.parameters()), "peak": params.head_lr}]  # fmt: skip
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], weight_decay=0.01, fused=True)
    labels = torch.tensor([corpus.intents.index(row.intent) for row in corpus.train])
    epoch = load_checkpoint(run.checkpoint_path, upper, optimizer)["epoch"] if run.checkpoint_path.exists() else 0
    with progress(run.path.name, params.epochs) as bar:
        bar.advance(epoch)
        while epoch < params.epochs:
            loss = _epoch(network, optimizer, hidden, labels, epoch, first, params, random.Random(f"{seed}/{epoch}"))
            epoch += 1
            bar.advance()
            save_checkpoint(run.checkpoint_path, upper, optimizer, {"epoch": epoch})
            if params.tuned or epoch % 5 == 0:
                answers = answers_of(scores(network, valid, first), corpus.intents, corpus.valid)
                found = figures(corpus.valid, answers, draws=1)
                run.log(epoch, train_loss=round(loss, 4), intent_accuracy=found["intent_accuracy"])


def _epoch(
    network: PretrainedNetwork, optimizer: torch.optim.Optimizer, hidden: Hidden, labels: Tensor, epoch: int,
    first: int, params: TuneParams, rng: random.Random,
) -> float:  # fmt: skip
    network.train()
    places = list(range(len(labels)))
    rng.shuffle(places)
    lengths = (hidden.starts[1:] - hidden.starts[:-1]).tolist()
    pools = [sorted(places[i : i + 512], key=lambda p: lengths[p]) for i in range(0, len(places), 512)]
    batches = [pool[i : i + params.batch] for pool in pools for i in range(0, len(pool), params.batch)]
    rng.shuffle(batches)
    total = 0.0
    for i, batch in enumerate(batches):
        share = warm_up_then_cosine(epoch * len(batches) + i, params.epochs * len(batches), 0.05)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share
        x, mask = hidden.batch(batch)
        x = network.encoder.blocks_between(x, mask, first, network.encoder.config.layers)
        loss = F.cross_entropy(network.classify(x, mask), labels[batch], label_smoothing=params.smoothing)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimizer.step()
        total += loss.item()
    return total / len(batches)


@torch.no_grad()
def scores(network: PretrainedNetwork, hidden: Hidden, first: int) -> Tensor:
    """Intent logits [rows, intents] from frozen hidden states."""
    network.eval()
    found = []
    rows = len(hidden.starts) - 1
    for start in range(0, rows, 64):
        x, mask = hidden.batch(range(start, min(rows, start + 64)))
        x = network.encoder.blocks_between(x, mask, first, network.encoder.config.layers)
        found.append(network.classify(x, mask))
    return torch.cat(found)


def answers_of(
    logits: Tensor, intents: Sequence[str], rows: Sequence[Sentence], linear: LinearIntents | None = None
) -> list[Answer]:
    """The most probable label of each row, the linear model's say in it if there is one; no slots."""
    heard = [linear.add(own, row.words) if linear else own for own, row in zip(logits.numpy(), rows, strict=True)]
    best = [best_intent(own, intents) for own in heard]
    outside = ((OUTSIDE,) * len(row.words) for row in rows)
    return PLAIN.apply([Answer(name, tags, score) for (name, score), tags in zip(best, outside, strict=True)])


def open_tuned(path: Path) -> tuple[Run, PretrainedNetwork, Tokenizer, list[str]]:
    """A finished run: its network, tokenizer and intents.

    Raises:
        ParleyError: no such run, or it is not finished.
    """
    from models.tokenizer import read_tokenizer

    run = Run.open(path)
    if run.params.get("family") != "nlu-pretrained" or not (path / "best" / "model.safetensors").is_file():
        raise ParleyError("not a finished run", where=str(path), mend="run models.nlu.pretrained_fit to its end")
    intents = json.loads((path / "labels.json").read_text(encoding="utf-8"))["intents"]
    network = PretrainedNetwork(
        SentenceConfig(**json.loads((path / "config.json").read_text(encoding="utf-8"))), len(intents)
    )
    load_checkpoint(path / "best", network)
    return run, network.eval(), read_tokenizer(path / TOKENIZER), intents


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", required=True, type=Path, help="folder with train.jsonl and test.jsonl")
    parser.add_argument("--out", required=True, type=Path, help="run directory; a stopped run there is continued")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--encoder", type=Path, help="folder of the encoder; default: the package's")
    add_knobs(parser, TuneParams)
    args: dict[str, Any] = vars(parser.parse_args(argv))
    params = knobs_of(args, TuneParams)
    tune(args["corpus"], args["out"], args["seed"], params, args["encoder"])
    return 0


if __name__ == "__main__":
    exit_with(main)
