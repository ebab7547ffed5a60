"""The NLU network: a small Transformer encoder over word pieces, one head for the intent, one for each piece's tag."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class NluConfig:
    """Sizes; the first three come from the bot."""

    vocabulary: int
    intents: int
    tags: int
    width: int = 128
    layers: int = 2
    heads: int = 4
    max_tokens: int = 64
    dropout: float = 0.1


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
        self.dropout = nn.Dropout(config.dropout)

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
        self.positions = nn.Embedding(config.max_tokens, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.intent = nn.Sequential(
            nn.Linear(2 * config.width, config.width), nn.GELU(), nn.Linear(config.width, config.intents)
        )
        self.tag = nn.Linear(config.width, config.tags)
        self.register_buffer("intent_temperature", torch.ones(()))
        self.register_buffer("tag_temperature", torch.ones(()))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Score a batch.

        Args:
            input_ids: int64 [batch, tokens].
            attention_mask: int64 [batch, tokens], 1 at pieces, 0 at padding.

        Returns:
            Calibrated intent logits [batch, intents] and tag logits [batch, tokens, tags].
        """
        mask = attention_mask.to(torch.float32)
        bias = ((1 - mask) * -1e4)[:, None, None, :]
        order = torch.cumsum(torch.ones_like(input_ids), 1) - 1
        x = self.dropout(self.pieces(input_ids) + self.positions(order))
        for block in self.blocks:
            x = block(x, bias)
        x = self.norm(x)
        weight = mask[:, :, None]
        mean = (x * weight).sum(1) / weight.sum(1).clamp(min=1)
        peak = (x - (1 - weight) * 1e4).amax(1).clamp(min=-1e2)
        intent = self.intent(self.dropout(torch.cat([mean, peak], -1)))
        return intent / self.intent_temperature, self.tag(x) / self.tag_temperature


def joint_loss(intent_logits: Tensor, tag_logits: Tensor, intents: Tensor, tags: Tensor) -> Tensor:
    """Cross-entropy of the intent plus that of the tags; tag -100 is not scored (later pieces of a word, padding)."""
    return F.cross_entropy(intent_logits, intents) + F.cross_entropy(
        tag_logits.flatten(0, 1), tags.flatten(), ignore_index=-100
    )
