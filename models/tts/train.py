"""Train the voice: one network, one stage, real durations and pitch shown to the vocoder.

    python -m models.tts.train --bot barista --out runs/tts-barista --seed 7

The encoder sees whole sentences and learns durations and pitch knots; the vocoder learns a random stretch of each
sentence, through the same :meth:`TtsNetwork.stretch` that serves. The loss on samples is a multi-resolution STFT
(Yamamoto et al., 2020). The synthesiser's voice is a function of its text, so no adversary is needed against blur.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.training import (
    Average,
    Clock,
    EarlyStopping,
    load_checkpoint,
    parameter_count,
    save_checkpoint,
    seed_everything,
)
from models.tts.data import HOP, Corpus, build
from models.tts.network import KNOTS, TtsConfig, TtsNetwork
from models.tts.text import PAD
from parley.arguments import ArgumentParser
from parley.bot import load_bot
from parley.command import exit_with
from parley.errors import ParleyError
from parley.progress import progress
from parley.runs import Run

_RESOLUTIONS = (128, 256, 512)


@dataclass(frozen=True)
class TrainConfig:
    """Knobs of training; the network's are in :class:`TtsConfig`."""

    batch: int = 6
    stretch_frames: int = 80
    learning_rate: float = 1.5e-3
    warmup_steps: int = 200
    average_decay: float = 0.998
    checkpoint_every_s: float = 120.0
    validate_every: int = 500
    patience: int = 6
    """Looks at the held-out sentences without improvement before training stops."""


@dataclass(frozen=True)
class Example:
    """One utterance as tensors: symbols, frames, knots (normalised log pitch), how much each knot counts, samples."""

    phones: Tensor
    durations: Tensor
    knots: Tensor
    weight: Tensor
    pcm: Tensor


def pitch_statistics(corpus: Corpus) -> tuple[float, float]:
    """Geometric mean in Hz and spread in nepers of the voiced training frames."""
    logs = np.concatenate([np.log(corpus.pitch[n][corpus.voiced[n] > 0]) for n in corpus.split("train")])
    if len(logs) == 0:
        raise ParleyError("the corpus has no voiced frame", mend="check the recordings")
    return float(np.exp(logs.mean())), max(float(logs.std()), 0.02)


def examples(corpus: Corpus, split: str, config: TtsConfig) -> list[Example]:
    """Tensors of a split; knots are the pitch contour read at thirds of each phone."""
    out = []
    for n in corpus.split(split):
        utterance = corpus.utterances[n]
        frames = np.asarray(utterance.durations)
        ends = np.cumsum(frames)
        at = (ends - frames)[:, None] + frames[:, None] * (np.arange(1, KNOTS + 1) / KNOTS)[None]
        middle = np.arange(len(corpus.pitch[n])) + 0.5
        hz = np.interp(at, middle, corpus.pitch[n])
        weight = np.interp(at, middle, corpus.voiced[n]) + 0.02
        knots = np.log(hz / config.pitch_mean) / config.pitch_spread
        out.append(
            Example(
                torch.tensor(utterance.ids),
                torch.tensor(utterance.durations),
                torch.tensor(knots, dtype=torch.float32),
                torch.tensor(weight, dtype=torch.float32),
                torch.tensor(utterance.pcm, dtype=torch.float32) / 32767.0,
            )  # fmt: skip
        )
    return out


@dataclass(frozen=True)
class Batch:
    """Padded examples and the stretch chosen in each: ``start`` [batch, 1] in frames, ``pcm`` [batch, samples]."""

    phones: Tensor
    durations: Tensor
    knots: Tensor
    weight: Tensor
    start: Tensor
    pcm: Tensor
    shift: Tensor


def collate(chosen: list[Example], frames: int, rng: random.Random) -> Batch:
    """Pad examples and cut a random stretch of ``frames`` from each."""
    longest = max(len(e.phones) for e in chosen)

    def padded(values: list[Tensor]) -> Tensor:
        return torch.stack([F.pad(v, (0, 0) * (v.dim() - 1) + (0, longest - len(v))) for v in values])

    starts, pcm = [], []
    for example in chosen:
        start = rng.randint(0, max(0, len(example.pcm) // HOP - frames))
        cut = example.pcm[start * HOP : (start + frames) * HOP]
        starts.append(start)
        pcm.append(F.pad(cut, (0, frames * HOP - len(cut))))
    return Batch(
        padded([e.phones for e in chosen]), padded([e.durations for e in chosen]),
        padded([e.knots for e in chosen]), padded([e.weight for e in chosen]), torch.tensor(starts).unsqueeze(1),
        torch.stack(pcm), torch.tensor([[rng.randrange(200)] for _ in chosen]),
    )  # fmt: skip


class SpectralLoss(nn.Module):
    """Mean over resolutions of the log magnitudes' distance and the spectral convergence."""

    def __init__(self) -> None:
        super().__init__()
        for size in _RESOLUTIONS:
            self.register_buffer(f"window_{size}", torch.hann_window(size), persistent=False)

    def forward(self, mine: Tensor, theirs: Tensor) -> Tensor:
        """Both fp32 [batch, samples]."""
        total = mine.new_zeros(())
        for size in _RESOLUTIONS:
            a, b = (self._magnitude(x, size) for x in (mine, theirs))
            convergence = (a - b).norm() / b.norm().clamp(min=1e-3)
            total = total + (a.log() - b.log()).abs().mean() + convergence
        return total / len(_RESOLUTIONS)

    def _magnitude(self, x: Tensor, size: int) -> Tensor:
        window = self.get_buffer(f"window_{size}")
        spectrum = torch.stft(x, size, size // 4, window=window, center=False, return_complex=True)
        # The floor is some 70 dB under a vowel: what lies below is not heard on a telephone.
        return (torch.view_as_real(spectrum).square().sum(-1) + 4e-5 * size / 256).sqrt()


def losses(model: TtsNetwork, batch: Batch, spectral: SpectralLoss) -> dict[str, Tensor]:
    """``audio``, ``duration`` (log frames) and ``pitch`` (in spreads), each a mean."""
    hidden, log_frames, pitch = model.encoder(batch.phones)
    real = (batch.phones != PAD).to(torch.float32)
    duration = ((log_frames - batch.durations.clamp(min=1).log()).abs() * real).sum() / real.sum()
    pitch_gap = ((pitch - batch.knots).abs() * batch.weight).sum() / batch.weight.sum()
    frames = batch.pcm.shape[1] // HOP
    pcm = model.stretch(
        hidden, batch.durations, model.to_hz(batch.knots), batch.start, frames, shift=batch.shift
    )  # fmt: skip
    return {"audio": spectral(pcm, batch.pcm), "duration": duration, "pitch": pitch_gap}


def total(parts: dict[str, Tensor]) -> Tensor:
    """The loss that is minimised."""
    return parts["audio"] + 0.5 * parts["duration"] + 0.3 * parts["pitch"]


def learning_rate(config: TrainConfig, step: int, done: float) -> float:
    """Linear warm-up, then a cosine to 2 % as ``done`` goes from 0 to 1."""
    warm = min(1.0, (step + 1) / config.warmup_steps)
    return config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@torch.no_grad()
def validate(model: TtsNetwork, average: Average, held_out: list[Example], spectral: SpectralLoss) -> dict[str, float]:
    """Losses of the averaged weights on held-out sentences, with stretches that do not change."""
    mine = {k: v.clone() for k, v in model.state_dict().items()}
    model.load_state_dict(average.tensors)
    model.eval()
    rng = random.Random(0)
    sums: dict[str, float] = {}
    batches = [held_out[n : n + 16] for n in range(0, min(len(held_out), 64), 16)]
    for chosen in batches:
        for name, value in losses(model, collate(chosen, 100, rng), spectral).items():
            sums[name] = sums.get(name, 0.0) + float(value) / len(batches)
    model.load_state_dict(mine)
    model.train()
    return {f"held_out_{name}": value for name, value in sums.items()}


class TrainingState:
    """Everything that a checkpoint holds: weights, optimiser, averaged weights, early stopping, steps and time."""

    def __init__(self, run: Run, config: TrainConfig, shape: TtsConfig) -> None:
        self.run, self.shape = run, shape
        self.model = TtsNetwork(shape)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=config.learning_rate, betas=(0.9, 0.98), weight_decay=0.01
        )
        self.average = Average(self.model, config.average_decay)
        self.stopping = EarlyStopping(config.patience)
        self.step = 0
        self.begun = time.monotonic()

    @property
    def spent_s(self) -> float:
        """Seconds trained, over all resumes."""
        return time.monotonic() - self.begun

    def save(self) -> None:
        """Write both checkpoints of the run."""
        state = {
            "step": self.step, "spent_s": self.spent_s, "network": self.shape.to_dict(),
            "best": min(self.stopping.best, 1e9), "looks_since_best": self.stopping.looks_since_best,
        }  # fmt: skip
        averaged = TtsNetwork(self.shape)
        averaged.load_state_dict(self.average.tensors)
        save_checkpoint(self.run.path / "average", averaged, None, state)
        save_checkpoint(self.run.checkpoint_path, self.model, self.optimizer, state)

    def restore(self) -> None:
        """Go on from the run's checkpoints.

        Raises:
            ParleyError: there are none.
        """
        averaged = TtsNetwork(self.shape)
        load_checkpoint(self.run.path / "average", averaged)
        self.average.tensors = {k: v.clone() for k, v in averaged.state_dict().items()}
        state = load_checkpoint(self.run.checkpoint_path, self.model, self.optimizer)
        self.step, self.begun = state["step"], time.monotonic() - state["spent_s"]
        self.stopping.best = state.get("best", self.stopping.best)
        self.stopping.looks_since_best = state.get("looks_since_best", 0)


def train(
    corpus: Corpus, run: Run, config: TrainConfig, *, seed: int, steps: int, minutes: float = 0.0, resume: bool = False,
    shape: TtsConfig | None = None, init: Path | None = None,
) -> TtsNetwork:  # fmt: skip
    """Train for ``steps``, or until held-out audio has long stopped improving; the returned network has the averaged
    weights.

    Args:
        minutes: stop after this long and say so; 0: no limit. The same steps on a busy machine take longer, and are the
            same training.
        init: a run whose averaged weights, shape and pitch scale to start from.
    """
    seed_everything(seed)
    at = TrainingState(run, config, _like(init) if init else _scaled(shape or TtsConfig(), corpus))
    if init:
        load_checkpoint(init / "average", at.model)
        at.average = Average(at.model, config.average_decay)
    if resume:
        at.restore()
    training, held_out = examples(corpus, "train", at.shape), examples(corpus, "test", at.shape)
    spectral = SpectralLoss()
    saved = time.monotonic()
    at.model.train()
    clock = Clock(minutes, at.spent_s)
    with progress("training the voice", steps) as bar:
        bar.advance(at.step)
        while at.step < steps and not at.stopping.stop and not clock.over:
            figures = _step(
                at.model, at.optimizer, at.average, training, spectral, config, seed, at.step, at.step / steps
            )
            at.step += 1
            bar.advance()
            if at.step % 50 == 0:
                bar.update(f"training the voice (audio {figures['audio']:.3f}, pitch {figures['pitch']:.3f})")
                run.log(at.step, **figures)
            if held_out and at.step % config.validate_every == 0:
                looked = validate(at.model, at.average, held_out, spectral)
                run.log(at.step, **looked)
                at.stopping.update(looked["held_out_audio"])
            if time.monotonic() - saved > config.checkpoint_every_s:
                at.save()
                saved = time.monotonic()
    clock.say(at.step, steps)
    at.save()
    outcome = {"steps": at.step, "training_s": round(at.spent_s), "parameters": parameter_count(at.model)}
    looked = validate(at.model, at.average, held_out, spectral) if held_out else {}
    run.figures(training={**outcome, **looked})
    at.model.load_state_dict(at.average.tensors)
    return at.model


def _scaled(shape: TtsConfig, corpus: Corpus) -> TtsConfig:
    mean, spread = pitch_statistics(corpus)
    return TtsConfig(**{**shape.to_dict(), "pitch_mean": round(mean, 2), "pitch_spread": round(spread, 4)})


def _like(run: Path) -> TtsConfig:
    """The shape of another run's network.

    Raises:
        ParleyError: it has no checkpoint.
    """
    state = run / "average" / "state.json"
    if not state.is_file():
        raise ParleyError(
            "no weights to begin with", where=str(run),
            mend="--init takes the --out of a training run; a published version holds a graph that cannot be trained",
        )  # fmt: skip
    return TtsConfig(**json.loads(state.read_text(encoding="utf-8"))["network"])


def _step(
    model: TtsNetwork, optimizer: torch.optim.Optimizer, average: Average, training: list[Example],
    spectral: SpectralLoss, config: TrainConfig, seed: int, step: int, done: float,
) -> dict[str, float]:  # fmt: skip
    # Drawn from the step's number alone, so that a resumed run sees what an unbroken one would.
    rng = random.Random(seed * 1_000_003 + step)
    batch = collate(rng.choices(training, k=config.batch), config.stretch_frames, rng)
    rate = learning_rate(config, step, done)
    for group in optimizer.param_groups:
        group["lr"] = rate
    parts = losses(model, batch, spectral)
    loss = total(parts)
    if not torch.isfinite(loss):
        raise ParleyError(f"the loss is not finite at step {step}", mend="resume with a lower --learning-rate")
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    gradient = nn.utils.clip_grad_norm_(model.parameters(), 3.0)
    optimizer.step()
    average.update(model)
    return {"rate": rate, "gradient": float(gradient), **{k: float(v.detach()) for k, v in parts.items()}}


def main(argv: list[str] | None = None) -> int:
    parser = ArgumentParser(description="Train a voice.")
    parser.add_argument("--bot", required=True, help="name of a bot, or the path of its bot.yaml")
    parser.add_argument("--out", type=Path, required=True, help="run directory")
    parser.add_argument("--data", type=Path, help="corpus made by models.tts.data; default: OUT/corpus (made)")
    parser.add_argument("--sentences", type=int, default=1500, help="of the corpus, when it is made here")
    parser.add_argument("--steps", type=int, default=5900, help="batches to learn from")
    parser.add_argument("--minutes", type=float, default=0.0, help="stop after this long; 0: no limit")
    parser.add_argument("--learning-rate", type=float, default=TrainConfig.learning_rate, help="the peak")
    parser.add_argument("--seed", type=int, default=7, help="of every draw")
    parser.add_argument("--init", type=Path, help="a trained run to start from")
    parser.add_argument("--resume", action="store_true", help="continue from the run's checkpoint")
    options = parser.parse_args(argv)
    bot = load_bot(options.bot)
    folder = options.data or options.out / "corpus"
    if options.data:
        from models.tts.data import load

        corpus = load(folder)
    else:
        corpus = build(bot, folder, count=options.sentences, seed=options.seed)
    params = {
        "minutes": options.minutes, "steps": options.steps, "sentences": len(corpus.utterances),
        "learning_rate": options.learning_rate, "data": str(folder), "dataset_digest": corpus.digest,
        "bot_digest": bot.digest, **({"init": options.init.name} if options.init else {}),
    }  # fmt: skip
    run = Run.create(options.out, "tts", bot.name, params, options.seed)
    config = TrainConfig(learning_rate=options.learning_rate)
    train(
        corpus, run, config, seed=options.seed, minutes=options.minutes, steps=options.steps, resume=options.resume,
        init=options.init,
    )  # fmt: skip
    run.finish()
    return 0


if __name__ == "__main__":
    exit_with(main)
