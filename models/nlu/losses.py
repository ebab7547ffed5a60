"""What a model of a corpus learns by: labels, two passes that agree, mixed sentences, teachers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from models.nlu.network import NluNetwork


@dataclass(frozen=True)
class Batch:
    """Rows as tensors: ids, mask, tags int64 [batch, words]; grams int64 [batch, words, grams]; intents [batch]; marks
    float32 [batch, words, marks], none without a lexicon."""

    ids: Tensor
    mask: Tensor
    grams: Tensor
    tags: Tensor
    intents: Tensor
    marks: Tensor | None = None

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the network reads, in its order."""
        read = (self.ids, self.mask, self.grams)
        return read if self.marks is None else (*read, self.marks)

    def twice(self) -> Batch:
        """The batch below itself."""
        return Batch(**{name: torch.cat([part, part]) for name, part in vars(self).items() if part is not None})


@dataclass(frozen=True)
class Targets:
    """What teachers make of a batch: intent probabilities [batch, intents]; `Chain.expected` of the tags, or none."""

    intents: Tensor
    tags: tuple[Tensor, Tensor, Tensor] | None


def label_loss(
    network: NluNetwork, scores: tuple[Tensor, Tensor], batch: Batch, smoothing: float, tag_weight: float
) -> Tensor:
    """Smoothed cross-entropy of the intent plus the chain's (or each tag's) negative log-likelihood, a sentence."""
    intents, tags = scores
    loss = F.cross_entropy(intents, batch.intents, label_smoothing=smoothing)
    if network.config.tags < 2:
        return loss
    if network.config.transitions:
        return loss + tag_weight * network.chain.loss(tags, batch.tags, batch.mask).mean()
    each = F.cross_entropy(tags.flatten(0, 1), batch.tags.flatten(), reduction="none") * batch.mask.flatten()
    return loss + tag_weight * each.sum() / len(batch.ids)


def disagreement(scores: tuple[Tensor, Tensor], mask: Tensor) -> Tensor:
    """Divergence between the upper and the lower half of a batch that holds every sentence twice.

    R-Drop (Liang et al. 2021), both ways, of the intents and of each word's tags.
    """
    intents, tags = scores
    apart = _apart(*torch.log_softmax(intents, -1).chunk(2)).mean()
    if tags.shape[-1] < 2:
        return apart
    words = _apart(*torch.log_softmax(tags, -1).chunk(2)) * mask.chunk(2)[0]
    return apart + words.sum(1).mean()


def _apart(one: Tensor, other: Tensor) -> Tensor:
    return ((one.exp() - other.exp()) * (one - other)).sum(-1) / 2


def mixed_loss(network: NluNetwork, batch: Batch, smoothing: float, rng: np.random.Generator) -> Tensor:
    """Mixup of sentence summaries (Zhang et al. 2018; Guo et al. 2019), for a corpus without slots."""
    x = network.encode(network.dropout(network.embed(batch.ids, batch.grams, batch.marks)), batch.mask)
    summary = network.summary(x, batch.mask)
    part, other = float(rng.beta(0.5, 0.5)), torch.from_numpy(rng.permutation(len(batch.ids)))
    intents = network.intent(network.dropout(part * summary + (1 - part) * summary[other]))
    mine = F.cross_entropy(intents, batch.intents, label_smoothing=smoothing)
    return part * mine + (1 - part) * F.cross_entropy(intents, batch.intents[other], label_smoothing=smoothing)


def teach(teachers: Sequence[NluNetwork], batch: Batch) -> Targets:
    """The mean of what teachers answer: distributions over intents and over whole tag sequences."""
    intents, tags = [], []
    for teacher in teachers:
        with torch.no_grad():
            scores = teacher(*batch.inputs)
        intents.append(torch.softmax(scores[0], -1))
        if teacher.config.transitions:
            tags.append(teacher.chain.expected(scores[1], batch.mask))
    mean = torch.stack(intents).mean(0)
    if not tags:
        return Targets(mean, None)
    words, starts, pairs = (torch.stack(parts).mean(0) for parts in zip(*tags, strict=True))
    return Targets(mean, (words, starts, pairs))


def taught_loss(
    network: NluNetwork, scores: tuple[Tensor, Tensor], batch: Batch, targets: Targets, tag_weight: float
) -> Tensor:
    """Cross-entropy to the teachers (Hinton et al. 2015); for tags between distributions over whole sequences."""
    loss = F.cross_entropy(scores[0], targets.intents)
    if targets.tags is None:
        return loss
    return loss + tag_weight * network.chain.divergence(scores[1], batch.mask, targets.tags) / len(batch.ids)
