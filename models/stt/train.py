"""Train the STT: ``python -m models.stt.train --bot barista --data DATASET --out RUN``.

One schedule: BatchNorm learns its statistics in the first part, is then recalibrated on mixed batches and frozen,
and the rest of the run trains what serving will compute. An exponential average of the weights is what is kept.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.dataset import Row, load_dataset
from models.stt.data import Batch, Batches
from models.stt.network import SttConfig, SttNetwork
from models.training import (
    Average,
    EarlyStopping,
    load_checkpoint,
    parameter_count,
    save_checkpoint,
    seed_everything,
    warm_up_then_cosine,
)
from parley.bot import load_bot
from parley.command import exit_with
from parley.progress import progress
from parley.runs import Run

_LOOK_EVERY = 400
"""Steps between looks at the dev set, each with a checkpoint."""


def loss_of(network: SttNetwork, batch: Batch) -> Tensor:
    """CTC over phones, with 0.3 of it at the middle of the network."""
    final, middle = network(batch.pcm, batch.mel, batch.mask)
    losses = [
        F.ctc_loss(x.transpose(0, 1), batch.labels, batch.frames, batch.label_lengths, zero_infinity=True)
        for x in (final, middle)
    ]
    return 0.7 * losses[0] + 0.3 * losses[1]


def set_feature_statistics(network: SttNetwork, batches: Batches) -> None:
    """Centre and scale the log-mel features by what training audio looks like."""
    with torch.no_grad():
        seen = torch.cat(
            [network.features.log_mel(batches.batch(i, mixed=True).pcm / 32768.0).flatten(0, 1) for i in range(10)]
        )
    # Padding is digital silence: leave it out of the statistics.
    seen = seen[seen.mean(dim=1) > seen.min() + 0.5]
    network.features.offset.copy_(seen.mean(dim=0))
    network.features.scale.copy_(1.0 / seen.std(dim=0))


def recalibrate(network: SttNetwork, batches: Batches, count: int = 60) -> None:
    """Set BatchNorm's statistics to the plain average over mixed batches (train and serve then agree)."""
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # cumulative average
    network.train()
    with torch.no_grad():
        for number in range(count):
            network(batches.batch(number, mixed=True).pcm)


def freeze_norms(network: SttNetwork) -> None:
    """Let BatchNorm use its statistics and keep them; its scale and shift go on learning."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.eval()


@torch.no_grad()
def dev_loss(network: SttNetwork, batches: Batches, rows: list[tuple[Row, Any]]) -> float:
    """Mean CTC loss a phone on dev recordings through their own line."""
    network.eval()
    total, phones = 0.0, 0
    for start in range(0, len(rows), 10):
        part = rows[start : start + 10]
        labels = [batches.labels(row) for row, _ in part]
        batch = batches.collate([pcm for _, pcm in part], labels, None, augment=False)
        final, _ = network(batch.pcm)
        loss = F.ctc_loss(
            final.transpose(0, 1), batch.labels, batch.frames, batch.label_lengths, reduction="sum", zero_infinity=True
        )
        total, phones = total + float(loss), phones + int(batch.label_lengths.sum())
    return total / max(1, phones)


def train(args: argparse.Namespace) -> Run:
    """Run the whole schedule; see :func:`main` for the arguments."""
    bot, dataset, config = load_bot(args.bot), load_dataset(args.data), SttConfig()
    seed_everything(args.seed)
    run = Run.create(
        args.out, "stt", bot.name,
        {"data": str(args.data), "dataset_digest": dataset.digest, "bot_digest": bot.digest, "steps": args.steps,
         "batch": args.batch, "peak_lr": args.lr, "freeze_at": args.freeze_at, "config": asdict(config)}, args.seed,
    )  # fmt: skip
    batches = Batches(dataset, config, seed=args.seed, size=args.batch)
    network = SttNetwork(config)
    set_feature_statistics(network, batches)
    optimizer = torch.optim.AdamW(network.parameters(), lr=args.lr, weight_decay=1e-3, betas=(0.9, 0.98))
    average = Average(network, 0.9995)
    stopping = EarlyStopping(patience=args.patience)
    step = 0
    if args.resume and (run.checkpoint_path / "state.json").is_file():
        state = load_checkpoint(run.checkpoint_path, network, optimizer)
        step, stopping.best, stopping.looks_since_best = state["step"], state["best"], state["looks_since_best"]
        held = SttNetwork(config)
        load_checkpoint(run.path / "average", held)
        average.tensors = {k: v.detach().clone() for k, v in held.state_dict().items()}
    # Dev is recordings where there are any: synthetic voices say little about people.
    dev_rows = [r for r in dataset.split("dev", "recording") if r.text] or [r for r in dataset.split("dev") if r.text][
        :100
    ]
    dev = [(row, _cut(dataset.heard(row), row)) for row in dev_rows]
    frozen_from = int(args.freeze_at * args.steps)
    run.figures(parameters=parameter_count(network))

    with progress("stt", args.steps) as bar:
        bar.advance(step)
        while step < args.steps and not stopping.stop:
            if step == frozen_from:
                recalibrate(network, batches)
                average = Average(network, 0.9995)
            network.train()
            if step >= frozen_from:
                freeze_norms(network)
            for group in optimizer.param_groups:
                group["lr"] = args.lr * warm_up_then_cosine(step, args.steps, 0.04)
            loss = loss_of(network, batches.batch(step))
            optimizer.zero_grad()
            loss.backward()
            norm = nn.utils.clip_grad_norm_(network.parameters(), 5.0)
            if torch.isfinite(norm):
                optimizer.step()
            average.update(network)
            step += 1
            bar.advance()
            if step % _LOOK_EVERY == 0 or step == args.steps:
                _look(run, network, average, optimizer, batches, dev, stopping, step, float(loss.detach()), frozen_from)
    run.figures(steps=step, best_dev_loss=stopping.best)
    run.finish()
    return run


def _look(
    run: Run, network: SttNetwork, average: Average, optimizer: torch.optim.Optimizer, batches: Batches,
    dev: list[tuple[Row, Any]], stopping: EarlyStopping, step: int, loss: float, frozen_from: int,
) -> None:  # fmt: skip
    """Judge the averaged weights on dev and write the checkpoint."""
    judged = SttNetwork(network.config)
    judged.load_state_dict(average.tensors if step > frozen_from else network.state_dict())
    figure = dev_loss(judged, batches, dev)
    better = stopping.update(figure) if step > frozen_from else False
    run.log(step, train_loss=round(loss, 4), dev_loss=round(figure, 4))
    average_model = SttNetwork(network.config)
    average_model.load_state_dict(average.tensors)
    save_checkpoint(run.path / "average", average_model, None, {})
    if better:
        save_checkpoint(run.path / "best", judged, None, {"step": step, "dev_loss": figure})
    state = {"step": step, "best": stopping.best, "looks_since_best": stopping.looks_since_best}
    save_checkpoint(run.checkpoint_path, network, optimizer, state)


def _cut(pcm: Any, row: Row) -> Any:
    start, end = max(0.0, row.speech_start_s - 0.3), row.speech_end_s + 0.3
    return pcm[int(start * 8000) : int(end * 8000)]


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bot", required=True, help="name of a bot, or the path of its bot.yaml")
    parser.add_argument("--data", required=True, type=Path, help="dataset folder made by `parley dataset`")
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--steps", type=int, default=14000)
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--freeze-at", type=float, default=0.45, help="share of the run before BatchNorm is frozen")
    parser.add_argument("--patience", type=int, default=12, help="looks without a better dev loss before stopping")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    exit_with(main)
