"""Train the voice: one network, one stage, real durations and pitch shown to the vocoder.

    python -m models.tts.train --bot barista --out runs/tts-barista --seed 7

The encoder sees whole sentences and learns durations and pitch knots; the vocoder learns a random stretch of each
sentence, through the same :meth:`TtsNetwork.stretch` that serves. The synthesiser's voice is a function of its text,
so no adversary is needed against blur.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.checkpoints import load_beginning
from models.configuration import Configuration, add_options, knob, options_of, said
from models.run_directory import Beginning, has_checkpoint, read_run_json, weights_to_begin_with
from models.tts.data import Corpus, build, load
from models.tts.losses import (
    Batch,
    Example,
    SpectralLoss,
    collate,
    examples,
    losses,
    pitch_statistics,
    total,
    validate,
)
from models.tts.network import TtsConfig, TtsNetwork
from parley.arguments import ArgumentParser
from parley.bot import Bot, load_bot
from parley.command import exit_with
from parley.runs import Run
from parley.text_files import read_json_object


@dataclass(frozen=True)
class TrainConfig(Configuration):
    """Every parameter of a training."""

    bot: str = field(metadata=said("name of a bot, or the path of its bot.yaml"))
    data: Path | None = knob(None, "corpus made by models.tts.data; default: OUT/corpus (made)")
    sentences: int = knob(1500, "of the corpus, when it is made here", least=1)
    steps: int = knob(5900, "batches to learn from", least=1)
    minutes: float = knob(0.0, "stop after this long; 0: no limit", least=0)
    learning_rate: float = knob(1.5e-3, "the peak", least=0)
    seed: int = knob(7, "of every draw")
    init: Path | None = knob(None, "a trained run to start from: its weights, shape and pitch scale")
    batch: int = 6
    stretch_frames: int = 80
    warmup_steps: int = 200
    average_decay: float = 0.998
    validate_every: int = 500
    patience: int = 6
    """Looks at the held-out sentences without improvement before training stops."""
    network: TtsConfig = field(default_factory=TtsConfig)
    """Its shape; the scale of its pitch comes from the corpus."""


def learning_rate(config: TrainConfig, step: int, peak: float) -> float:
    """Linear warm-up, then a cosine to 2 % over the run."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    done = min(1.0, step / config.steps)
    return peak * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`."""

    def __init__(self, config: TrainConfig, network: TtsNetwork, corpus: Corpus) -> None:
        self.config, self.network = config, network
        self._training, self._held_out = (examples(corpus, split, network.config) for split in ("train", "test"))
        self._spectral = SpectralLoss()

    def optimizer(self) -> torch.optim.Optimizer:
        rate = self.config.learning_rate
        return torch.optim.AdamW(self.network.parameters(), lr=rate, betas=(0.9, 0.98), weight_decay=0.01)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.PerStep(optimizer, lambda step, peak: learning_rate(self.config, step, peak))

    def prepare(self, step: int) -> bool:
        self.network.train()
        return False

    def batch(self, step: int) -> Batch:
        rng = random.Random(self.config.seed * 1_000_003 + step)
        chosen: list[Example] = rng.choices(self._training, k=self.config.batch)
        return collate(chosen, self.config.stretch_frames, rng)

    def loss(self, batch: Batch) -> loop.Loss:
        parts = losses(self.network, batch, self._spectral)
        return loop.Loss(total(parts), parts)

    def look(self, step: int, averaged: TtsNetwork) -> loop.Look:
        figures = validate(averaged, self._held_out, self._spectral) if self._held_out else {}
        return loop.Look(figures, figures.get("held_out_audio"))


def train(config: TrainConfig, out: Path, *, resume: bool = False) -> Run:
    """Train to the plan's end, or until held-out audio has long stopped improving; the averaged weights of the end
    land in ``out/best``.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such bot or corpus, or ``resume`` of a run that was started with other parameters.
    """
    bot = load_bot(config.bot)
    if resume:  # before a corpus is made in the place of the training's
        Beginning("tts", bot.name, config, config.seed, bot).check_resumed(out)
    if config.data:
        corpus = load(config.data)
    else:
        corpus = build(bot, out / "corpus", count=config.sentences, seed=config.seed)
    return train_on(corpus, bot, config, out, resume=resume)


def train_on(corpus: Corpus, bot: Bot, config: TrainConfig, out: Path, *, resume: bool = False) -> Run:
    """:func:`train` on a corpus that is there.

    Raises:
        ParleyError: ``resume`` of a run that was started with other parameters; no run to start from.
    """
    loop.seed_everything(config.seed)
    run = Beginning("tts", bot.name, config, config.seed, bot).run(out, resume=resume, dataset_digest=corpus.digest)
    if resume and has_checkpoint(run.checkpoint_path):
        network = TtsNetwork(TtsConfig(**read_run_json(run, "config.json")))
    elif config.init:
        network = TtsNetwork(shape_of(config.init))
        load_beginning(config.init, network)
    else:
        network = TtsNetwork(_scaled(config.network, corpus))
    run.write_json("config.json", network.config.to_dict())
    plan = loop.Plan(
        config.steps, config.validate_every, clip=3.0, log_every=50, patience=config.patience, minutes=config.minutes,
        average=loop.Averaging(config.average_decay), keep="last",
    )  # fmt: skip
    outcome = loop.fit(Recipe(config, network, corpus), run, plan, resume=resume)
    parameters = loop.parameter_count(network)
    training = {"steps": outcome.steps, "training_s": round(outcome.spent_s), "parameters": parameters}
    run.figures(training={**training, **outcome.look.figures})
    run.finish()
    return run


def shape_of(run: Path) -> TtsConfig:
    """The shape of a run's network; an earlier Parley kept it with the weights.

    Raises:
        ParleyError: it has no weights, or is damaged.
    """
    kept, described = weights_to_begin_with(run), run / "config.json"
    if described.is_file():
        return TtsConfig(**read_json_object(described))
    return TtsConfig(**read_json_object(kept / "state.json")["network"])


def _scaled(shape: TtsConfig, corpus: Corpus) -> TtsConfig:
    """The shape with what the corpus decides: the symbols of its language, and the voice's pitch."""
    mean, spread = pitch_statistics(corpus)
    symbols = len(corpus.lexicon.symbols)
    return replace(shape, symbols=symbols, pitch_mean=round(mean, 2), pitch_spread=round(spread, 4))


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description="Train a voice.")
    parser.add_argument("--out", type=Path, required=True, help="run directory")
    add_options(parser, TrainConfig)
    parser.add_argument("--resume", action="store_true", help="continue the run in --out")
    args = parser.parse_args(argv)
    train(options_of(args, TrainConfig), args.out, resume=args.resume)
    return 0


if __name__ == "__main__":
    exit_with(main)
