"""Train an intent head on a pre-trained encoder: `python -m models.nlu.pretrained_fit --corpus DIR --out RUN`.

The lowest layers stay frozen and are computed once (``frozen-DIGEST.safetensors`` in the run); ``--tuned`` layers on
top of them, none to all six, learn with the head. Figures are those of validation, as in `models.nlu.fit`.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
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
from models.configuration import Configuration, add_options, knob, options_of, said
from models.epochs import Epochs
from models.nlu.client import TOKENIZER
from models.nlu.corpora import OUTSIDE, Corpus, Sentence, read_corpus
from models.nlu.judge import Answer, figures
from models.nlu.linear import LinearIntents, learn_once
from models.nlu.out_of_scope import PLAIN, best_intent
from models.nlu.pretrained import (
    PretrainedNetwork,
    SentenceConfig,
    encoder_digest,
    package_folder,
    read_sentence_encoder,
)
from models.run_directory import Beginning, read_run_json
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import sha256_json, write_atomic
from parley.progress import progress
from parley.runs import Run


@dataclass(frozen=True)
class TuneConfig(Configuration):
    """Every parameter of a training on a pre-trained encoder."""

    corpus: Path = field(metadata=said("folder with train.jsonl and test.jsonl"))
    seed: int = knob(1, "of the head and the order of rows")
    encoder: Path | None = knob(None, "folder of the encoder; by default that of the package")
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


_FROZEN = "frozen-{}.safetensors"


def _frozen(run: Run, network: PretrainedNetwork, tokenizer: Tokenizer, corpus: Corpus, layers: int) -> list[Hidden]:
    """Hidden states of training and validation, kept beside the run under the digest of all that they come from."""
    parts = {"train": corpus.train, "valid": corpus.valid}
    source = {"encoder": run.params["encoder_digest"], "corpus": corpus.digest, "layers": layers}
    cache = run.path / _FROZEN.format(sha256_json(source)[:16])
    if not cache.exists():
        hidden = {name: freeze(network, tokenizer, rows, layers) for name, rows in parts.items()}
        tensors = {f"{name}.{part}": getattr(h, part) for name, h in hidden.items() for part in ("states", "starts")}
        save_file(tensors, run.path / ".frozen.new")
        (run.path / ".frozen.new").rename(cache)
    kept = load_file(cache)
    return [Hidden(kept[f"{name}.states"], kept[f"{name}.starts"]) for name in parts]


def tune(config: TuneConfig, out: Path, *, resume: bool = False) -> Run:
    """Train on a corpus; the weights of the end land in ``out/best``.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such corpus, the encoder is not installed, or ``resume`` of a run that was started with other
            parameters.
    """
    corpus, folder = read_corpus(config.corpus), config.encoder or package_folder()
    loop.seed_everything(config.seed)
    sizes, weights, tokenizer = read_sentence_encoder(folder)
    beginning = Beginning("nlu-pretrained", corpus.name, config, config.seed)
    run = beginning.run(out, resume=resume, corpus_digest=corpus.digest, encoder_digest=encoder_digest(folder))
    network = PretrainedNetwork(sizes, len(corpus.intents), config.dropout)
    network.encoder.load_state_dict(weights)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    run.write_json("config.json", asdict(sizes))
    run.write_json("labels.json", {"intents": corpus.intents})
    first = sizes.layers - config.tuned
    hidden, valid = _frozen(run, network, tokenizer, corpus, first)
    recipe = Recipe(config, network, corpus, hidden, valid)
    run.figures(trained_parameters=loop.parameter_count(network))
    per_epoch = recipe.epochs.steps
    plan = loop.Plan(
        recipe.steps, per_epoch if config.tuned else 5 * per_epoch, clip=2.0, save_every=per_epoch, keep="last"
    )  # fmt: skip
    loop.fit(recipe, run, plan, resume=resume)
    linear = learn_once(out, corpus, config.linear, resume=resume) if config.linear else None
    answers = answers_of(scores(network, valid, first), corpus.intents, corpus.valid, linear)
    parameters = sum(p.numel() for p in network.parameters()) + (linear.parameters if linear else 0)
    run.figures(parameters=parameters, valid=figures(corpus.valid, answers))
    for cache in out.glob(_FROZEN.format("*")):
        cache.unlink()
    run.finish()
    return run


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`. A batch is hidden states, mask and labels."""

    def __init__(
        self, config: TuneConfig, network: PretrainedNetwork, corpus: Corpus, hidden: Hidden, valid: Hidden
    ) -> None:
        self.network, self._config = network, config
        self._corpus, self._hidden, self._valid = corpus, hidden, valid
        self._labels = torch.tensor([corpus.intents.index(row.intent) for row in corpus.train])
        self._layers = network.encoder.config.layers
        self._first = self._layers - config.tuned
        self._tuned = nn.ModuleList(list(network.encoder.blocks)[self._first :])
        network.requires_grad_(False)
        for part in (self._tuned, network.head):
            part.requires_grad_(True)
        self.epochs = Epochs(self._draw)
        self.steps = self.epochs.steps * config.epochs

    def _draw(self, epoch: int) -> list[list[int]]:
        rng, size = random.Random(f"{self._config.seed}/{epoch}"), self._config.batch
        places = list(range(len(self._labels)))
        rng.shuffle(places)
        lengths = (self._hidden.starts[1:] - self._hidden.starts[:-1]).tolist()
        pools = [sorted(places[i : i + 512], key=lambda p: lengths[p]) for i in range(0, len(places), 512)]
        batches = [pool[i : i + size] for pool in pools for i in range(0, len(pool), size)]
        rng.shuffle(batches)
        return batches

    def optimizer(self) -> torch.optim.Optimizer:
        groups = [{"params": list(self._tuned.parameters()), "lr": self._config.lr},
                  {"params": list(self.network.head.parameters()), "lr": self._config.head_lr}]  # fmt: skip
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
            F.cross_entropy(self.network.classify(x, mask), labels, label_smoothing=self._config.smoothing)
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
    intents = read_run_json(run, "labels.json")["intents"]
    network = PretrainedNetwork(SentenceConfig(**read_run_json(run, "config.json")), len(intents))
    load_checkpoint(path / "best", network)
    return run, network.eval(), read_tokenizer(path / TOKENIZER), intents


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    add_options(parser, TuneConfig)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args(argv)
    tune(options_of(args, TuneConfig), args.out, resume=args.resume)
    return 0


if __name__ == "__main__":
    exit_with(main)
