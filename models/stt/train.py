"""Train the STT: ``python -m models.stt.train --bot barista --data DATASET --out RUN``.

One schedule: BatchNorm learns its statistics in the first part, is then recalibrated on mixed batches and frozen,
and the rest of the run trains what serving will compute. There the recordings' words are realigned, too. An
exponential average of the weights is what is kept.

``--fold 0`` to ``4`` trains for the cross-validation: that fold's recorded speakers are kept for testing. ``--fold
all`` trains on every recorded speaker and keeps the end of the run: the recipe for a release, once folds have shown
what it is worth. ``--fold synthetic`` hears no recorded speaker at all: its weights may be where every fold begins
(``--init RUN --freeze-at 0``), which saves each of them the first half; ``--fold 1+2`` hears whom folds 1 and 2 both
may hear, and is a beginning for those two. ``--fold without:NAME`` leaves one recorded speaker out: for data of few
speakers; ``without:ONE+OTHER`` is a beginning for both.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.channel import place_noise, through_codec
from models.dataset import WITHOUT, Dataset, Row, check_bot, load_split, speech_of
from models.stt.augment import disturb
from models.stt.data import Batch, Batches
from models.stt.network import SttConfig, SttNetwork
from models.stt.realign import realign
from models.training import (
    Average,
    EarlyStopping,
    load_beginning,
    load_checkpoint,
    parameter_count,
    save_checkpoint,
    seed_everything,
    warm_up_then_cosine,
)
from parley.arguments import ArgumentParser
from parley.audio import Pcm
from parley.bot import load_bot
from parley.command import exit_with
from parley.files import write_json
from parley.progress import progress
from parley.runs import Run

_LOOK_EVERY = 500
"""Steps between looks at the dev set, each with a checkpoint."""
_FEWEST_LABELS = 8
"""A short or empty utterance counts as if it had so many: its loss is a sum over frames all the same."""
FOLDS = ("none", "all", "synthetic", "0 to 4", "several with a plus between them")


def loss_of(network: SttNetwork, batch: Batch) -> Tensor:
    """CTC over phones, with 0.3 of it at the middle of the network."""
    final, middle = network(batch.pcm, batch.mel, batch.mask)
    length = batch.label_lengths.clamp(min=_FEWEST_LABELS)
    losses = [(_ctc(x, batch) / length).mean() for x in (final, middle)]
    return 0.7 * losses[0] + 0.3 * losses[1]


def _ctc(log_probs: Tensor, batch: Batch) -> Tensor:
    """CTC loss of each utterance, ``[batch]``."""
    return F.ctc_loss(
        log_probs.transpose(0, 1), batch.labels, batch.frames, batch.label_lengths, reduction="none", zero_infinity=True
    )


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
def dev_loss(network: SttNetwork, batches: Batches, rows: list[tuple[Row, Pcm]]) -> float:
    """Mean CTC loss a phone on dev utterances as they are heard."""
    network.eval()
    total, phones = 0.0, 0
    for start in range(0, len(rows), 10):
        part = rows[start : start + 10]
        batch = batches.collate([pcm for _, pcm in part], [batches.labels(r) for r, _ in part], None, augment=False)
        final, _ = network(batch.pcm)
        total, phones = total + float(_ctc(final, batch).sum()), phones + int(batch.label_lengths.sum())
    return total / max(1, phones)


def fold_name(text: str) -> str:
    """The ``--fold`` of a command line."""
    if text in FOLDS[:3] or re.fullmatch(r"[0-4](\+[0-4])*", text) or (text.startswith(WITHOUT) and text != WITHOUT):
        return text
    raise argparse.ArgumentTypeError(f"choose from {', '.join(FOLDS)}, {WITHOUT}SPEAKER")


def dev_set(dataset: Dataset, batches: Batches, fold: str) -> list[tuple[Row, Pcm]]:
    """Every dev recording twice: over a clean mu-law line and in a noisy call drawn once.

    Recordings where there are any, else synthetic voices: those say little about people. Both where speakers are left
    out: then the recordings are of speakers that training knows.
    """
    voices = [r for r in dataset.split("dev", "synthetic") if r.text][:60]
    rows = [r for r in dataset.split("dev", "recording") if r.text]
    rows = rows + voices if fold.startswith(WITHOUT) else rows or voices
    clean = [(row, through_codec(speech_of(dataset.heard(row), row), "ulaw")) for row in rows]
    rng = random.Random("dev")
    return clean + [(row, disturb(speech_of(dataset.dry(row), row), rng, batches.bank, batches.calls)) for row in rows]


class Training:
    """One run: its weights, their average, and where it is."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, bot = args, load_bot(args.bot)
        config = SttConfig(gate=args.gate, language=bot.speech.tag)
        dataset = load_split(args.data, args.fold, args.seed)
        check_bot(dataset, bot.name)
        seed_everything(args.seed)
        self.run = Run.create(
            args.out, "stt", bot.name,
            {"data": str(args.data), "fold": args.fold, "dataset_digest": dataset.digest, "bot_digest": bot.digest,
             "steps": args.steps, "batch": args.batch, "peak_lr": args.lr, "freeze_at": args.freeze_at,
             "init": str(args.init or ""), "noise": str(args.noise or ""), "config": asdict(config)}, args.seed,
        )  # fmt: skip
        noise = place_noise(args.noise, "first") if args.noise else None
        self.batches = Batches(dataset, config, seed=args.seed, size=args.batch, noise=noise)
        self.dev = dev_set(dataset, self.batches, args.fold)
        self.network = SttNetwork(config)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=args.lr, weight_decay=1e-3, betas=(0.9, 0.98))
        self.stopping = EarlyStopping(patience=args.patience)
        self.step, self.frozen_from = 0, int(args.freeze_at * args.steps)
        if args.resume and (self.run.checkpoint_path / "state.json").is_file():
            self._resume()
        else:
            if args.init:
                load_beginning(args.init, self.network)
            else:
                set_feature_statistics(self.network, self.batches)
            self.average = Average(self.network, args.average)
        self.run.figures(parameters=parameter_count(self.network))

    @property
    def spoken_path(self) -> Path:
        """Where the realigned words of the recordings lie."""
        return self.run.path / "spoken.json"

    def _resume(self) -> None:
        state = load_checkpoint(self.run.checkpoint_path, self.network, self.optimizer)
        self.step = state["step"]
        self.stopping.best, self.stopping.looks_since_best = state["best"], state["looks_since_best"]
        held = SttNetwork(self.network.config)
        load_checkpoint(self.run.path / "average", held)
        self.average = Average(held, self.args.average)
        if self.step > self.frozen_from and self.spoken_path.is_file():
            self.batches.spoken = json.loads(self.spoken_path.read_text(encoding="utf-8"))

    def go(self) -> Run:
        """Train to the end, or until dev has not got better for long."""
        with progress("stt", self.args.steps) as bar:
            bar.advance(self.step)
            while self.step < self.args.steps and not self.stopping.stop:
                loss = self._one_step()
                bar.advance()
                if self.step % _LOOK_EVERY == 0 or self.step == self.args.steps:
                    self._look(loss)
        self.run.figures(steps=self.step, best_dev_loss=self.stopping.best)
        self.run.finish()
        return self.run

    def _one_step(self) -> float:
        if self.step == self.frozen_from:
            self._freeze()
        self.network.train()
        if self.step >= self.frozen_from:
            freeze_norms(self.network)
        for group in self.optimizer.param_groups:
            group["lr"] = self.args.lr * warm_up_then_cosine(self.step, self.args.steps, 0.04)
        loss = loss_of(self.network, self.batches.batch(self.step))
        self.optimizer.zero_grad()
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), 5.0)
        if torch.isfinite(norm):
            self.optimizer.step()
        self.average.update(self.network)
        self.step += 1
        return float(loss.detach())

    def _freeze(self) -> None:
        recalibrate(self.network, self.batches)
        self.batches.spoken = realign(self.network, self.batches)
        write_json(self.spoken_path, self.batches.spoken)
        self.average = Average(self.network, self.args.average)

    def _look(self, loss: float) -> None:
        """Judge the averaged weights on dev and write the checkpoint."""
        frozen = self.step > self.frozen_from
        judged = SttNetwork(self.network.config)
        judged.load_state_dict(self.average.tensors if frozen else self.network.state_dict())
        half = len(self.dev) // 2
        clean, noisy = (dev_loss(judged, self.batches, part) for part in (self.dev[:half], self.dev[half:]))
        # Without recorded dev speakers there is nothing to choose by: the last look is kept.
        figure = clean + noisy if self.args.fold not in ("all", "synthetic") else -float(self.step)
        better = self.stopping.update(figure) if frozen else False
        self.run.log(self.step, train_loss=round(loss, 4), dev_loss=round(clean, 4), dev_loss_noisy=round(noisy, 4))
        average = SttNetwork(self.network.config)
        average.load_state_dict(self.average.tensors)
        save_checkpoint(self.run.path / "average", average, None, {})
        if better:
            save_checkpoint(self.run.path / "best", judged, None, {"step": self.step, "dev_loss": figure})
        state: dict[str, Any] = {"step": self.step, "best": self.stopping.best}
        state["looks_since_best"] = self.stopping.looks_since_best
        save_checkpoint(self.run.checkpoint_path, self.network, self.optimizer, state)


def train(args: argparse.Namespace) -> Run:
    """Run the whole schedule; see :func:`main` for the arguments."""
    return Training(args).go()


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--bot", required=True, help="name of a bot, or the path of its bot.yaml")
    parser.add_argument("--data", required=True, type=Path, help="dataset folder made by `parley dataset`")
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    parser.add_argument("--fold", type=fold_name, default="none", help="recorded speakers kept for testing")
    parser.add_argument("--init", type=Path, help="begin with the weights of this run instead of random ones")
    parser.add_argument("--noise", type=Path, help="a place's own noise, of which the first half is trained on")
    parser.add_argument("--seed", type=int, default=7, help="of every draw")
    parser.add_argument("--steps", type=int, default=16000, help="batches to learn from")
    parser.add_argument("--batch", type=int, default=10, help="utterances in a batch")
    parser.add_argument("--lr", type=float, default=2e-3, help="the peak of the learning rate")
    parser.add_argument("--gate", type=int, default=32, help="width of the blocks' gates; 0: none")
    parser.add_argument("--average", type=float, default=0.9995, help="decay of the weights' average")
    parser.add_argument("--freeze-at", type=float, default=0.45, help="share of the run before BatchNorm is frozen")
    parser.add_argument("--patience", type=int, default=12, help="looks without a better dev loss before stopping")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    train(parser.parse_args(argv))


if __name__ == "__main__":
    exit_with(main)
