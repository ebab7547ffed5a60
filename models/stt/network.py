"""The STT network: 8 kHz PCM in, phone log-probabilities out, the same code offline and streaming.

Log-mel features (inside the graph) with a slow running mean beside them, a strided convolution to 30 ms frames, and
residual blocks of depthwise-separable convolutions (QuartzNet, Kriman et al. 2019, with the inverted bottleneck of
MobileNetV2). Every second block is scaled by what the call sounded like so far, speaker, room and noise (squeeze and
excitation, Hu et al. 2018, over the mean since the utterance began, so that it streams). Trained with CTC (Graves et
al. 2006) and an intermediate CTC loss (Lee & Watanabe 2021).

Every layer is written as ``step(x, state) -> (y, state)``. Look-ahead is a delay: a block that sees ``right`` future
frames emits ``right`` frames late, so a whole utterance and any chunking of it give the same numbers.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from parley.audio import TELEPHONE_RATE
from parley.language import DEFAULT, language_of

WINDOW, HOP, N_FFT, N_MELS = 200, 80, 256, 40
"""25 ms windows every 10 ms; 40 mel bands."""
STRIDE, FRONT_KERNEL = 3, 5
_MEAN_DECAY = 0.99
"""A frame of 10 ms: the running mean forgets within about a second."""
_LOG_FLOOR = 1e-6


@dataclass(frozen=True)
class SttConfig:
    """Size and shape of the network."""

    channels: int = 192
    expansion: int = 2
    kernel: int = 7
    blocks: tuple[tuple[int, int], ...] = (
        (1, 2), (1, 2), (1, 2), (2, 2), (2, 2), (2, 0), (4, 0), (4, 0), (1, 0), (1, 0),
    )  # fmt: skip
    """(dilation, right) of each block, in frames of 30 ms."""
    chunk_ms: int = 240
    dropout: float = 0.1
    gate: int = 0
    """Width of the squeezed mean that scales every second block; 0 leaves the gates out."""
    language: str = DEFAULT
    """Whose phones it tells apart."""

    @property
    def labels(self) -> tuple[str, ...]:
        """What its scores are of; index 0 is the CTC blank."""
        return ("", *language_of(self.language).sounds.heard)

    def gated(self) -> list[int]:
        """The blocks that have a gate."""
        return list(range(1, len(self.blocks), 2)) if self.gate else []

    @property
    def lookahead_frames(self) -> int:
        """Frames of 30 ms the scores come late."""
        return sum(right for _, right in self.blocks)

    @property
    def chunk_samples(self) -> int:
        return self.chunk_ms * TELEPHONE_RATE // 1000

    @property
    def flush_samples(self) -> int:
        """Silence to send after the last sample so that its scores come out."""
        return self.lookahead_frames * STRIDE * HOP + WINDOW - HOP

    def cache_frames(self) -> list[int]:
        """Input frames each block keeps."""
        return [(self.kernel - 1) * dilation for dilation, _ in self.blocks]

    def state_size(self) -> int:
        """Numbers in the state of one call."""
        front = (WINDOW - HOP) + N_MELS + 2 * N_MELS * (FRONT_KERNEL - STRIDE)
        gates = len(self.gated())
        return front + self.channels * (sum(self.cache_frames()) + gates) + (1 if gates else 0)


@dataclass
class State:
    """What a stream remembers, tensors in export order (they travel as one flat vector)."""

    samples: Tensor  # [batch, WINDOW - HOP] the last samples
    mean: Tensor  # [batch, N_MELS] running mean of the features
    features: Tensor  # [batch, 2 * N_MELS, FRONT_KERNEL - STRIDE] the last feature frames
    blocks: list[Tensor] = field(default_factory=list)  # each [batch, channels, cache]
    sums: list[Tensor] = field(default_factory=list)  # of the gated blocks, each [batch, channels]
    age: Tensor | None = None  # [batch, 1] frames in the sums; only with gates

    def pack(self) -> Tensor:
        """One row of numbers a stream, shape ``[batch, state_size]``."""
        parts = [self.samples, self.mean, self.features, *self.blocks, *self.sums]
        if self.age is not None:
            parts.append(self.age)
        return torch.cat([p.flatten(1) for p in parts], dim=1)

    @classmethod
    def unpack(cls, flat: Tensor, config: SttConfig) -> State:
        """The inverse of :meth:`pack`."""
        keep = FRONT_KERNEL - STRIDE
        sizes = [WINDOW - HOP, N_MELS, 2 * N_MELS * keep, *(config.channels * n for n in config.cache_frames())]
        gates, count = len(config.gated()), len(config.blocks)
        parts = flat.split([*sizes, *([config.channels] * gates), *([1] if gates else [])], dim=1)
        caches = zip(parts[3 : 3 + count], config.cache_frames(), strict=True)
        blocks = [p.reshape(-1, config.channels, n) for p, n in caches]
        sums, age = list(parts[3 + count : 3 + count + gates]), parts[-1] if gates else None
        return cls(parts[0], parts[1], parts[2].reshape(-1, 2 * N_MELS, keep), blocks, sums, age)


def mel_filters(warp: float = 1.0) -> Tensor:
    """Triangular mel filters between 60 and 3800 Hz, shape ``[N_FFT // 2 + 1, N_MELS]``.

    ``warp`` stretches the frequency axis: a shorter or longer vocal tract (Jaitly & Hinton 2013).
    """

    def mel(hertz: Tensor) -> Tensor:
        return 1127.0 * torch.log1p(hertz / 700.0)

    low, high = mel(torch.tensor([60.0, 3800.0]))
    edges = torch.linspace(float(low), float(high), N_MELS + 2)
    bins = mel(torch.arange(N_FFT // 2 + 1) * (TELEPHONE_RATE / N_FFT) * warp)[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    return torch.clamp(torch.minimum(rising, falling), min=0.0)


class Features(nn.Module):
    """Log-mel energies and their difference to a running mean."""

    dft: Tensor
    mel: Tensor
    offset: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        n = torch.arange(WINDOW, dtype=torch.float32)
        k = torch.arange(N_FFT // 2 + 1, dtype=torch.float32)
        angle = 2 * torch.pi * n[:, None] * k[None, :] / N_FFT
        window = torch.hann_window(WINDOW, periodic=False)[:, None]
        # A real matrix product instead of an FFT: complex operators do not exist in ONNX runtimes alike.
        self.register_buffer("dft", torch.cat([window * torch.cos(angle), window * torch.sin(angle)], dim=1))
        self.register_buffer("mel", mel_filters())
        self.register_buffer("offset", torch.zeros(N_MELS))
        self.register_buffer("scale", torch.ones(N_MELS))

    def log_mel(self, samples: Tensor, mel: Tensor | None = None) -> Tensor:
        """Normalised log-mel of ``[batch, n]`` samples in -1..1, shape ``[batch, frames, N_MELS]``."""
        # Reshape to hops and concatenate neighbours: unfold() does not export with a dynamic batch.
        n_frames = (samples.shape[1] - (WINDOW - HOP)) // HOP
        hops = [samples[:, o : o + n_frames * HOP].reshape(samples.shape[0], n_frames, HOP) for o in (0, HOP)]
        tail = samples[:, 2 * HOP : 2 * HOP + (n_frames - 1) * HOP + WINDOW - 2 * HOP]
        tail = F.pad(tail, (0, n_frames * HOP - tail.shape[1])).reshape(samples.shape[0], n_frames, HOP)
        frames = torch.cat([*hops, tail[:, :, : WINDOW - 2 * HOP]], dim=2)  # [batch, frames, WINDOW]
        spectrum = frames @ self.dft
        real, imaginary = spectrum.split(N_FFT // 2 + 1, dim=2)
        power = real * real + imaginary * imaginary
        return (torch.log(power @ (self.mel if mel is None else mel) + _LOG_FLOOR) - self.offset) * self.scale

    def running_mean(self, x: Tensor, mean: Tensor) -> Tensor:
        """First-order mean of ``[batch, frames, N_MELS]`` that starts at ``mean`` ``[batch, N_MELS]``."""
        n = x.shape[1]
        age = torch.arange(n, device=x.device, dtype=torch.float32)
        weight = torch.tril(_MEAN_DECAY ** torch.clamp(age[:, None] - age[None, :], min=0)) * (1 - _MEAN_DECAY)
        return weight @ x + (_MEAN_DECAY ** (age + 1))[None, :, None] * mean[:, None, :]


class Pointwise(nn.Module):
    """A linear map of the channels of ``[batch, channels, frames]``: a matrix product, not torch's slow 1x1 conv."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, out)

    def forward(self, x: Tensor) -> Tensor:
        if torch.onnx.is_in_onnx_export():
            # One constant matrix, which int8 quantisation can see; the batched product below trains faster.
            return self.linear(x.transpose(1, 2)).transpose(1, 2)
        weight = self.linear.weight.expand(x.shape[0], -1, -1)
        return torch.baddbmm(self.linear.bias[:, None], weight, x)


class Gate(nn.Module):
    """Scales channels by a function of their mean since the utterance began."""

    PRIOR_FRAMES = 10.0
    """The mean begins as if so many frames of zero had been seen."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.squeeze, self.excite = Pointwise(channels, width), Pointwise(width, channels)

    def forward(self, x: Tensor, total: Tensor, age: Tensor) -> tuple[Tensor, Tensor]:
        """``x`` ``[batch, channels, frames]``, ``total`` ``[batch, channels]``, ``age`` ``[batch, 1]``; x and total."""
        sums = total[:, :, None] + torch.cumsum(x, dim=2)
        count = torch.arange(1, x.shape[2] + 1, device=x.device, dtype=torch.float32)
        mean = sums / (age[:, :, None] + count + self.PRIOR_FRAMES)
        scale = torch.sigmoid(self.excite(F.silu(self.squeeze(mean))))
        return x * (2.0 * scale), sums[:, :, -1]


class Block(nn.Module):
    """Depthwise convolution over time, then a pointwise bottleneck, around a delayed residual."""

    def __init__(self, config: SttConfig, dilation: int, right: int, *, gated: bool = False) -> None:
        super().__init__()
        self.gate = Gate(config.channels, config.gate) if gated else None
        channels, hidden = config.channels, config.channels * config.expansion
        self.right, self.cache = right, (config.kernel - 1) * dilation
        self.depthwise = nn.Conv1d(channels, channels, config.kernel, dilation=dilation, groups=channels, bias=False)
        self.norm_in = nn.BatchNorm1d(channels)
        self.widen = Pointwise(channels, hidden)
        self.narrow = Pointwise(hidden, channels)
        self.norm_out = nn.BatchNorm1d(channels)
        # Whole channels of an utterance: as strong a regulariser here, and a mask of C numbers instead of C x T.
        self.dropout = nn.Dropout1d(config.dropout)

    def forward(
        self, x: Tensor, cache: Tensor, total: Tensor | None, age: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """One stretch of frames.

        Args:
            x: ``[batch, channels, frames]``.
            cache: ``[batch, channels, cache]``, the frames before.
            total: ``[batch, channels]``, what the gate has summed; None without one.
            age: ``[batch, 1]``, frames in that sum.

        Returns:
            Output, new cache and new total, of the same shapes.
        """
        seen = torch.cat([cache, x], dim=2)
        y = self.norm_in(self.depthwise(seen))
        if self.gate is not None and total is not None and age is not None:
            y, total = self.gate(y, total, age)
        y = self.narrow(F.silu(self.widen(y)))
        first = self.cache - self.right
        residual = seen[:, :, first : first + x.shape[2]]
        return residual + self.dropout(self.norm_out(y)), seen[:, :, -self.cache :], total


class SttNetwork(nn.Module):
    """See the module's text."""

    def __init__(self, config: SttConfig) -> None:
        super().__init__()
        self.config = config
        self.features = Features()
        self.front = nn.Conv1d(2 * N_MELS, config.channels, FRONT_KERNEL, stride=STRIDE)
        self.front_norm = nn.BatchNorm1d(config.channels)
        self.blocks = nn.ModuleList(
            Block(config, d, r, gated=i in config.gated()) for i, (d, r) in enumerate(config.blocks)
        )
        self.output = Pointwise(config.channels, len(config.labels))
        self.middle_output = Pointwise(config.channels, len(config.labels))

    def initial_state(self, batch: int) -> Tensor:
        """The state before the first sample: zeros, ``[batch, state_size]``."""
        return torch.zeros(batch, self.config.state_size())

    def step(self, pcm: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """One chunk of any length that is a multiple of 240 samples.

        Args:
            pcm: ``[batch, n]`` float32, 16-bit sample values.
            state: ``[batch, state_size]`` float32.

        Returns:
            Log-probabilities ``[batch, n / 240, labels]`` of frames ``lookahead_frames`` back, and the new state.
        """
        logits, _, new_state = self._run(pcm, State.unpack(state, self.config), None, None)
        return F.log_softmax(logits.transpose(1, 2), dim=2), new_state.pack()

    def _run(self, pcm: Tensor, state: State, mel: Tensor | None, mask: Tensor | None) -> tuple[Tensor, Tensor, State]:
        samples = torch.cat([state.samples, pcm * (1.0 / 32768.0)], dim=1)
        x = self.features.log_mel(samples, mel)
        mean = self.features.running_mean(x, state.mean)
        features = torch.cat([x, x - mean], dim=2)
        if mask is not None:
            features = features * mask
        seen = torch.cat([state.features, features.transpose(1, 2)], dim=2)
        y = F.silu(self.front_norm(self.front(seen)))
        gated = self.config.gated()
        caches: list[Tensor] = []
        sums: list[Tensor] = []
        middle = y
        for index, (block, cache) in enumerate(zip(self.blocks, state.blocks, strict=True)):
            y, cache, total = block(y, cache, state.sums[len(sums)] if index in gated else None, state.age)
            caches.append(cache)
            if total is not None:
                sums.append(total)
            if index == len(self.blocks) // 2:
                middle = y
        keep = FRONT_KERNEL - STRIDE
        age = state.age + torch.full_like(state.age, y.shape[2]) if state.age is not None else None
        new = State(samples[:, -(WINDOW - HOP) :], mean[:, -1], seen[:, :, -keep:], caches, sums, age)
        return self.output(y), middle, new

    def forward(self, pcm: Tensor, mel: Tensor | None = None, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Whole utterances, for training.

        Args:
            pcm: ``[batch, n]`` float32 sample values, ``n`` a multiple of 240, silence to flush included.
            mel: filters ``[batch, bins, N_MELS]`` that replace the standard ones (vocal-tract perturbation).
            mask: ``[batch, frames, 2 * N_MELS]`` of zeros and ones (SpecAugment).

        Returns:
            Final and intermediate log-probabilities, each ``[batch, n / 240, labels]``.
        """
        initial = State.unpack(self.initial_state(pcm.shape[0]), self.config)
        logits, middle, _ = self._run(pcm, initial, mel, mask)
        middle_logits = self.middle_output(middle)
        return F.log_softmax(logits.transpose(1, 2), dim=2), F.log_softmax(middle_logits.transpose(1, 2), dim=2)
