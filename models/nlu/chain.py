"""A linear-chain conditional random field over tags (Lafferty et al. 2001; Lample et al. 2016)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Chain(nn.Module):
    """Scores of a tag at the start and after another tag; the decoder adds what BIO forbids."""

    def __init__(self, tags: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(tags))
        self.pairs = nn.Parameter(torch.zeros(tags, tags))

    def loss(self, scores: Tensor, tags: Tensor, mask: Tensor) -> Tensor:
        """Negative log-likelihood of each sentence.

        Args:
            scores: [batch, words, tags].
            tags: int64 [batch, words]; any tag at padding.
            mask: [batch, words], 1 at words; the first is always one.

        Returns:
            [batch].
        """
        heard = mask.to(scores.dtype)
        own = scores.gather(2, tags[:, :, None])[:, :, 0]
        steps = self.pairs[tags[:, :-1], tags[:, 1:]]
        path = self.start[tags[:, 0]] + (own * heard).sum(1) + (steps * heard[:, 1:]).sum(1)
        return self._all_paths(scores, heard) - path

    def _all_paths(self, scores: Tensor, heard: Tensor) -> Tensor:
        """Log of the sum over all paths. A step is a matrix product of exponentials, scaled by each row's peak:
        the same sum as by logsumexp, without the [batch, tags, tags] tensor."""
        ceiling = self.pairs.amax()
        powers = (self.pairs - ceiling).exp()
        total = self.start + scores[:, 0]
        for at in range(1, scores.shape[1]):
            peak = total.amax(1, keepdim=True)
            came = ((total - peak).exp() @ powers).clamp(min=1e-30).log() + peak + ceiling
            total = torch.where(heard[:, at, None] > 0, came + scores[:, at], total)
        return torch.logsumexp(total, 1)
