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

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.checkpoints import load_checkpoint
from models.configuration import Configuration, add_options, knob, options_of
from models.epochs import Epochs
from models.nlu.client import TOKENIZER
from models.nlu.corpora import OUTSIDE, Corpus, Sentence, read_corpus
from models.nlu.judge import Answer, figures
from models.nlu.linear import LinearIntents, learn_once
from models.nlu.out_of_scope import PLAIN, best_intent
from models.nlu.pretrained import PretrainedNetwork, SentenceConfig, package_folder, read_sentence_encoder
from models.run_directory import Beginning
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_atomic
from parley.progress import progress
from parley.runs import Run


@dataclass(frozen=True)
class TuneParams(Configuration):
    """The parameters of a run."""

    tuned: int = knob(0, "layers that learn, from the top", least=0)
    epochs: int = knob(20, "passes over the training split", least=1)
    batch: int = knob(32, "sentences in a batch", least=1)
    lr: float = knob(1e-4, "the peak of the tuned layers' learning rate", least=0)
    head_lr: float = knob(3e-3, "the peak of the head's", least=0)
    dropout: float = knob(0.2, "share of the numbers dropped", least=0, most=1)
    smoothing: float = knob(0.1, "of the labels", least=0, most=1)
    linear: int = knob(0, "buckets of a linear model of n-grams beside the network: models.nlu.linear", least=0)


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
    loop.seed_everything(seed)
    resume = (out / "params.json").is_file()
    beginning = Beginning("nlu-pretrained", corpus.name, params, seed)
    run = beginning.run(out, resume=resume, corpus=corpus.name, corpus_digest=corpus.digest)
    config, weights, tokenizer = read_sentence_encoder(source or package_folder())
    network = PretrainedNetwork(config, len(corpus.intents), params.dropout)
    network.encoder.load_state_dict(weights)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    run.write_json("config.json", asdict(config))
    run.write_json("labels.json", {"intents": corpus.intents})
    hidden, valid = _frozen(out, network, tokenizer, corpus, config.layers - params.tuned)
    recipe = Recipe(params, seed, network, corpus, hidden, valid)
    run.figures(trained_parameters=loop.parameter_count(network))
    per_epoch = recipe.epochs.steps
    plan = loop.Plan(
        recipe.steps, per_epoch if params.tuned else 5 * per_epoch, clip=2.0, save_every=per_epoch, keep="last"
    )  # fmt: skip
    loop.fit(recipe, run, plan, resume=resume)
    linear = learn_once(out, corpus, params.linear) if params.linear else None
    answers = answers_of(scores(network, valid, config.layers - params.tuned), corpus.intents, corpus.valid, linear)
    parameters = sum(p.numel() for p in network.parameters()) + (linear.parameters if linear else 0)
    run.figures(parameters=parameters, valid=figures(corpus.valid, answers))
    (out / "frozen.safetensors").unlink()
    run.finish()
    return run


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`. A batch is hidden states, mask and labels."""

    def __init__(
        self, params: TuneParams, seed: int, network: PretrainedNetwork, corpus: Corpus, hidden: Hidden, valid: Hidden
    ) -> None:
        self.network, self._params, self._seed = network, params, seed
        self._corpus, self._hidden, self._valid = corpus, hidden, valid
        self._labels = torch.tensor([corpus.intents.index(row.intent) for row in corpus.train])
        self._layers = network.encoder.config.layers
        self._first = self._layers - params.tuned
        self._tuned = nn.ModuleList(list(network.encoder.blocks)[self._first :])
        network.requires_grad_(False)
        for part in (self._tuned, network.head):
            part.requires_grad_(True)
        self.epochs = Epochs(self._draw)
        self.steps = self.epochs.steps * params.epochs

    def _draw(self, epoch: int) -> list[list[int]]:
        rng, size = random.Random(f"{self._seed}/{epoch}"), self._params.batch
        places = list(range(len(self._labels)))
        rng.shuffle(places)
        lengths = (self._hidden.starts[1:] - self._hidden.starts[:-1]).tolist()
        pools = [sorted(places[i : i + 512], key=lambda p: lengths[p]) for i in range(0, len(places), 512)]
        batches = [pool[i : i + size] for pool in pools for i in range(0, len(pool), size)]
        rng.shuffle(batches)
        return batches

    def optimizer(self) -> torch.optim.Optimizer:
        groups = [{"params": list(self._tuned.parameters()), "lr": self._params.lr},
                  {"params": list(self.network.head.parameters()), "lr": self._params.head_lr}]  # fmt: skip
        return torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.01, fused=True)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.warm_up_then_cosine(optimizer, self.steps, 0.05)

    def prepare(self, step: int) -> bool:
        self.network.train()
        return False

    def batch(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        places = self.epochs.batch(step)
        return (*self._hidden.batch(places), self._labels[places])

    def loss(self, batch: tuple[Tensor, Tensor, Tensor]) -> loop.Loss:
        x, mask, labels = batch
        x = self.network.encoder.blocks_between(x, mask, self._first, self._layers)
        return loop.Loss(
            F.cross_entropy(self.network.classify(x, mask), labels, label_smoothing=self._params.smoothing)
        )

    def look(self, step: int, averaged: PretrainedNetwork) -> loop.Look:
        rows = self._corpus.valid
        answers = answers_of(scores(averaged, self._valid, self._first), self._corpus.intents, rows)
        return loop.Look({"intent_accuracy": figures(rows, answers, draws=1)["intent_accuracy"]})


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
    add_options(parser, TuneParams)
    args = parser.parse_args(argv)
    tune(args.corpus, args.out, args.seed, options_of(args, TuneParams), args.encoder)
    return 0


if __name__ == "__main__":
    exit_with(main)
