"""The NLG network: a small GPT-shaped decoder that writes one token a step from a cache of keys and values.

``forward`` scores whole rows for training; ``step`` is the same arithmetic for one position and is what gets exported.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class NlgConfig:
    """Sizes; vocabulary and buffer come from the bot's replies."""

    vocabulary: int
    buffer: int
    """Tokens of prompt and reply together."""
    width: int = 128
    layers: int = 3
    heads: int = 4
    dropout: float = 0.1

    @property
    def head_width(self) -> int:
        return self.width // self.heads


class Block(nn.Module):
    """Pre-norm causal self-attention and a feed-forward layer."""

    def __init__(self, config: NlgConfig) -> None:
        super().__init__()
        self.config = config
        self.norm_attention = nn.LayerNorm(config.width)
        self.queries_keys_values = nn.Linear(config.width, 3 * config.width)
        self.merge = nn.Linear(config.width, config.width)
        self.norm_feed = nn.LayerNorm(config.width)
        self.feed = nn.Sequential(
            nn.Linear(config.width, 3 * config.width), nn.GELU(), nn.Linear(3 * config.width, config.width)
        )
        self.dropout = nn.Dropout(config.dropout)

    def project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values [batch, heads, tokens, head width] of ``x`` [batch, tokens, width]."""
        config = self.config
        qkv = self.queries_keys_values(self.norm_attention(x))
        parts = qkv.view(x.shape[0], x.shape[1], 3, config.heads, config.head_width).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]

    def finish(self, x: Tensor, query: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Attend, merge, feed forward; ``bias`` is added to the scores [batch, heads, queries, keys]."""
        scores = query @ keys.transpose(-1, -2) * self.config.head_width**-0.5 + bias
        mixed = (torch.softmax(scores, -1) @ values).transpose(1, 2).reshape(x.shape)
        x = x + self.dropout(self.merge(mixed))
        return x + self.dropout(self.feed(self.norm_feed(x)))


class NlgNetwork(nn.Module):
    """Next-token scores over replies."""

    def __init__(self, config: NlgConfig) -> None:
        super().__init__()
        self.config = config
        self.tokens = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.buffer, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(config.width)
        self.score = nn.Linear(config.width, config.vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits [batch, tokens, vocabulary] of what follows each token of ``ids`` int64 [batch, tokens]."""
        length = ids.shape[1]
        bias = torch.full((length, length), -1e4).triu(1)
        x = self.dropout(self.tokens(ids) + self.positions(torch.arange(length)))
        for block in self.blocks:
            assert isinstance(block, Block)
            x = block.finish(x, *block.project(x), bias)
        return self.score(self.norm(x))

    def step(self, token: Tensor, position: Tensor, cache: Tensor) -> tuple[Tensor, Tensor]:
        """One position of :meth:`forward`.

        Args:
            token: int64 [batch], the token at ``position``.
            position: int64 [], the same for all rows.
            cache: float32 [batch, layers * 2, heads, buffer, head width]: keys and values of earlier positions.

        Returns:
            Logits [batch, vocabulary] and the cache with this position filled in.
        """
        places = torch.arange(self.config.buffer)
        here = (places == position)[:, None]  # [buffer, 1]
        bias = (places > position).to(torch.float32) * -1e4
        x = (self.tokens(token) + self.positions(position))[:, None]  # [batch, 1, width]
        filled = []
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            query, key, value = block.project(x)
            keys = torch.where(here, key, cache[:, 2 * index])
            values = torch.where(here, value, cache[:, 2 * index + 1])
            filled += [keys, values]
            x = block.finish(x, query, keys, values, bias)
        return self.score(self.norm(x))[:, 0], torch.stack(filled, 1)

    def empty_cache(self, batch: int) -> Tensor:
        """A cache before the first position."""
        c = self.config
        return torch.zeros(batch, 2 * c.layers, c.heads, c.buffer, c.head_width)

    @torch.no_grad()
    def generate(self, prompt: Tensor, pad: int, end: int) -> tuple[Tensor, Tensor]:
        """Greedy replies: the reference for the exported loop.

        Args:
            prompt: int64 [batch, tokens], rows padded at their end with ``pad``.
            pad: id that fills what is empty.
            end: id that ends a reply.

        Returns:
            The buffer int64 [batch, buffer]: prompt, reply, end mark, padding; and float32 [batch], the summed
            log-probability of each reply.
        """
        batch = prompt.shape[0]
        buffer = F.pad(prompt, (0, self.config.buffer - prompt.shape[1]), value=pad)
        lengths = (prompt != pad).sum(1)
        done = torch.zeros(batch, dtype=torch.bool)
        total = torch.zeros(batch)
        cache = self.empty_cache(batch)
        for position in range(self.config.buffer - 1):
            logits, cache = self.step(buffer[:, position], torch.tensor(position), cache)
            best, following = torch.log_softmax(logits, -1).max(-1)
            writing = (position + 1 >= lengths) & ~done
            buffer[:, position + 1] = torch.where(writing, following, buffer[:, position + 1])
            total = total + torch.where(writing, best, torch.zeros(()))
            done = done | (writing & (following == end))
            if bool(done.all()):
                break
        return buffer, total


def reply_loss(logits: Tensor, ids: Tensor, reply: Tensor) -> Tensor:
    """Cross-entropy of the reply's tokens; the prompt and the padding are not scored.

    Args:
        logits: [batch, tokens, vocabulary] of ``ids``.
        ids: int64 [batch, tokens].
        reply: bool [batch, tokens], true at tokens of the reply.
    """
    wanted = torch.where(reply[:, 1:], ids[:, 1:], -100)
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), wanted.flatten(), ignore_index=-100)
