"""Train voice activity: ``python -m models.vad.train --data DATASET``.

It learns from synthetic callers alone, in made noises (:mod:`models.noises`) at 0 to 35 dB: no recorded person's
speech decides when Parley listens, so recordings can all test it. Where speech is, the dry audio's energy says.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from models.channel import place_noise
from models.dataset import Dataset, Row, load_dataset
from models.noises import NoiseBank
from models.stt.augment import Disturbance, disturb
from models.training import seed_everything
from models.vad.client import DILATIONS, FEATURES, HIDDEN, WEIGHTS, Levels, Weights, band_levels, power
from parley.arguments import ArgumentParser
from parley.audio import FRAME_SAMPLES, SAMPLE_RATE, Pcm
from parley.command import exit_with
from parley.progress import progress

_SECONDS = 7
_FRAMES = _SECONDS * SAMPLE_RATE // FRAME_SAMPLES
_BELOW_PEAK_DB = 36.0
_BRIDGED = 8
"""Gaps of up to 160 ms within speech are speech."""
_CALLS = Disturbance(noisy=0.85, snr_db=(0.0, 35.0), room=0.3, lost=0.15, overloaded=0.05, any_level=0.0)


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
    speech = level > max(15.0, float(level.max(initial=0)) - _BELOW_PEAK_DB)
    at = np.flatnonzero(speech)
    for left, right in zip(at, at[1:], strict=False):
        if right - left <= _BRIDGED:
            speech[left:right] = True
    return speech


def example(rows: list[Row], dataset: Dataset, bank: NoiseBank, rng: random.Random) -> tuple[Tensor, Tensor]:
    """One call of 7 s with an utterance or two in it, or none: features and labels."""
    dry, at = np.zeros(_SECONDS * SAMPLE_RATE, dtype=np.int16), int(rng.uniform(0.1, 2.5) * SAMPLE_RATE)
    if rng.random() < 0.08:
        at = len(dry)
    while at < len(dry):
        said = dataset.dry(rng.choice(rows))
        if rng.random() < 0.35:
            said = _fragment(said, rng)
        speed = rng.uniform(0.85, 1.18)
        said = np.interp(np.arange(0, len(said) - 1, speed), np.arange(len(said)), said).astype(np.int16)
        dry[at : at + len(said)] = said[: len(dry) - at]
        at += len(said) + int(rng.uniform(0.5, 4.0) * SAMPLE_RATE)
    heard = disturb(dry, rng, bank, _CALLS)
    levels = Levels()
    features = np.stack([levels.push(row) for row in band_levels(power(heard.reshape(-1, FRAME_SAMPLES)))])
    return torch.from_numpy(features), torch.from_numpy(speech_frames(dry).astype(np.float32))


def _fragment(said: Pcm, rng: random.Random) -> Pcm:
    """80 to 500 ms of an utterance: a word of assent, or a caller cut short. Speech does not always last."""
    length = int(rng.uniform(0.08, 0.5) * SAMPLE_RATE)
    start = rng.randint(0, max(0, len(said) - length))
    piece = said[start : start + length].astype(np.float32)
    ramp = np.minimum(1, np.arange(len(piece)) / 80)
    return (piece * ramp * ramp[::-1]).astype(np.int16)


def train(data: Path, out: Path, *, examples: int, steps: int, seed: int, noise: Path | None = None) -> float:
    """Train, write ``out`` and return the share of held-out frames that are right."""
    seed_everything(seed)
    dataset, rng = load_dataset(data), random.Random(f"vad|{seed}")
    rows = dataset.split("train", "synthetic")
    talkers = [dataset.dry(r) for r in rng.sample(rows, min(200, len(rows)))]
    recorded = place_noise(noise, "first") if noise else None
    bank, drawn = NoiseBank.make(seed, talkers, recorded=recorded), []
    with progress("vad: calls", examples) as bar:
        for _ in range(examples):
            drawn.append(example(rows, dataset, bank, rng))
            bar.advance()
    x, y = torch.stack([f for f, _ in drawn]), torch.stack([s for _, s in drawn])
    held = max(1, examples // 20)
    network = VadNetwork()
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    with progress("vad: train", steps) as bar:
        for _ in range(steps):
            chosen = torch.randint(held, len(x), (24,))
            loss = F.binary_cross_entropy_with_logits(network(x[chosen]), y[chosen])
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            bar.advance()
    np.savez(out, **vars(network.weights()))
    with torch.no_grad():
        return float(((network(x[:held]) > 0) == (y[:held] > 0.5)).float().mean())


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and train."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="dataset folder made by `parley dataset`")
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--examples", type=int, default=3000)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--noise", type=Path, help="a place's own noise, of which the first half is trained on")
    args = parser.parse_args(argv)
    how = {"examples": args.examples, "steps": args.steps, "seed": args.seed, "noise": args.noise}
    right = train(args.data, args.out, **how)
    print(f"{right:.1%} of held-out frames right")


if __name__ == "__main__":
    exit_with(main)
