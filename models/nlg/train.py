"""Train the NLG of a bot: `python -m models.nlg.train --bot barista --out runs/nlg-barista --seed 7`."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.configuration import Configuration, add_options, knob, options_of, said
from models.nlg.client import TOKENIZER
from models.nlg.data import SPECIAL, NlgData, Row, buffer_length, encode, make_data, make_tokenizer
from models.nlg.network import NlgConfig, NlgNetwork, reply_loss
from models.run_directory import Beginning
from parley.arguments import ArgumentParser
from parley.bot import load_bot
from parley.command import exit_with
from parley.files import write_atomic
from parley.runs import Run

UNKNOWN = SPECIAL.index("[UNK]")
Coded = tuple[list[int], list[int]]
"""Token numbers of a row's prompt and of its reply."""


@dataclass(frozen=True)
class TrainConfig(Configuration):
    """Every parameter of a training."""

    bot: str = field(metadata=said("name of a bot, or the path of its bot.yaml"))
    seed: int = knob(7, "of every draw")
    steps: int = knob(800, "batches to learn from", least=1)
    minutes: float = knob(0.0, "stop after this long; 0: no limit", least=0)
    batch: int = knob(32, "sentences in a batch", least=1)
    lr: float = knob(2e-3, "the peak of the learning rate", least=0)
    look_every: int = 100
    patience: int = 8
    """Looks at validation without a lower loss before training stops."""


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`. A batch is ids and reply of :func:`collate`."""

    def __init__(self, config: TrainConfig, network: NlgNetwork, tokenizer: Tokenizer, data: NlgData) -> None:
        self.config, self.network = config, network
        self._coded = {id(row): encode(tokenizer, row) for row in data.rows}
        self._pools = pools(data.train)
        self._judged = [self._coded[id(row)] for row in data.valid or data.train]

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.config.lr, weight_decay=0.05)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.warm_up_then_cosine(optimizer, self.config.steps, 0.05)

    def prepare(self, step: int) -> bool:
        self.network.train()
        return False

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        rng = random.Random(f"{self.config.seed}/{step}")
        return collate([self._coded[id(rng.choice(rng.choice(self._pools)))] for _ in range(self.config.batch)])

    def loss(self, batch: tuple[Tensor, Tensor]) -> loop.Loss:
        ids, reply = batch
        return loop.Loss(reply_loss(self.network(_forgetful(ids, reply)), ids, reply))

    def look(self, step: int, averaged: NlgNetwork) -> loop.Look:
        figure = validation_loss(averaged, self._judged)
        return loop.Look({"valid_loss": round(figure, 5)}, figure)


def train(config: TrainConfig, out: Path, *, resume: bool = False) -> Run:
    """Run the schedule; the best weights by validation loss land in ``out/best``.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such bot, or ``resume`` of a run that was started with other parameters.
    """
    bot = load_bot(config.bot)
    loop.seed_everything(config.seed)
    data = make_data(bot, config.seed)
    beginning = Beginning("nlg", bot.name, config, config.seed, bot)
    run = beginning.run(out, resume=resume, dataset_digest=data.digest)
    tokenizer = make_tokenizer(bot, data)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    network = NlgNetwork(NlgConfig(tokenizer.get_vocab_size(), buffer_length(tokenizer, data)))
    run.write_json("config.json", asdict(network.config))
    run.figures(parameters=loop.parameter_count(network), dataset_digest=data.digest, styles=data.styles,
                rows={"train": len(data.train), "valid": len(data.valid), "test": len(data.test)})  # fmt: skip
    plan = loop.Plan(
        config.steps, config.look_every, clip=1.0, patience=config.patience, minutes=config.minutes
    )  # fmt: skip
    outcome = loop.fit(Recipe(config, network, tokenizer, data), run, plan, resume=resume)
    run.figures(steps=outcome.steps)
    run.finish()
    return run


def pools(rows: list[Row]) -> list[list[Row]]:
    """Rows in pools that are drawn from equally: an act with one reply is not lost among an act with hundreds.

    An act with many rows counts as several pools, one for each eight rows.
    """
    acts: dict[str, list[Row]] = {}
    for row in rows:
        acts.setdefault(row.act, []).append(row)
    return [pool for pool in acts.values() for _ in range(-(-len(pool) // 8))]


def collate(rows: list[Coded]) -> tuple[Tensor, Tensor]:
    """Ids int64 [batch, tokens], and bool [batch, tokens] that is true at the reply's tokens."""
    width = max(len(prompt) + len(reply) for prompt, reply in rows)
    ids = torch.zeros((len(rows), width), dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, (prompt, reply) in enumerate(rows):
        ids[i, : len(prompt) + len(reply)] = torch.tensor(prompt + reply)
        mask[i, len(prompt) : len(prompt) + len(reply)] = True
    return ids, mask


def _forgetful(ids: Tensor, reply: Tensor, share: float = 0.15) -> Tensor:
    """Some reply tokens hidden from the network: what comes next must be read from the prompt, not learnt by heart.

    Word dropout of Bowman et al. 2016, "Generating Sentences from a Continuous Space".
    """
    hidden = reply & (torch.rand(ids.shape) < share)
    return ids.masked_fill(hidden, UNKNOWN)


@torch.no_grad()
def validation_loss(network: NlgNetwork, rows: list[Coded]) -> float:
    """Cross-entropy a reply token."""
    network.eval()
    ids, reply = collate(rows)
    return float(reply_loss(network(ids), ids, reply))


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
