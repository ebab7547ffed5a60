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

import random
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.channel import place_noise, through_codec
from models.checkpoints import load_beginning
from models.configuration import Configuration, add_options, knob, options_of, said
from models.dataset import WITHOUT, Dataset, Row, check_bot, load_split, speech_of
from models.run_directory import Beginning, has_checkpoint
from models.stt.augment import disturb
from models.stt.data import Batch, Batches
from models.stt.network import SttConfig, SttNetwork
from models.stt.realign import realign
from parley.arguments import ArgumentParser
from parley.audio import Pcm
from parley.bot import load_bot
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.runs import Run
from parley.text_files import read_json_object

_FEWEST_LABELS = 8
"""A short or empty utterance counts as if it had so many: its loss is a sum over frames all the same."""
FOLDS = ("none", "all", "synthetic", "0 to 4", "several with a plus between them")
_UNJUDGED = ("all", "synthetic")
"""Folds without recorded dev speakers: there is nothing to choose by, the end of the run is kept."""


@dataclass(frozen=True)
class TrainConfig(Configuration):
    """Every parameter of a training."""

    bot: str = field(metadata=said("name of a bot, or the path of its bot.yaml"))
    data: Path = field(metadata=said("dataset folder made by `parley dataset`"))
    fold: str = knob("none", "recorded speakers kept for testing")
    init: Path | None = knob(None, "begin with the weights of this run instead of random ones")
    noise: Path | None = knob(None, "a place's own noise, of which the first half is trained on")
    seed: int = knob(7, "of every draw")
    steps: int = knob(16000, "batches to learn from", least=1)
    minutes: float = knob(0.0, "stop after this long; 0: no limit", least=0)
    batch: int = knob(10, "utterances in a batch", least=1)
    lr: float = knob(2e-3, "the peak of the learning rate", least=0)
    average: float = knob(0.9995, "decay of the weights' average", least=0, most=1)
    freeze_at: float = knob(0.45, "share of the run before BatchNorm is frozen", least=0, most=1)
    patience: int = knob(12, "looks without a better dev loss before stopping; 0: never", least=0)
    look_every: int = 500
    calibration: int = 60
    """Mixed batches whose average BatchNorm is frozen at."""
    config: SttConfig = field(default_factory=lambda: SttConfig(gate=32))
    """The network's; its language is the bot's."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_fold(self.fold)

    @property
    def frozen_from(self) -> int:
        """The step from which BatchNorm is frozen."""
        return int(self.freeze_at * self.steps)


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


def recalibrate(network: SttNetwork, batches: Batches, count: int) -> None:
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


def check_fold(fold: str) -> None:
    """A fold must be one of those there are.

    Raises:
        ParleyError: it is none.
    """
    named = fold.startswith(WITHOUT) and fold != WITHOUT
    if not (fold in FOLDS[:3] or re.fullmatch(r"[0-4](\+[0-4])*", fold) or named):
        raise ParleyError(f"fold: no {fold!r}", mend=f"choose from {', '.join(FOLDS)}, {WITHOUT}SPEAKER")


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


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`."""

    def __init__(self, config: TrainConfig, run: Path, network: SttNetwork, batches: Batches, dataset: Dataset) -> None:
        """``run`` keeps the realigned words of the recordings."""
        self.config, self.network, self.batches = config, network, batches
        self._dev = dev_set(dataset, batches, config.fold)
        self._spoken = run / "spoken.json"

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=self.config.lr, weight_decay=1e-3, betas=(0.9, 0.98))

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.warm_up_then_cosine(optimizer, self.config.steps, 0.04)

    def prepare(self, step: int) -> bool:
        """BatchNorm is frozen, and the recordings' words are realigned, once the network knows people's phones."""
        begins = step == self.config.frozen_from
        if begins:
            recalibrate(self.network, self.batches, self.config.calibration)
            self.batches.spoken = realign(self.network, self.batches)
            write_json(self._spoken, self.batches.spoken)
        elif step > self.config.frozen_from and not self.batches.spoken and self._spoken.is_file():  # it was resumed
            self.batches.spoken = read_json_object(self._spoken)
        self.network.train()
        if step >= self.config.frozen_from:
            freeze_norms(self.network)
        return begins

    def batch(self, step: int) -> Batch:
        return self.batches.batch(step)

    def loss(self, batch: Batch) -> loop.Loss:
        return loop.Loss(loss_of(self.network, batch))

    def look(self, step: int, averaged: SttNetwork) -> loop.Look:
        """Before BatchNorm is frozen an average has no statistics of its own: the network is judged, for the log."""
        frozen = step > self.config.frozen_from
        half = len(self._dev) // 2
        judged = averaged if frozen else self.network
        clean, noisy = (dev_loss(judged, self.batches, part) for part in (self._dev[:half], self._dev[half:]))
        figures = {"dev_loss": round(clean, 4), "dev_loss_noisy": round(noisy, 4)}
        return loop.Look(figures, clean + noisy if frozen and self.config.fold not in _UNJUDGED else None)


def train(config: TrainConfig, out: Path, *, resume: bool = False) -> Run:
    """Run the whole schedule; the averaged weights land in ``out/best``.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such bot or dataset, or ``resume`` of a run that was started with other parameters.
    """
    bot = load_bot(config.bot)
    config = replace(config, config=replace(config.config, language=bot.speech.tag))
    dataset = load_split(config.data, config.fold, config.seed)
    check_bot(dataset, bot.name)
    loop.seed_everything(config.seed)
    beginning = Beginning("stt", bot.name, config, config.seed, bot)
    run = beginning.run(out, resume=resume, dataset_digest=dataset.digest)
    noise = place_noise(config.noise, "first") if config.noise else None
    batches = Batches(dataset, config.config, seed=config.seed, size=config.batch, noise=noise)
    network = SttNetwork(config.config)
    recipe = Recipe(config, run.path, network, batches, dataset)
    goes_on = resume and has_checkpoint(run.checkpoint_path)
    if config.init and not goes_on:
        load_beginning(config.init, network)
    elif not goes_on:
        set_feature_statistics(network, batches)
    run.figures(parameters=loop.parameter_count(network))
    plan = loop.Plan(
        config.steps, config.look_every, clip=5.0, patience=config.patience, minutes=config.minutes,
        average=loop.Averaging(config.average), keep="last" if config.fold in _UNJUDGED else "best",
    )  # fmt: skip
    outcome = loop.fit(recipe, run, plan, resume=resume)
    run.figures(steps=outcome.steps, best_dev_loss=outcome.best)
    run.finish()
    return run


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True, type=Path, help="run directory")
    add_options(parser, TrainConfig)
    parser.add_argument("--gate", type=int, default=32, help="width of the blocks' gates; 0: none")
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args(argv)
    train(options_of(args, TrainConfig, config=SttConfig(gate=args.gate)), args.out, resume=args.resume)
    return 0


if __name__ == "__main__":
    exit_with(main)
