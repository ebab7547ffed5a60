"""Batches for the STT: every utterance through a freshly drawn line, speed and vocal tract.

Batch ``n`` of a run is a pure function of (dataset, seed, n): an interrupted run continues with the very batches it
would have seen.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.channel import apply, draw_channel
from models.dataset import Dataset, Row
from models.pronunciation import pronunciations
from models.stt.network import HOP, LABELS, N_MELS, STRIDE, SttConfig, mel_filters
from parley.audio import SAMPLE_RATE, Pcm

FRAME_SAMPLES = STRIDE * HOP
_POOL = 3
_WARPS = tuple(0.88 + 0.03 * i for i in range(9))
_INDEX = {phone: i for i, phone in enumerate(LABELS)}


@dataclass
class Batch:
    """One training batch."""

    pcm: Tensor  # [batch, n] float32 sample values, flush included
    frames: Tensor  # [batch] int64, valid output frames
    labels: Tensor  # [sum of label lengths] int64
    label_lengths: Tensor  # [batch] int64
    mel: Tensor | None  # [batch, bins, N_MELS]
    mask: Tensor | None  # [batch, feature frames, 2 * N_MELS]


class Batches:
    """Draws batches from a dataset's training split, part recordings, part synthetic."""

    def __init__(
        self, dataset: Dataset, config: SttConfig, *, seed: int, size: int = 10, recorded_share: float = 0.4
    ) -> None:
        self.config, self.seed, self.size = config, seed, size
        rows = [r for r in dataset.split("train") if r.text]
        self.recorded = [r for r in rows if r.source == "recording"]
        self.synthetic = [r for r in rows if r.source == "synthetic"]
        if not self.synthetic:
            recorded_share = 1.0
        self.recorded_share = recorded_share if self.recorded else 0.0
        self.audio = {r.id: dataset.dry(r) for r in rows}
        self.lexicon = pronunciations(word for r in rows for word in (r.text or "").split())
        self.warped = torch.stack([mel_filters(w) for w in _WARPS])
        self.babble = self._babble()

    def _babble(self) -> NDArray[np.float32]:
        """Eight synthetic talkers at once, 30 s: noise that is speech."""
        rng = random.Random(f"babble|{self.seed}")
        out = np.zeros(30 * SAMPLE_RATE, dtype=np.float32)
        pool = self.synthetic or self.recorded
        for _ in range(8):
            position = 0
            while position < len(out):
                said = self.audio[rng.choice(pool).id].astype(np.float32)
                end = min(len(out), position + len(said))
                out[position:end] += said[: end - position]
                position = end
        return out

    def batch(self, number: int, *, augment: bool = True, mixed: bool = False) -> Batch:
        """Batch ``number`` of the run.

        Three batches are drawn together and share their rows out by length, which saves a fifth of the padding;
        ``mixed`` draws without regard to length, as BatchNorm's statistics want it.
        """
        share = 1 if mixed else _POOL
        draw = random.Random(f"{self.seed}|{number // share}|{mixed}")
        pool = [
            draw.choice(self.recorded if draw.random() < self.recorded_share else self.synthetic)
            for _ in range(self.size * share)
        ]
        pool.sort(key=lambda row: row.speech_end_s - row.speech_start_s)
        order = draw.sample(range(share), share)
        first = order[number % share] * self.size
        rows = pool[first : first + self.size]
        rng = random.Random(f"{self.seed}|{number}|{mixed}|lines")
        return self.collate([self._hear(r, rng) for r in rows], [self.labels(r, rng) for r in rows], rng, augment)

    def _hear(self, row: Row, rng: random.Random) -> Pcm:
        pcm = self.audio[row.id]
        start = max(0.0, row.speech_start_s - rng.uniform(0.1, 0.5))
        end = row.speech_end_s + rng.uniform(0.1, 0.5)
        cut = pcm[int(start * SAMPLE_RATE) : int(end * SAMPLE_RATE)]
        # Recorded people keep their own room and line more often than a clean synthesiser does.
        channel = draw_channel(rng, noisy=0.5 if row.source == "recording" else 0.75)
        return apply(change_speed(cut, rng.uniform(0.87, 1.15)), channel, self.babble)

    def labels(self, row: Row, rng: random.Random | None = None) -> list[int]:
        """CTC labels of a row's text.

        The usual form of a word most of the time (always, without ``rng``): the recordings' labels do not say which
        form was spoken.
        """
        words = (row.text or "").split()
        self._pronounce(words)
        forms = [rng.choice(self.lexicon[w]) if rng and rng.random() > 0.7 else self.lexicon[w][0] for w in words]
        return [_INDEX[p] for form in forms for p in form.split()]

    def _pronounce(self, words: list[str]) -> None:
        if unknown := [w for w in words if w not in self.lexicon]:
            self.lexicon.update(pronunciations(unknown))

    def collate(self, heard: list[Pcm], labels: list[list[int]], rng: random.Random | None, augment: bool) -> Batch:
        """Pad, and draw the batch's warps and masks."""
        flush = -(-self.config.flush_samples // FRAME_SAMPLES)
        frames = [-(-len(p) // FRAME_SAMPLES) + flush for p in heard]
        pcm = torch.zeros(len(heard), max(frames) * FRAME_SAMPLES)
        for row, samples in zip(pcm, heard, strict=True):
            row[: len(samples)] = torch.from_numpy(samples.astype(np.float32))
        mel = mask = None
        if augment and rng:
            mel = self.warped[[rng.randrange(len(_WARPS)) for _ in heard]]
            mask = torch.stack([_spec_mask(max(frames) * STRIDE, rng) for _ in heard])
        flat = torch.tensor([i for label in labels for i in label], dtype=torch.int64)
        lengths = torch.tensor([len(label) for label in labels])
        return Batch(pcm, torch.tensor(frames), flat, lengths, mel, mask)


def change_speed(pcm: Pcm, speed: float) -> Pcm:
    """Play ``[n]`` samples ``speed`` times as fast, pitch and formants included (Ko et al. 2015)."""
    n = int(len(pcm) / speed)
    return np.interp(np.arange(n) * speed, np.arange(len(pcm)), pcm).astype(np.int16)


def _spec_mask(frames: int, rng: random.Random) -> Tensor:
    """SpecAugment (Park et al. 2019), small: two bands of up to 6 mels, up to three gaps of up to 80 ms."""
    mask = torch.ones(frames, 2 * N_MELS)
    for _ in range(2):
        width = rng.randint(0, 6)
        low = rng.randint(0, N_MELS - width)
        mask[:, low : low + width] = 0
        mask[:, N_MELS + low : N_MELS + low + width] = 0
    for _ in range(rng.randint(0, 3)):
        width = rng.randint(1, 8)
        at = rng.randint(0, max(0, frames - width))
        mask[at : at + width] = 0
    return mask
