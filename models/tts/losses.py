"""What the voice learns from: sentences as tensors, and the losses of its audio, durations and pitch.

The loss on samples is a multi-resolution STFT (Yamamoto et al., 2020).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.tts.data import HOP, Corpus
from models.tts.network import KNOTS, TtsConfig, TtsNetwork
from models.tts.text import PAD
from parley.errors import ParleyError

_RESOLUTIONS = (128, 256, 512)


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


@torch.no_grad()
def validate(model: TtsNetwork, held_out: list[Example], spectral: SpectralLoss) -> dict[str, float]:
    """Losses on held-out sentences, with stretches that do not change. Leaves the model in eval mode."""
    model.eval()
    rng = random.Random(0)
    sums: dict[str, float] = {}
    batches = [held_out[n : n + 16] for n in range(0, min(len(held_out), 64), 16)]
    for chosen in batches:
        for name, value in losses(model, collate(chosen, 100, rng), spectral).items():
            sums[name] = sums.get(name, 0.0) + float(value) / len(batches)
    return {f"held_out_{name}": value for name, value in sums.items()}
