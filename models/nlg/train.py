"""Train the NLG of a bot: `python -m models.nlg.train --bot barista --out runs/nlg-barista --seed 7`."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from models.fitting import check_same_run
from models.nlg.client import BOT, TOKENIZER
from models.nlg.data import SPECIAL, NlgData, Row, buffer_length, encode, make_data, make_tokenizer
from models.nlg.network import NlgConfig, NlgNetwork, reply_loss
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
from parley.bot import load_bot
from parley.command import exit_with
from parley.files import canonical_json, write_atomic
from parley.progress import progress
from parley.runs import Run

UNKNOWN = SPECIAL.index("[UNK]")


@dataclass(frozen=True)
class TrainParams:
    """The knobs of a run."""

    steps: int = 800
    minutes: float = 0.0
    """Stop after this much wall time; 0 for no limit."""
    batch: int = 32
    lr: float = 2e-3
    look_every: int = 100
    patience: int = 8


def train(source: str | Path, out: Path, seed: int, params: TrainParams, *, resume: bool = False) -> Run:
    """Run the schedule; the best weights by validation loss land in ``out/best``.

    Args:
        source: a bot's name, or the path of its file.
        out: the run directory.
        seed: of the weights, the splits and the batches.
        params: the knobs.
        resume: continue from the checkpoint in ``out``.

    Raises:
        ParleyError: no such bot, or ``resume`` of a run that was started with other parameters.
    """
    bot = load_bot(source)
    seed_everything(seed)
    asked = {**asdict(params), "bot_path": str(source), "bot_digest": bot.digest}
    if resume:
        check_same_run(out, asked, free=("minutes",))
    run = Run.create(out, "nlg", bot.name, asked, seed)
    data = make_data(bot, seed)
    tokenizer = make_tokenizer(bot, data)
    write_atomic(out / TOKENIZER, tokenizer.to_str())
    write_atomic(out / BOT, canonical_json(bot.model_dump(mode="json")))
    network = NlgNetwork(NlgConfig(tokenizer.get_vocab_size(), buffer_length(tokenizer, data)))
    run.write_json("config.json", asdict(network.config))
    run.figures(parameters=parameter_count(network), dataset_digest=data.digest, styles=data.styles,
                rows={"train": len(data.train), "valid": len(data.valid), "test": len(data.test)})  # fmt: skip
    _fit(run, network, tokenizer, data, seed, params, resume)
    run.finish()
    return run


def _fit(
    run: Run, network: NlgNetwork, tokenizer: Tokenizer, data: NlgData, seed: int, params: TrainParams, resume: bool
) -> None:
    optimizer = torch.optim.AdamW(network.parameters(), lr=params.lr, weight_decay=0.05)
    stopping, step = EarlyStopping(params.patience), 0
    if resume and run.checkpoint_path.exists():
        state = load_checkpoint(run.checkpoint_path, network, optimizer)
        step, stopping.best, stopping.looks_since_best = state["step"], state["best"], state["looks"]
    rows = {id(row): encode(tokenizer, row) for row in data.rows}
    pools = _pools(data.train)
    judged = data.valid or data.train
    clock = Clock(params.minutes)
    with progress("nlg", params.steps) as bar:
        bar.advance(step)
        while step < params.steps and not stopping.stop and not clock.over:
            # The rows of a step depend on seed and step alone: a resumed run sees what it would have seen.
            rng = random.Random(f"{seed}/{step}")
            ids, reply = collate([rows[id(rng.choice(rng.choice(pools)))] for _ in range(params.batch)])
            for group in optimizer.param_groups:
                group["lr"] = params.lr * warm_up_then_cosine(step, params.steps, 0.05)
            network.train()
            loss = reply_loss(network(_forgetful(ids, reply)), ids, reply)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            step += 1
            bar.advance()
            if step % params.look_every == 0 or step == params.steps:
                figure = validation_loss(network, [rows[id(row)] for row in judged])
                run.log(step, train_loss=round(loss.item(), 5), valid_loss=round(figure, 5))
                if stopping.update(figure):
                    save_checkpoint(run.path / "best", network, None, {"step": step, "valid_loss": figure})
                state = {"step": step, "best": stopping.best, "looks": stopping.looks_since_best}
                save_checkpoint(run.checkpoint_path, network, optimizer, state)
    clock.say(step, params.steps)
    if not (run.path / "best").exists():  # stopped by the clock before the first look
        save_checkpoint(run.path / "best", network, None, {"step": step})
    run.figures(steps=step)


def _pools(rows: list[Row]) -> list[list[Row]]:
    """Rows in pools that are drawn from equally: an act with one reply is not lost among an act with hundreds.

    An act with many rows counts as several pools, one for each eight rows.
    """
    acts: dict[str, list[Row]] = {}
    for row in rows:
        acts.setdefault(row.act, []).append(row)
    return [pool for pool in acts.values() for _ in range(-(-len(pool) // 8))]


def collate(rows: list[tuple[list[int], list[int]]]) -> tuple[Tensor, Tensor]:
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
def validation_loss(network: NlgNetwork, rows: list[tuple[list[int], list[int]]]) -> float:
    """Cross-entropy a reply token."""
    network.eval()
    ids, reply = collate(rows)
    return float(reply_loss(network(ids), ids, reply))


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    usual = TrainParams()
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--bot", required=True, help="name of a bot, or the path of its bot.yaml")
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    parser.add_argument("--seed", type=int, default=7, help="of every draw")
    parser.add_argument("--steps", type=int, default=usual.steps, help="batches to learn from")
    parser.add_argument("--minutes", type=float, default=usual.minutes, help="stop after this long; 0: no limit")
    parser.add_argument("--batch", type=int, default=usual.batch, help="sentences in a batch")
    parser.add_argument("--lr", type=float, default=usual.lr, help="the peak of the learning rate")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    args = parser.parse_args(argv)
    params = TrainParams(args.steps, args.minutes, args.batch, args.lr)
    train(args.bot, args.out, args.seed, params, resume=args.resume)
    return 0


if __name__ == "__main__":
    exit_with(main)
