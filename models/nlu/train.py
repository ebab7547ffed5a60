"""Train the NLU of a bot: `python -m models.nlu.train --bot barista --out runs/nlu-barista --seed 7`."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.checkpoints import load_checkpoint, save_checkpoint
from models.configuration import Configuration, add_options, knob, options_of, said
from models.nlu.client import LABELS, TOKENIZER, Labels, encode
from models.nlu.data import MAX_TOKENS, OUT_OF_SCOPE, Example, NluData, Sizes, make_data, make_tokenizer
from models.nlu.network import NluConfig, NluNetwork, joint_loss
from models.run_directory import Beginning
from parley.arguments import ArgumentParser
from parley.bot import Bot, load_bot
from parley.command import exit_with
from parley.files import write_atomic
from parley.runs import Run

IGNORED = -100


@dataclass(frozen=True)
class TrainConfig(Configuration):
    """Every parameter of a training."""

    bot: str = field(metadata=said("name of a bot, or the path of its bot.yaml"))
    seed: int = knob(7, "of every draw")
    steps: int = knob(1000, "batches to learn from", least=1)
    minutes: float = knob(0.0, "stop after this long; 0: no limit", least=0)
    rows: int = knob(16000, "training sentences to draw", least=1)
    """Validation and test are 1,500 and 3,000, or fewer when this is less."""
    batch: int = knob(64, "sentences in a batch", least=1)
    lr: float = knob(1.5e-3, "the peak of the learning rate", least=0)
    look_every: int = 100
    patience: int = 5
    """Looks at validation without a lower loss before training stops."""

    def sizes(self) -> Sizes:
        """Rows of each split."""
        return Sizes.of(self.rows)


@dataclass(frozen=True)
class Batch:
    """Tensors of some rows: ids, mask, tags int64 [batch, tokens]; intents int64 [batch]."""

    ids: Tensor
    mask: Tensor
    tags: Tensor
    intents: Tensor


class Encoder:
    """Rows to tensors, with the tokenizer and label numbers of one run."""

    def __init__(self, tokenizer: Tokenizer, data: NluData) -> None:
        self.tokenizer = tokenizer
        self.intent_of = {name: i for i, name in enumerate(data.intents)}
        self.tag_of = {name: i for i, name in enumerate(data.tags)}
        self._cache: dict[Example, tuple[list[int], list[int]]] = {}

    def row(self, example: Example) -> tuple[list[int], list[int]]:
        """Piece ids and a tag number for each (only first pieces are scored)."""
        if example not in self._cache:
            said = encode(self.tokenizer, example.words, MAX_TOKENS)
            tags = [IGNORED] * len(said.ids)
            for word, place in enumerate(said.first):
                tags[place] = self.tag_of[example.tags[word]]
            self._cache[example] = said.ids, tags
        return self._cache[example]

    def batch(self, examples: list[Example]) -> Batch:
        rows = [self.row(e) for e in examples]
        width = max(len(ids) for ids, _ in rows)
        ids = torch.zeros((len(rows), width), dtype=torch.int64)
        tags = torch.full((len(rows), width), IGNORED)
        for i, (pieces, marks) in enumerate(rows):
            ids[i, : len(pieces)] = torch.tensor(pieces)
            tags[i, : len(marks)] = torch.tensor(marks)
        mask = torch.tensor([[1] * len(p) + [0] * (width - len(p)) for p, _ in rows])
        return Batch(ids, mask, tags, torch.tensor([self.intent_of[e.intent] for e in examples]))


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`."""

    def __init__(self, config: TrainConfig, network: NluNetwork, encoder: Encoder, data: NluData) -> None:
        self.config, self.network, self.encoder, self.data = config, network, encoder, data

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.config.lr, weight_decay=0.01)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.warm_up_then_cosine(optimizer, self.config.steps, 0.05)

    def prepare(self, step: int) -> bool:
        self.network.train()
        return False

    def batch(self, step: int) -> Batch:
        drawn = random.Random(f"{self.config.seed}/{step}").choices(self.data.train, k=self.config.batch)
        return self.encoder.batch(drawn)

    def loss(self, batch: Batch) -> loop.Loss:
        intents, tags = self.network(batch.ids, batch.mask)
        return loop.Loss(joint_loss(intents, tags, batch.intents, batch.tags))

    def look(self, step: int, averaged: NluNetwork) -> loop.Look:
        figure = validation_loss(averaged, self.encoder, self.data.valid)
        return loop.Look({"valid_loss": round(figure, 5)}, figure)


def train(config: TrainConfig, out: Path, *, resume: bool = False) -> Run:
    """Run the schedule; the best weights by validation loss land in ``out/best``, calibrated.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such bot, or ``resume`` of a run that was started with other parameters.
    """
    bot = load_bot(config.bot)
    loop.seed_everything(config.seed)
    data = make_data(bot, config.seed, config.sizes())
    beginning = Beginning("nlu", bot.name, config, config.seed, bot)
    run = beginning.run(out, resume=resume, dataset_digest=data.digest)
    tokenizer = make_tokenizer(bot, data.train)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    encoder = Encoder(tokenizer, data)
    network = NluNetwork(
        NluConfig(tokenizer.get_vocab_size(), len(data.intents), len(data.tags), max_tokens=MAX_TOKENS)
    )
    run.write_json("config.json", asdict(network.config))
    run.figures(parameters=loop.parameter_count(network), dataset_digest=data.digest,
                rows={"train": len(data.train), "valid": len(data.valid), "test": len(data.test)})  # fmt: skip
    plan = loop.Plan(
        config.steps, config.look_every, clip=1.0, patience=config.patience, minutes=config.minutes
    )  # fmt: skip
    outcome = loop.fit(Recipe(config, network, encoder, data), run, plan, resume=resume)
    load_checkpoint(run.path / "best", network)
    _calibrate(run, network, encoder, data, bot)
    run.figures(steps=outcome.steps)
    run.finish()
    return run


@torch.no_grad()
def scores(network: NluNetwork, encoder: Encoder, rows: list[Example]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits and labels of rows: intents [rows, intents] and [rows]; scored tags [words, tags] and [words]."""
    network.eval()
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(rows), 128):
        batch = encoder.batch(rows[start : start + 128])
        intents, tags = network(batch.ids, batch.mask)
        scored = batch.tags != IGNORED
        parts.append((intents, batch.intents, tags[scored], batch.tags[scored]))
    intents, wanted, tags, marks = (torch.cat(column) for column in zip(*parts, strict=True))
    return intents, wanted, tags, marks


def validation_loss(network: NluNetwork, encoder: Encoder, rows: list[Example]) -> float:
    """Intent plus tag cross-entropy over rows."""
    intents, wanted, tags, marks = scores(network, encoder, rows)
    return float(F.cross_entropy(intents, wanted) + F.cross_entropy(tags, marks))


def temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that makes probabilities honest (Guo et al. 2017): least cross-entropy over a fine grid.

    Held to 1 and more: where validation has hardly an error, the best fit is overconfidence without bound.
    """
    grid = [1.05**i for i in range(48)]
    return min(grid, key=lambda t: float(F.cross_entropy(logits / t, labels)))


def _calibrate(run: Run, network: NluNetwork, encoder: Encoder, data: NluData, bot: Bot) -> None:
    """Set the temperatures in the weights, choose the out-of-scope threshold, write ``labels.json``."""
    intents, wanted, tags, marks = scores(network, encoder, data.valid)
    network.intent_temperature.fill_(temperature(intents, wanted))
    network.tag_temperature.fill_(temperature(tags, marks))
    save_checkpoint(run.path / "best", network, None, {"calibrated": True})
    threshold = choose_threshold(torch.softmax(intents / network.intent_temperature, -1).numpy(), wanted.numpy(), data)
    labels = Labels(intents=data.intents, tags=data.tags, slots=bot.slots, out_of_scope=OUT_OF_SCOPE,
                    threshold=threshold, max_tokens=MAX_TOKENS, language=bot.language)  # fmt: skip
    run.write_json(LABELS, json.loads(labels.model_dump_json()))
    run.figures(temperature={"intent": float(network.intent_temperature), "tags": float(network.tag_temperature)},
                out_of_scope_threshold=threshold)  # fmt: skip


def choose_threshold(probabilities: NDArray[np.float32], wanted: NDArray[np.int64], data: NluData) -> float:
    """The highest threshold that still keeps 99.5 % of the in-scope validation rows that were right, 0.5 at most.

    Args:
        probabilities: [rows, intents].
        wanted: [rows] label numbers.
    """
    outside = data.intents.index(OUT_OF_SCOPE)
    best = probabilities.argmax(-1)
    sure = probabilities.max(-1)[(wanted != outside) & (best == wanted)]
    return round(float(min(0.5, np.quantile(sure, 0.005))), 4) if len(sure) else 0.5


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    add_options(parser, TrainConfig)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args(argv)
    train(options_of(args, TrainConfig), args.out, resume=args.resume)
    return 0


if __name__ == "__main__":
    exit_with(main)
