"""Train voice activity: ``python -m models.vad.train --data DATASET``; the weights go into ``--out``.

It learns from synthetic callers alone, in made noises (:mod:`models.noises`) at 0 to 35 dB: no recorded person's
speech decides when Parley listens, so recordings can all test it. Where speech is, the dry audio's energy says.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from models import loop
from models.channel import place_noise
from models.checkpoints import load_checkpoint
from models.configuration import Configuration, add_options, knob, options_of, said
from models.dataset import Dataset, Row, load_dataset
from models.noises import NoiseBank
from models.run_directory import Beginning, finished_run
from models.stt.augment import Disturbance, disturb
from models.vad.client import DILATIONS, FEATURES, HIDDEN, WEIGHTS, Levels, Weights, band_levels, power
from parley.arguments import ArgumentParser
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm
from parley.command import exit_with
from parley.progress import progress
from parley.runs import Run

_PEAK = 4e-3
_BATCH = 24
_SECONDS = 7
_BELOW_PEAK_DB = 36.0
_BRIDGED = 8
"""Gaps of up to 160 ms within speech are speech."""
_CALLS = Disturbance(noisy=0.85, snr_db=(0.0, 35.0), room=0.3, lost=0.15, overloaded=0.05, any_level=0.0)


@dataclass(frozen=True)
class TrainConfig(Configuration):
    """Every parameter of a training."""

    data: Path = field(metadata=said("dataset folder made by `parley dataset`"))
    examples: int = knob(3000, "calls to draw; a twentieth of them is kept for testing", least=2)
    steps: int = knob(6000, "batches to learn from", least=1)
    seed: int = knob(7, "of every draw")
    noise: Path | None = knob(None, "a place's own noise, of which the first half is trained on")
    look_every: int = 500


class VadNetwork(nn.Module):
    """The network of :mod:`models.vad.client`, to train."""

    def __init__(self) -> None:
        super().__init__()
        widths = [FEATURES, HIDDEN, HIDDEN]
        self.layers = nn.ModuleList(nn.Conv1d(w, HIDDEN, 3, dilation=d) for w, d in zip(widths, DILATIONS, strict=True))
        self.output = nn.Linear(HIDDEN, 1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits ``[batch, frames]`` of ``[batch, frames, FEATURES]``."""
        x = features.transpose(1, 2)
        for layer, dilation in zip(self.layers, DILATIONS, strict=True):
            x = F.relu(layer(F.pad(x, (2 * dilation, 0))))
        return torch.as_tensor(self.output(x.transpose(1, 2))[:, :, 0])

    def weights(self) -> Weights:
        """For the running side."""
        first, second, third = (
            np.ascontiguousarray(layer.get_parameter("weight").detach().numpy().transpose(2, 1, 0))
            for layer in self.layers
        )
        biases = [layer.get_parameter("bias").detach().numpy() for layer in self.layers]
        output, output_bias = self.output.weight.detach().numpy()[0], self.output.bias.detach().numpy()
        return Weights(first, biases[0], second, biases[1], third, biases[2], output, output_bias)


def speech_frames(dry: Pcm) -> NDArray[np.bool_]:
    """Which 20 ms frames of noiseless audio hold speech."""
    frames = dry[: len(dry) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES).astype(np.float32)
    level = 10 * np.log10(np.mean(frames**2, axis=1) + 1)
    speech: NDArray[np.bool_] = level > max(15.0, float(level.max(initial=0)) - _BELOW_PEAK_DB)
    at = np.flatnonzero(speech)
    for left, right in zip(at, at[1:], strict=False):
        if right - left <= _BRIDGED:
            speech[left:right] = True
    return speech


def example(rows: list[Row], dataset: Dataset, bank: NoiseBank, rng: random.Random) -> tuple[Tensor, Tensor]:
    """One call of 7 s with an utterance or two in it, or none: features and labels."""
    dry, at = np.zeros(_SECONDS * TELEPHONE_RATE, dtype=np.int16), int(rng.uniform(0.1, 2.5) * TELEPHONE_RATE)
    if rng.random() < 0.08:
        at = len(dry)
    while at < len(dry):
        said = dataset.dry(rng.choice(rows))
        if rng.random() < 0.35:
            said = _fragment(said, rng)
        speed = rng.uniform(0.85, 1.18)
        said = np.interp(np.arange(0, len(said) - 1, speed), np.arange(len(said)), said).astype(np.int16)
        dry[at : at + len(said)] = said[: len(dry) - at]
        at += len(said) + int(rng.uniform(0.5, 4.0) * TELEPHONE_RATE)
    heard = disturb(dry, rng, bank, _CALLS)
    levels = Levels()
    features = np.stack([levels.push(row) for row in band_levels(power(heard.reshape(-1, FRAME_SAMPLES)))])
    return torch.from_numpy(features), torch.from_numpy(speech_frames(dry).astype(np.float32))


def _fragment(said: Pcm, rng: random.Random) -> Pcm:
    """80 to 500 ms of an utterance: a word of assent, or a caller cut short. Speech does not always last."""
    length = int(rng.uniform(0.08, 0.5) * TELEPHONE_RATE)
    start = rng.randint(0, max(0, len(said) - length))
    piece = said[start : start + length].astype(np.float32)
    ramp = np.minimum(1, np.arange(len(piece)) / 80)
    faded: Pcm = (piece * ramp * ramp[::-1]).astype(np.int16)
    return faded


def draw_examples(config: TrainConfig, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Features ``[examples, frames, FEATURES]`` and labels ``[examples, frames]`` of calls that nobody made."""
    rng, rows = random.Random(f"vad|{config.seed}"), dataset.split("train", "synthetic")
    talkers = [dataset.dry(r) for r in rng.sample(rows, min(200, len(rows)))]
    recorded = place_noise(config.noise, "first") if config.noise else None
    bank, drawn = NoiseBank.make(config.seed, talkers, recorded=recorded), []
    with progress("vad: calls", config.examples) as bar:
        for _ in range(config.examples):
            drawn.append(example(rows, dataset, bank, rng))
            bar.advance()
    return torch.stack([f for f, _ in drawn]), torch.stack([s for _, s in drawn])


class Recipe:
    """What the training loop is given; see :class:`models.loop.Recipe`. A batch is features and labels."""

    def __init__(self, config: TrainConfig, network: VadNetwork, features: Tensor, labels: Tensor) -> None:
        self.config, self.network, self._features, self._labels = config, network, features, labels
        self._held = max(1, config.examples // 20)

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=_PEAK, weight_decay=1e-3)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return OneCycleLR(optimizer, _PEAK, total_steps=self.config.steps)

    def prepare(self, step: int) -> bool:
        self.network.train()
        return False

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randint(self._held, len(self._features), (_BATCH,))
        return self._features[chosen], self._labels[chosen]

    def loss(self, batch: tuple[Tensor, Tensor]) -> loop.Loss:
        features, labels = batch
        return loop.Loss(F.binary_cross_entropy_with_logits(self.network(features), labels))

    @torch.no_grad()
    def look(self, step: int, averaged: VadNetwork) -> loop.Look:
        held = slice(0, self._held)
        right = (averaged(self._features[held]) > 0) == (self._labels[held] > 0.5)
        return loop.Look({"held_out_right": float(right.float().mean())})


def train(config: TrainConfig, out: Path, *, resume: bool = False) -> Run:
    """Train; the weights of the end land in ``out/best``, the share of held-out frames that are right in its figures.

    Args:
        config: every parameter.
        out: the run directory.
        resume: go on with the run in ``out``, where there is one.

    Raises:
        ParleyError: no such dataset, or ``resume`` of a run that was started with other parameters.
    """
    loop.seed_everything(config.seed)
    dataset = load_dataset(config.data)
    beginning = Beginning("vad", dataset.bot, config, config.seed)
    run = beginning.run(out, resume=resume, dataset_digest=dataset.digest)
    features, labels = draw_examples(config, dataset)
    recipe = Recipe(config, VadNetwork(), features, labels)
    plan = loop.Plan(config.steps, config.look_every, clip=1.0, keep="last")
    outcome = loop.fit(recipe, run, plan, resume=resume)
    run.figures(steps=outcome.steps, **outcome.look.figures)
    run.finish()
    return run


def export(run: Run, out: Path = WEIGHTS) -> Path:
    """Write the weights as the running side reads them.

    Raises:
        ParleyError: not a finished run of a voice activity.
    """
    network = VadNetwork()
    load_checkpoint(finished_run(run.path, "vad").path / "best", network)
    np.savez(out, **vars(network.weights()))
    return out


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    add_options(parser, TrainConfig)
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="where the weights go")
    parser.add_argument("--run", type=Path, default=Path("runs/vad"), help="run directory")
    parser.add_argument("--resume", action="store_true", help="continue the run in --run")
    args = parser.parse_args(argv)
    run = train(options_of(args, TrainConfig), args.run, resume=args.resume)
    export(run, args.out)
    print(f"{run.figures()['held_out_right']:.1%} of held-out frames right")
    return 0


if __name__ == "__main__":
    exit_with(main)
