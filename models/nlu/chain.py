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
        return all_paths(scores, mask, self.start, self.pairs) - path

    def expected(self, scores: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """How often each tag is at each word, starts, and follows each other, in expectation over all paths.

        The derivatives of the log of the sum over all paths (Sutton & McCallum 2012, section 4).

        Returns:
            [batch, words, tags], zero at padding; [tags] and [tags, tags], sums over the batch.
        """
        with torch.enable_grad():
            free = [tensor.detach().requires_grad_() for tensor in (scores, self.start, self.pairs)]
            total = all_paths(free[0], mask, free[1], free[2]).sum()
            words, starts, pairs = torch.autograd.grad(total, free)
        return words, starts, pairs

    def divergence(self, scores: Tensor, mask: Tensor, expected: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Cross-entropy, summed over the batch, to the distribution over paths that has these expectations."""
        words, starts, pairs = expected
        paths = (words * scores).sum() + (starts * self.start).sum() + (pairs * self.pairs).sum()
        return all_paths(scores, mask, self.start, self.pairs).sum() - paths


def all_paths(scores: Tensor, mask: Tensor, start: Tensor, pairs: Tensor) -> Tensor:
    """Log of the sum of the exponentials of all paths' scores, [batch].

    A step is a matrix product of exponentials, scaled by each row's peak: the same sum as by logsumexp, without its
    [batch, tags, tags] tensor.
    """
    heard = mask.to(scores.dtype)
    ceiling = pairs.amax()
    powers = (pairs - ceiling).exp()
    total = start + scores[:, 0]
    for at in range(1, scores.shape[1]):
        peak = total.amax(1, keepdim=True)
        came = ((total - peak).exp() @ powers).clamp(min=1e-30).log() + peak + ceiling
        total = torch.where(heard[:, at, None] > 0, came + scores[:, at], total)
    return torch.logsumexp(total, 1)
