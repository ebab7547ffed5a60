"""Train the NLU of a bot: `python -m models.nlu.train --bot barista --out runs/nlu-barista --seed 7`."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from models.fitting import check_same_run
from models.nlu.client import LABELS, TOKENIZER, Labels, encode
from models.nlu.data import MAX_TOKENS, OUT_OF_SCOPE, Example, NluData, Sizes, make_data, make_tokenizer
from models.nlu.network import NluConfig, NluNetwork, joint_loss
from models.training import (
    Clock,
    EarlyStopping,
    load_checkpoint,
    parameter_count,
    save_checkpoint,
    seed_everything,
    warm_up_then_cosine,
)
from parley.arguments import ArgumentParser
from parley.bot import Bot, load_bot
from parley.command import exit_with
from parley.files import write_atomic
from parley.progress import progress
from parley.runs import Run

IGNORED = -100


@dataclass(frozen=True)
class TrainParams:
    """The knobs of a run."""

    steps: int = 1000
    minutes: float = 0.0
    """Stop after this much wall time; 0 for no limit."""
    batch: int = 64
    lr: float = 1.5e-3
    look_every: int = 100
    patience: int = 5
    rows: int = 16000
    """Training rows to draw; validation and test are 1,500 and 3,000, or fewer when this is less."""

    def sizes(self) -> Sizes:
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


def train(source: str | Path, out: Path, seed: int, params: TrainParams, *, resume: bool = False) -> Run:
    """Run the schedule; the best weights by validation loss land in ``out/best``, calibrated.

    Raises:
        ParleyError: ``resume`` of a run that was started with other parameters.
    """
    bot = load_bot(source)
    seed_everything(seed)
    asked = {**asdict(params), "bot_path": str(source), "bot_digest": bot.digest}
    if resume:
        check_same_run(out, asked, free=("minutes",))
    run = Run.create(out, "nlu", bot.name, asked, seed)
    data = make_data(bot, seed, params.sizes())
    tokenizer = make_tokenizer(bot, data.train)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    encoder = Encoder(tokenizer, data)
    network = NluNetwork(
        NluConfig(tokenizer.get_vocab_size(), len(data.intents), len(data.tags), max_tokens=MAX_TOKENS)
    )
    run.write_json("config.json", asdict(network.config))
    run.figures(parameters=parameter_count(network), dataset_digest=data.digest,
                rows={"train": len(data.train), "valid": len(data.valid), "test": len(data.test)})  # fmt: skip
    _fit(run, network, encoder, data, seed, params, resume)
    load_checkpoint(run.path / "best", network)
    _calibrate(run, network, encoder, data, bot)
    run.finish()
    return run


def _fit(
    run: Run, network: NluNetwork, encoder: Encoder, data: NluData, seed: int, params: TrainParams, resume: bool
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=params.lr, weight_decay=0.01)
    stopping, step = EarlyStopping(params.patience), 0
    if resume and run.checkpoint_path.exists():
        state = load_checkpoint(run.checkpoint_path, network, optimizer)
        step, stopping.best, stopping.looks_since_best = state["step"], state["best"], state["looks"]
    clock = Clock(params.minutes)
    with progress("nlu", params.steps) as bar:
        bar.advance(step)
        while step < params.steps and not stopping.stop and not clock.over:
            # The rows of a step depend on seed and step alone: a resumed run sees what it would have seen.
            batch = encoder.batch(random.Random(f"{seed}/{step}").choices(data.train, k=params.batch))
            for group in optimizer.param_groups:
                group["lr"] = params.lr * warm_up_then_cosine(step, params.steps, 0.05)
            network.train()
            intents, tags = network(batch.ids, batch.mask)
            loss = joint_loss(intents, tags, batch.intents, batch.tags)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            bar.advance()
            if step % params.look_every == 0 or step == params.steps:
                figure = validation_loss(network, encoder, data.valid)
                run.log(step, train_loss=round(loss.item(), 5), valid_loss=round(figure, 5))
                if stopping.update(figure):
                    save_checkpoint(run.path / "best", network, None, {"step": step, "valid_loss": figure})
                state = {"step": step, "best": stopping.best, "looks": stopping.looks_since_best}
                save_checkpoint(run.checkpoint_path, network, optimizer, state)
    clock.say(step, params.steps)
    if not (run.path / "best").exists():  # stopped by the clock before the first look
        save_checkpoint(run.path / "best", network, None, {"step": step})
    run.figures(steps=step)


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


def choose_threshold(probabilities: np.ndarray, wanted: np.ndarray, data: NluData) -> float:
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
    usual = TrainParams()
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--bot", required=True, help="name of a bot, or the path of its bot.yaml")
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    parser.add_argument("--seed", type=int, default=7, help="of every draw")
    parser.add_argument("--steps", type=int, default=usual.steps, help="batches to learn from")
    parser.add_argument("--minutes", type=float, default=usual.minutes, help="stop after this long; 0: no limit")
    parser.add_argument("--rows", type=int, default=usual.rows, help="training sentences to draw")
    parser.add_argument("--batch", type=int, default=usual.batch, help="sentences in a batch")
    parser.add_argument("--lr", type=float, default=usual.lr, help="the peak of the learning rate")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    args = parser.parse_args(argv)
    params = TrainParams(args.steps, args.minutes, args.batch, args.lr, rows=args.rows)
    train(args.bot, args.out, args.seed, params, resume=args.resume)
    return 0


if __name__ == "__main__":
    exit_with(main)
