"""The voice: phones to samples, one graph, any stretch of the utterance for itself.

A phone encoder says how long each phone lasts and how its pitch runs (three knots a phone). A frame decoder turns a
stretch of frames into two filters: one for a pulse train at that pitch, one for noise. Both excitations are filtered
in the short-time spectrum and added up again (harmonic plus noise: Serra and Smith, 1990; trained through the
synthesis as in DDSP: Engel et al., 2020; inverse STFT as the last layer as in Vocos: Siuzdak, 2023). The pulse filter
is minimum phase, computed from its log magnitude by the cepstrum, as a vocal tract's is.

Nothing is carried from piece to piece: the pulse's phase at a frame is a closed form of durations and knots, the noise
is a table looked up by absolute sample, and convolutions get their receptive field of frames on both sides. So pieces
laid end to end are the whole.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.tts.text import PAD, input_symbols
from parley.audio import TELEPHONE_RATE
from parley.language import DEFAULT, language_of

KNOTS = 3
"""Pitch values a phone: at a third, two thirds and the end of it; its start is the end of the phone before."""
_BLOCKS = 5
"""Hops that a window touches."""
_NOISE_SECONDS = 2
_TOP_HZ = 3900.0


@dataclass(frozen=True)
class TtsConfig:
    """Shape of the network; exported with it."""

    symbols: int = len(input_symbols(language_of(DEFAULT).sounds.spoken))
    encoder_width: int = 160
    encoder_layers: int = 5
    decoder_width: int = 192
    decoder_layers: int = 4
    kernel: int = 5
    expansion: int = 3
    hop: int = 80
    n_fft: int = 256
    piece_frames: int = 50
    pitch_mean: float = 170.0
    """Hz: geometric mean of the voice."""
    pitch_spread: float = 0.2
    """Standard deviation of the voice's log pitch."""

    @property
    def bins(self) -> int:
        """Frequencies of the short-time spectrum."""
        return self.n_fft // 2 + 1

    @property
    def context(self) -> int:
        """Frames a stretch needs on each side: the decoder's receptive field and the window's reach."""
        return self.decoder_layers * (self.kernel // 2) + _BLOCKS // 2

    def to_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        return asdict(self)


class Block(nn.Module):
    """ConvNeXt block (Liu et al., 2022) over time: depthwise convolution, norm, two linear layers, residual."""

    def __init__(self, width: int, kernel: int, expansion: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, width * expansion)
        self.down = nn.Linear(width * expansion, width)
        self.scale = nn.Parameter(torch.full((width,), 0.3))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x`` [batch, time, width] and ``mask`` [batch, time, 1], which keeps what is outside silent."""
        y = self.depthwise((x * mask).transpose(1, 2)).transpose(1, 2)
        return x + self.scale * self.down(F.silu(self.up(self.norm(y))))


class Encoder(nn.Module):
    """Phones to hidden states, log durations and pitch knots."""

    def __init__(self, config: TtsConfig) -> None:
        super().__init__()
        width = config.encoder_width
        self.embedding = nn.Embedding(config.symbols, width)
        self.blocks = nn.ModuleList(
            Block(width, config.kernel + 4, config.expansion) for _ in range(config.encoder_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.duration = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
        self.pitch = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, KNOTS))

    def forward(self, phones: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``phones`` [batch, phones] -> hidden [batch, phones, width], log frames [batch, phones], normalised
        log pitch [batch, phones, KNOTS]."""
        mask = (phones != PAD).to(torch.float32).unsqueeze(-1)
        x = self.embedding(phones)
        for block in self.blocks:
            x = block(x, mask)
        x = self.norm(x) * mask
        return x, self.duration(x).squeeze(-1) + 2.0, self.pitch(x)


@dataclass
class Frames:
    """What a stretch of frames knows about its phones. All [batch, frames]; frames may lie outside the utterance."""

    phone: Tensor
    inside: Tensor
    """1.0 within the utterance."""
    position: Tensor
    """Of the frame's middle within its phone, 0 to 1."""
    duration: Tensor
    phase: Tensor
    """Cycles at the frame's left edge, modulo 1."""
    advance: Tensor
    """Cycles within the frame."""


def _contour(knots: Tensor, at: Tensor) -> Tensor:
    """Piecewise linear pitch at relative positions ``at`` [batch, frames]; ``knots`` [batch, frames, KNOTS + 1]."""
    value = knots[..., 0]
    for n in range(KNOTS):
        value = value + (at * KNOTS - n).clamp(0, 1) * (knots[..., n + 1] - knots[..., n])
    return value


def _cycles(knots: Tensor, until: Tensor) -> Tensor:
    """Integral of :func:`_contour` from 0 to ``until`` (1 is the phone's end)."""
    total = torch.zeros_like(until)
    for n in range(KNOTS):
        t = (until * KNOTS - n).clamp(0, 1)
        total = total + (knots[..., n] * t + 0.5 * (knots[..., n + 1] - knots[..., n]) * t * t) / KNOTS
    return total


def locate(durations: Tensor, knots_hz: Tensor, frames: Tensor, hop: int) -> tuple[Frames, Tensor]:
    """Find the phone, place and pulse phase of absolute frame numbers.

    Args:
        durations: int64 [batch, phones], 0 for padding.
        knots_hz: fp32 [batch, phones, KNOTS].
        frames: int64 [batch, n], may be negative or beyond the end.
        hop: samples a frame.

    Returns:
        the frames, and their pitch in Hz [batch, n].
    """
    ends = durations.cumsum(1)
    begins = ends - durations
    last = ((durations > 0).to(torch.int64).sum(1, keepdim=True) - 1).clamp(min=0)
    phone = torch.minimum((ends.unsqueeze(1) <= frames.unsqueeze(2)).to(torch.int64).sum(2), last)
    previous = torch.cat([knots_hz[:, :1, :1], knots_hz[:, :-1, -1:]], dim=1)
    knots = torch.cat([previous, knots_hz], dim=2)  # [batch, phones, KNOTS + 1]
    whole = durations.to(torch.float32) * (hop / TELEPHONE_RATE) * _cycles(knots, torch.ones_like(knots_hz[..., 0]))
    whole = whole - whole.floor()  # phases are modulo 1, and small numbers keep their precision
    base = torch.gather(whole.cumsum(1) - whole, 1, phone)
    length = torch.gather(durations, 1, phone).to(torch.float32).clamp(min=1)
    offset = (frames - torch.gather(begins, 1, phone)).to(torch.float32)
    mine = torch.gather(knots, 1, phone.unsqueeze(-1).expand(-1, -1, KNOTS + 1))
    left = _cycles(mine, offset / length) * length * (hop / TELEPHONE_RATE)
    right = _cycles(mine, (offset + 1) / length) * length * (hop / TELEPHONE_RATE)
    phase = base + left
    inside = ((frames >= 0) & (frames < ends[:, -1:])).to(torch.float32)
    middle = ((offset + 0.5) / length).clamp(0, 1)
    found = Frames(phone, inside, middle, length, phase - phase.floor(), right - left)
    return found, _contour(mine, middle)


def _bases(n_fft: int, hop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Constant matrices: analysis [5 hops, 2 bins], synthesis [2 bins, 5 hops], minimum phase [bins, bins].

    A frame's window is centred on its hop; synthesis divides by the overlapping windows' sum, so that analysis and
    synthesis give the signal back.
    """
    bins, span = n_fft // 2 + 1, _BLOCKS * hop
    lead = (span - n_fft) // 2
    window = np.hanning(n_fft + 1)[:n_fft]
    angle = 2 * np.pi * np.outer(np.arange(n_fft), np.arange(bins)) / n_fft
    analysis = np.zeros((span, 2 * bins))
    analysis[lead : lead + n_fft] = window[:, None] * np.concatenate([np.cos(angle), -np.sin(angle)], axis=1)
    twice = np.where((np.arange(bins) == 0) | (np.arange(bins) == bins - 1), 1.0, 2.0)[:, None]
    inverse = np.concatenate([twice * np.cos(angle).T, -twice * np.sin(angle).T]) / n_fft
    padded = np.zeros(span)
    padded[lead : lead + n_fft] = window
    overlap = (padded**2).reshape(_BLOCKS, hop).sum(0)
    synthesis = np.zeros((2 * bins, span))
    synthesis[:, lead : lead + n_fft] = inverse * window
    synthesis /= np.tile(overlap, _BLOCKS)
    cepstra = np.fft.irfft(np.eye(bins), n_fft, axis=1)
    fold = np.concatenate([[1.0], np.full(bins - 2, 2.0), [1.0], np.zeros(n_fft - bins)])
    minimum = np.fft.rfft(cepstra * fold, n_fft, axis=1).imag
    return analysis, synthesis, minimum


class Vocoder(nn.Module):
    """Frames of conditioning to samples, through a pulse filter and a noise filter in the short-time spectrum."""

    analysis: Tensor
    synthesis: Tensor
    minimum: Tensor
    noise: Tensor

    def __init__(self, config: TtsConfig) -> None:
        super().__init__()
        self.config = config
        width = config.decoder_width
        self.enter = nn.Linear(config.encoder_width + 6, width)
        self.blocks = nn.ModuleList(Block(width, config.kernel, config.expansion) for _ in range(config.decoder_layers))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, 2 * config.bins)
        with torch.no_grad():
            self.leave.weight.mul_(0.3)
            self.leave.bias.fill_(-5.0)
        for name, array in zip(("analysis", "synthesis", "minimum"), _bases(config.n_fft, config.hop), strict=True):
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32), persistent=False)
        table = np.random.default_rng(1).standard_normal(_NOISE_SECONDS * TELEPHONE_RATE)
        self.register_buffer("noise", torch.tensor(table, dtype=torch.float32), persistent=False)

    def forward(self, hidden: Tensor, found: Frames, hz: Tensor, frames: Tensor, shift: Tensor | None = None) -> Tensor:
        """Samples of all given frames but ``_BLOCKS // 2`` on each side, [batch, samples].

        The outermost frames lack their neighbours: callers give :attr:`TtsConfig.context` more than they keep.
        """
        config = self.config
        mask = found.inside.unsqueeze(-1)
        mine = torch.gather(hidden, 1, found.phone.unsqueeze(-1).expand(-1, -1, hidden.shape[-1]))
        pitch = (hz / config.pitch_mean).log() / config.pitch_spread
        place = found.position
        facts = [place, torch.sin(math.pi * place), torch.cos(2 * math.pi * place), found.duration.log() - 2.0]
        facts += [pitch, torch.exp(-place * found.duration)]
        x = self.enter(torch.cat([mine, torch.stack(facts, dim=-1)], dim=-1))
        for block in self.blocks:
            x = block(x, mask)
        pulse_log, noise_log = self.leave(self.norm(x)).clamp(-14.0, 4.0).chunk(2, dim=-1)
        pulses = self._spectrum(self._pulses(found, hz))
        noise = self._spectrum(self._noise(frames, shift))
        # _spectrum loses _BLOCKS // 2 frames on each side; gains of the same frames go with it.
        inner = slice(_BLOCKS // 2, -(_BLOCKS // 2))
        gain = pulse_log[:, inner].exp() * mask[:, inner]
        angle = pulse_log[:, inner] @ self.minimum
        real, imaginary = pulses.chunk(2, dim=-1)
        turn_real, turn_imaginary = gain * angle.cos(), gain * angle.sin()
        breath = (noise_log[:, inner].exp() * mask[:, inner]).repeat(1, 1, 2)
        spectrum = noise * breath + torch.cat(
            [real * turn_real - imaginary * turn_imaginary, real * turn_imaginary + imaginary * turn_real], dim=-1
        )
        return self._overlap_add(spectrum @ self.synthesis)

    def _pulses(self, found: Frames, hz: Tensor) -> Tensor:
        """Band-limited pulse train [batch, frames, hop]: all harmonics below 3.9 kHz, in cosine phase, in closed form
        (Dirichlet's kernel); its power does not depend on the pitch."""
        hop = self.config.hop
        step = (torch.arange(hop, device=hz.device, dtype=torch.float32) + 0.5) / hop
        cycles = found.phase.unsqueeze(-1) + found.advance.unsqueeze(-1) * step
        cycles = cycles - (cycles + 0.5).floor()  # [-0.5, 0.5)
        count = (_TOP_HZ / hz.clamp(min=50.0)).floor().unsqueeze(-1)
        below = torch.sin(math.pi * cycles)
        tiny = below.abs() < 1e-4
        kernel = torch.sin(math.pi * (2 * count + 1) * cycles) / torch.where(tiny, torch.ones_like(below), below)
        train = 0.5 * (torch.where(tiny, 2 * count + 1, kernel) - 1)
        return train * (2.0 / count).sqrt()

    def _noise(self, frames: Tensor, shift: Tensor | None) -> Tensor:
        """White noise [batch, frames, hop] by absolute sample; ``shift`` [batch, 1] (frames) varies it in training."""
        rows = self.noise.reshape(-1, self.config.hop)
        at = frames if shift is None else frames + shift
        return rows[torch.remainder(at, rows.shape[0])]

    def _spectrum(self, blocks: Tensor) -> Tensor:
        """Short-time spectrum [batch, frames - 4, 2 bins] of consecutive hops [batch, frames, hop]."""
        n = blocks.shape[1] - (_BLOCKS - 1)
        return torch.cat([blocks[:, k : k + n] for k in range(_BLOCKS)], dim=-1) @ self.analysis

    def _overlap_add(self, windows: Tensor) -> Tensor:
        """Sum [batch, frames, 5 hops] into the hops that all their windows reach, [batch, (frames - 4) * hop]."""
        hop = self.config.hop
        n = windows.shape[1] - (_BLOCKS - 1)
        parts = [
            windows[:, _BLOCKS - 1 - k : _BLOCKS - 1 - k + n, k * hop : (k + 1) * hop] for k in range(_BLOCKS)
        ]  # window f covers hops f-2 .. f+2; hop h is part k of window h + 2 - k
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total.reshape(total.shape[0], -1)


class TtsNetwork(nn.Module):
    """Encoder and vocoder; :meth:`stretch` is both training's and serving's way to samples."""

    def __init__(self, config: TtsConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.vocoder = Vocoder(config)

    def to_hz(self, pitch: Tensor) -> Tensor:
        """Normalised log pitch to Hz, within what a voice can do."""
        return self.config.pitch_mean * torch.exp((pitch * self.config.pitch_spread).clamp(-1.1, 1.1))

    def stretch(
        self, hidden: Tensor, durations: Tensor, knots_hz: Tensor, start: Tensor, n: int, shift: Tensor | None = None
    ) -> Tensor:
        """Samples of frames ``[start, start + n)``, silent outside the utterance.

        Args:
            hidden: [batch, phones, width] from the encoder.
            durations: int64 [batch, phones].
            knots_hz: [batch, phones, KNOTS].
            start: int64 [batch, 1].
            n: frames.
            shift: int64 [batch, 1], frames by which the noise is shifted.

        Returns:
            fp32 [batch, n * hop], full scale 1.
        """
        reach = self.config.context + _BLOCKS // 2
        frames = start + torch.arange(-reach, n + reach, device=start.device).unsqueeze(0)
        found, hz = locate(durations, knots_hz, frames, self.config.hop)
        pcm = self.vocoder(hidden, found, hz, frames, shift)
        # The vocoder returned frames [start - reach + 4, start + n + reach - 4).
        lead = (reach - (_BLOCKS - 1)) * self.config.hop
        return pcm[:, lead : lead + n * self.config.hop]

    def plan(self, phones: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states, durations (int64 frames, 0 pads) and knots in Hz at speed ``rate`` [batch, 1]."""
        hidden, log_frames, pitch = self.encoder(phones)
        frames = (log_frames.clamp(-1.0, 5.3).exp() / rate.clamp(0.5, 2.0) + 0.5).floor().clamp(min=1.0)
        return hidden, frames.to(torch.int64) * (phones != PAD).to(torch.int64), self.to_hz(pitch)

    def forward(self, phones: Tensor, piece_start: Tensor, rate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The exported graph: one piece of an utterance.

        Args:
            phones: int64 [batch, phones], 0 pads.
            piece_start: int64 [batch, 1], frames.
            rate: fp32 [batch, 1], 1 is the voice's own speed.

        Returns:
            pcm int16 [batch, piece_frames * hop], durations int64 [batch, phones] in frames, total frames int64
            [batch, 1].
        """
        hidden, durations, knots_hz = self.plan(phones, rate)
        pcm = self.stretch(hidden, durations, knots_hz, piece_start, self.config.piece_frames)
        loud = (pcm * 32767.0).round().clamp(-32768, 32767)
        return loud.to(torch.int32).to(torch.int16), durations, durations.sum(1, keepdim=True)
