"""Batches for the STT: every utterance through a freshly drawn call, speed and vocal tract.

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

from models.dataset import Dataset, Row, speech_of
from models.noises import NoiseBank
from models.pronunciation import pronunciations
from models.stt.augment import Disturbance, disturb
from models.stt.network import HOP, N_MELS, STRIDE, SttConfig, mel_filters
from models.stt.splice import Piece, Splicer, read_words
from parley.audio import TELEPHONE_RATE, Pcm
from parley.language import language_of

FRAME_SAMPLES = STRIDE * HOP
_WARPS = tuple(0.88 + 0.03 * i for i in range(9))


@dataclass(frozen=True)
class Mix:
    """What a batch is drawn from, as shares."""

    recorded: float = 0.55
    spliced: float = 0.5
    """Of the recorded."""
    silent: float = 0.04
    """Nothing but noise, to be heard as nothing."""
    pool: int = 6
    """Batches drawn together that share their rows out by length: less padding."""


@dataclass
class Batch:
    """One training batch."""

    pcm: Tensor  # [batch, n] float32 sample values, flush included
    frames: Tensor  # [batch] int64, valid output frames
    labels: Tensor  # [sum of label lengths] int64
    label_lengths: Tensor  # [batch] int64
    mel: Tensor | None  # [batch, bins, N_MELS]
    mask: Tensor | None  # [batch, feature frames, 2 * N_MELS]


@dataclass(frozen=True)
class _Item:
    """What one place of a batch holds: a row as it was said, pieces of several, or nothing."""

    row: Row | None
    pieces: tuple[Piece, ...] = ()

    @property
    def seconds(self) -> float:
        if self.pieces:
            return sum(p.end - p.start for p in self.pieces) / TELEPHONE_RATE
        return self.row.speech_end_s - self.row.speech_start_s if self.row else 1.5


class Batches:
    """Draws batches from a dataset's training split, part recordings, part synthetic."""

    def __init__(
        self, dataset: Dataset, config: SttConfig, *, seed: int, size: int = 10, mix: Mix | None = None,
        calls: Disturbance | None = None, noise: NDArray[np.float32] | None = None,
    ) -> None:  # fmt: skip
        self.config, self.seed, self.size, self.mix, self.calls = config, seed, size, mix or Mix(), calls
        rows = [r for r in dataset.split("train") if r.text]
        self.recorded = [r for r in rows if r.source == "recording"]
        self.synthetic = [r for r in rows if r.source == "synthetic"]
        self.recorded_share = 0.0 if not self.recorded else 1.0 if not self.synthetic else self.mix.recorded
        self.audio = {r.id: dataset.dry(r) for r in rows}
        self.language = language_of(config.language)
        self._index = {phone: i for i, phone in enumerate(config.labels)}
        words = (w for r in rows for w in (r.text or "").split())
        self.lexicon = pronunciations(words, self.language, dataset.path / "lexicon.json")
        self.spoken: dict[str, list[str]] = {}
        """Row id to the form of each word that was really spoken, where that is known (:mod:`models.stt.realign`)."""
        self.splicer = Splicer(rows, self.audio, read_words(dataset))
        self.warped = torch.stack([mel_filters(w) for w in _WARPS])
        talkers = random.Random(f"babble|{seed}").sample(rows, min(300, len(rows)))
        self.bank = NoiseBank.make(seed, [self.audio[r.id] for r in talkers], recorded=noise)

    def batch(self, number: int, *, augment: bool = True, mixed: bool = False) -> Batch:
        """Batch ``number`` of the run.

        A pool of batches is drawn together and shares its rows out by length; ``mixed`` draws without regard to
        length, as BatchNorm's statistics want it.
        """
        share = 1 if mixed else self.mix.pool
        draw = random.Random(f"{self.seed}|{number // share}|{mixed}")
        pool = [self._draw(draw) for _ in range(self.size * share)]
        pool.sort(key=lambda item: item.seconds)
        order = draw.sample(range(share), share)
        first = order[number % share] * self.size
        items = pool[first : first + self.size]
        rng = random.Random(f"{self.seed}|{number}|{mixed}|lines")
        return self.collate([self._hear(i, rng) for i in items], [self._said(i, rng) for i in items], rng, augment)

    def _draw(self, draw: random.Random) -> _Item:
        if draw.random() < self.mix.silent:
            return _Item(None)
        if draw.random() >= self.recorded_share:
            row = draw.choice(self.synthetic)
            spliced = self.splicer.isolated(row)
        else:
            row = draw.choice(self.recorded)
            spliced = draw.random() < self.mix.spliced or self.splicer.isolated(row)
        pieces = self.splicer.draw(row, draw) if spliced else []
        return _Item(row, tuple(pieces))

    def _hear(self, item: _Item, rng: random.Random) -> Pcm:
        around = [rng.uniform(0.1, 0.5) if rng.random() < 0.8 else rng.uniform(0.5, 1.5) for _ in range(2)]
        before, after = (int(s * TELEPHONE_RATE) for s in around)
        if item.row is None:
            cut = np.zeros(before + after + TELEPHONE_RATE, dtype=np.int16)
        elif item.pieces:
            cut = _padded(self.splicer.join(item.pieces, rng), -before, after)
        else:
            start, end = (round(s * TELEPHONE_RATE) for s in (item.row.speech_start_s, item.row.speech_end_s))
            cut = _padded(self.audio[item.row.id], start - before, end + after - len(self.audio[item.row.id]))
        return disturb(change_speed(cut, rng.uniform(0.85, 1.18)), rng, self.bank, self.calls)

    def spoken_audio(self, row: Row) -> Pcm:
        """A training row as it was recorded, 300 ms around the speech."""
        return speech_of(self.audio[row.id], row)

    def _said(self, item: _Item, rng: random.Random) -> list[int]:
        if item.row is None:
            return []
        if not item.pieces:
            return self.labels(item.row, rng)
        return [
            i for p in item.pieces for form in self._forms(p.row, rng)[p.first : p.last] for i in self._phones(form)
        ]

    def labels(self, row: Row, rng: random.Random | None = None) -> list[int]:
        """CTC labels of a row's text."""
        return [i for form in self._forms(row, rng) for i in self._phones(form)]

    def _phones(self, form: str) -> list[int]:
        return [self._index[p] for p in form.split()]

    def _forms(self, row: Row, rng: random.Random | None) -> list[str]:
        """A form of each word: the one that was spoken where that is known; else the usual one most of the time
        (always, without ``rng``)."""
        if row.id in self.spoken:
            return self.spoken[row.id]
        words = (row.text or "").split()
        if unknown := [w for w in words if w not in self.lexicon]:
            self.lexicon.update(pronunciations(unknown, self.language))
        return [rng.choice(self.lexicon[w]) if rng and rng.random() > 0.7 else self.lexicon[w][0] for w in words]

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


def _padded(pcm: Pcm, start: int, beyond: int) -> Pcm:
    """Samples from ``start`` to ``beyond`` the end (either may lie inside or outside), silence where there are none."""
    cut = pcm[max(0, start) : len(pcm) + min(0, beyond)]
    return np.pad(cut, (max(0, -start), max(0, beyond)))


def change_speed(pcm: Pcm, speed: float) -> Pcm:
    """Play ``[n]`` samples ``speed`` times as fast, pitch and formants included (Ko et al. 2015)."""
    n = int(len(pcm) / speed)
    return np.interp(np.arange(n) * speed, np.arange(len(pcm)), pcm).astype(np.int16)


def _spec_mask(frames: int, rng: random.Random) -> Tensor:
    """SpecAugment (Park et al. 2019), small: two bands of up to 7 mels, up to three gaps of up to 100 ms."""
    mask = torch.ones(frames, 2 * N_MELS)
    for _ in range(2):
        width = rng.randint(0, 7)
        low = rng.randint(0, N_MELS - width)
        mask[:, low : low + width] = 0
        mask[:, N_MELS + low : N_MELS + low + width] = 0
    for _ in range(rng.randint(0, 3)):
        width = rng.randint(1, 10)
        at = rng.randint(0, max(0, frames - width))
        mask[at : at + width] = 0
    return mask
