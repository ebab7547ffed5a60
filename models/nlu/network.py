"""The NLU network: a small encoder over word pieces or words, one head for the intent, one for each piece's tag.

The bots' models are a Transformer over word pieces. Models of larger corpora read whole words with letter n-grams
(`models.nlu.words`) and put recurrent or convolutional layers under the attention: one network, other sizes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.nlu.chain import Chain


@dataclass(frozen=True)
class NluConfig:
    """Sizes; the first three come from the bot or corpus."""

    vocabulary: int
    intents: int
    tags: int
    width: int = 128
    layers: int = 2
    heads: int = 4
    max_tokens: int = 64
    dropout: float = 0.1
    grams: int = 0
    """Hash buckets of letter n-grams that a word's embedding adds; 0: the network takes no ``gram_ids``."""
    recurrent: int = 0
    """Bidirectional LSTM layers under the attention; with them, or with convolutions, positions are not embedded."""
    convolutions: int = 0
    """Gated convolutions under the attention."""
    window: int = 5
    """Words that a gated convolution sees."""
    feedback: bool = False
    """Whether the tags are told the intent's probabilities (Qin et al. 2019, "Stack-Propagation")."""
    transitions: bool = False
    """Whether tags are scored as a chain (Lafferty et al. 2001); see `models.nlu.chain`."""
    sentence_dropout: bool = False
    """Whether dropout takes the same columns from every piece of a sentence; see `SentenceDropout`."""
    marks: int = 0
    """Marks of a word's place in values heard before (`models.nlu.lexicon`); 0: the network takes none."""


class SentenceDropout(nn.Module):
    """Dropout of the same columns at every piece of a sentence (Gal & Ghahramani 2016), from a draw a sentence."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """``x`` [batch, ..., width]. Returns a new ``x``; the same one when not training."""
        if not self.training or not self.share:
            return x
        drawn = torch.rand(len(x), *[1] * (x.dim() - 2), x.shape[-1])
        return x * ((drawn >= self.share).to(x.dtype) / (1 - self.share))


def _dropout(config: NluConfig) -> nn.Module:
    return SentenceDropout(config.dropout) if config.sentence_dropout else nn.Dropout(config.dropout)


class Recurrent(nn.Module):
    """A bidirectional LSTM layer that skips padding: the backward half reads each sentence from its own end."""

    def __init__(self, width: int, dropout: nn.Module) -> None:
        super().__init__()
        self.forwards = nn.LSTM(width, width // 2, batch_first=True)
        self.backwards = nn.LSTM(width, width // 2, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x`` [batch, tokens, width]; ``mask`` int64 [batch, tokens]. Returns a new ``x``."""
        order = torch.cumsum(torch.ones_like(mask), 1) - 1
        mirror = (mask.sum(1, keepdim=True) - 1 - order).clamp(min=0)[:, :, None].expand(-1, -1, x.shape[-1])
        inner = self.norm(x)
        ahead, _ = self.forwards(inner)
        back, _ = self.backwards(inner.gather(1, mirror))
        return x + self.dropout(torch.cat([ahead, back.gather(1, mirror[:, :, : back.shape[-1]])], -1))


class Convolution(nn.Module):
    """A gated convolution over a few words, as a residual (Dauphin et al. 2017)."""

    def __init__(self, width: int, window: int, dropout: nn.Module) -> None:
        super().__init__()
        self.window = window
        self.norm = nn.LayerNorm(width)
        self.mix = nn.Linear(window * width, 2 * width)
        self.dropout = dropout

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """``x`` [batch, tokens, width]; ``mask`` int64 [batch, tokens]. Returns a new ``x``."""
        side = self.window // 2
        padded = F.pad(self.norm(x) * mask[:, :, None], (0, 0, side, side))
        tokens = x.shape[1]
        seen = torch.cat([padded[:, i : i + tokens] for i in range(self.window)], -1)
        return x + self.dropout(F.glu(self.mix(seen), -1))


class Block(nn.Module):
    """Pre-norm self-attention and a feed-forward layer (Xiong et al. 2020, "On Layer Normalization")."""

    def __init__(self, config: NluConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.norm_attention = nn.LayerNorm(config.width)
        self.queries_keys_values = nn.Linear(config.width, 3 * config.width)
        self.merge = nn.Linear(config.width, config.width)
        self.norm_feed = nn.LayerNorm(config.width)
        self.feed = nn.Sequential(
            nn.Linear(config.width, 3 * config.width), nn.GELU(), nn.Linear(3 * config.width, config.width)
        )
        self.dropout = _dropout(config)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """``x`` [batch, tokens, width]; ``bias`` [batch, 1, 1, tokens] very low at padding. Returns a new ``x``."""
        batch, tokens, width = x.shape
        qkv = self.queries_keys_values(self.norm_attention(x))
        query, key, value = qkv.view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias
        mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(batch, tokens, width)
        x = x + self.dropout(self.merge(mixed))
        return x + self.dropout(self.feed(self.norm_feed(x)))


class NluNetwork(nn.Module):
    """Intent and slot tags together; the temperatures that calibrate both are part of the weights."""

    intent_temperature: Tensor
    tag_temperature: Tensor

    def __init__(self, config: NluConfig) -> None:
        super().__init__()
        self.config = config
        self.pieces = nn.Embedding(config.vocabulary, config.width, padding_idx=0)
        if not (config.recurrent or config.convolutions):
            self.positions = nn.Embedding(config.max_tokens, config.width)
        if config.grams:
            self.grams = nn.Embedding(config.grams + 1, config.width, padding_idx=0)
            for table in (self.pieces, self.grams):  # small, so that what the layers add is heard from the start
                nn.init.normal_(table.weight, std=0.1)
                nn.init.zeros_(table.weight[0])
        if config.marks:
            self.marks = nn.Linear(config.marks, config.width, bias=False)
        self.dropout = _dropout(config)
        self.local = nn.ModuleList(
            [Recurrent(config.width, _dropout(config)) for _ in range(config.recurrent)]
            + [Convolution(config.width, config.window, _dropout(config)) for _ in range(config.convolutions)]
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.intent = nn.Sequential(
            nn.Linear(2 * config.width, config.width), nn.GELU(), nn.Linear(config.width, config.intents)
        )
        self.tag = nn.Linear(config.width, config.tags)
        if config.feedback:
            self.intent_to_tag = nn.Linear(config.intents, config.width)
        if config.transitions:
            self.chain = Chain(config.tags)
        self.register_buffer("intent_temperature", torch.ones(()))
        self.register_buffer("tag_temperature", torch.ones(()))

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, gram_ids: Tensor | None = None, marks: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Score a batch.

        Args:
            input_ids: int64 [batch, tokens].
            attention_mask: int64 [batch, tokens], 1 at pieces, 0 at padding.
            gram_ids: int64 [batch, tokens, grams], 0 at none; only with ``config.grams``.
            marks: float32 [batch, tokens, marks], only with ``config.marks``.

        Returns:
            Calibrated intent logits [batch, intents] and tag logits [batch, tokens, tags].
        """
        x = self.encode(self.dropout(self.embed(input_ids, gram_ids, marks)), attention_mask)
        summary = self.summary(x, attention_mask)
        intent = self.intent(self.dropout(summary))
        if self.config.feedback:
            x = x + self.intent_to_tag(torch.softmax(intent, -1))[:, None]
        if self.config.transitions:
            x = self.dropout(x)
        return intent / self.intent_temperature, self.tag(x) / self.tag_temperature

    def embed(self, input_ids: Tensor, gram_ids: Tensor | None, marks: Tensor | None = None) -> Tensor:
        """What each piece is by itself, [batch, tokens, width]."""
        x = self.pieces(input_ids)
        if gram_ids is not None:
            there = (gram_ids > 0).sum(-1, keepdim=True).clamp(min=1)
            x = x + self._gram_sum(gram_ids) / there.to(x.dtype).sqrt()
        if marks is not None:
            x = x + self.marks(marks)
        if self.config.recurrent or self.config.convolutions:
            return x
        order = torch.cumsum(torch.ones_like(input_ids), 1) - 1
        return x + self.positions(order)

    def _gram_sum(self, gram_ids: Tensor) -> Tensor:
        if not self.training:  # the form that ONNX knows
            return self.grams(gram_ids).sum(-2)
        flat = F.embedding_bag(gram_ids.flatten(0, 1), self.grams.weight, mode="sum", padding_idx=0)
        return flat.view(*gram_ids.shape[:2], -1)

    def encode(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Pieces in their sentence, [batch, tokens, width]."""
        for layer in self.local:
            x = layer(x, attention_mask)
        bias = ((1 - attention_mask.to(torch.float32)) * -1e4)[:, None, None, :]
        for block in self.blocks:
            x = block(x, bias)
        return self.norm(x)

    def summary(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Mean and peak of a sentence's pieces, [batch, 2 * width]."""
        weight = attention_mask.to(torch.float32)[:, :, None]
        mean = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        peak = (x - (1 - weight) * 1e4).amax(1).clamp(min=-1e2)
        return torch.cat([mean, peak], -1)


def joint_loss(intent_logits: Tensor, tag_logits: Tensor, intents: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy of the intent plus that of the tags; tag -100 is not scored (later pieces of a word, padding)."""
    return F.cross_entropy(intent_logits, intents) + F.cross_entropy(
        tag_logits.flatten(0, 1), tags.flatten(), ignore_index=-100
    )
