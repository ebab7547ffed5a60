"""Draw many replies for a prompt from a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from models.nlg.data import SPECIAL
from models.nlg.network import Block, NlgNetwork

END = SPECIAL.index("[EOS]")
_NEVER = tuple(i for i, name in enumerate(SPECIAL) if name != "[EOS]")


@dataclass
class _Reader:
    """One network and the keys and values of what it has read so far; they grow, so that a step costs what it must."""

    network: NlgNetwork
    keys: list[Tensor]
    values: list[Tensor]
    position: int = 0

    def read(self, ids: Tensor) -> Tensor:
        """Logits [batch, vocabulary] of what follows ``ids`` int64 [batch, tokens] (all of one position on)."""
        length = ids.shape[1]
        places = torch.arange(self.position, self.position + length)
        x = self.network.tokens(ids) + self.network.positions(places)
        bias = (torch.arange(self.position + length)[None] > places[:, None]).to(torch.float32) * -1e4
        for i, block in enumerate(self.network.blocks):
            assert isinstance(block, Block)
            query, key, value = block.project(x)
            if self.position:
                key, value = torch.cat([self.keys[i], key], 2), torch.cat([self.values[i], value], 2)
                self.keys[i], self.values[i] = key, value
            else:
                self.keys.append(key)
                self.values.append(value)
            x = block.finish(x, query, key, value, bias)
        self.position += length
        logits: Tensor = self.network.score(self.network.norm(x[:, -1]))
        return logits

    def keep(self, rows: Tensor) -> None:
        """Forget the rows that have ended."""
        self.keys = [key[rows] for key in self.keys]
        self.values = [value[rows] for value in self.values]


@torch.no_grad()
def sample(
    network: NlgNetwork, prompts: Tensor, temperature: float, top_p: float, generator: torch.Generator
) -> list[tuple[list[int], float]]:
    """One reply for each prompt.

    Args:
        network: in eval mode.
        prompts: int64 [batch, tokens], all of one length.
        temperature: 0 takes the best token; below 1 prefers probable ones.
        top_p: only the most probable tokens that together have this probability (Holtzman et al. 2020).
        generator: of the draws.

    Returns:
        Ids of each reply without its end mark, and its log-probability; one that never ends is an empty list.
    """
    reader = _Reader(network, [], [])
    replies: list[list[int]] = [[] for _ in prompts]
    total = torch.full((len(replies),), 0.0)
    ended = [False] * len(replies)
    alive, fed = torch.arange(len(prompts)), prompts
    for _ in range(network.config.buffer - prompts.shape[1]):
        probabilities = torch.softmax(reader.read(fed), -1)
        probabilities[:, list(_NEVER)] = 0
        chosen = _draw(probabilities, temperature, top_p, generator)
        total[alive] += probabilities.gather(1, chosen[:, None])[:, 0].log()
        for row, token in zip(alive.tolist(), chosen.tolist(), strict=True):
            if token == END:
                ended[row] = True
            else:
                replies[row].append(token)
        going = (chosen != END).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(chosen):
            reader.keep(going)
        alive, fed = alive[going], chosen[going][:, None]
    logprobs = total.tolist()
    return [(reply if done else [], logprob) for reply, done, logprob in zip(replies, ended, logprobs, strict=True)]


def _draw(probabilities: Tensor, temperature: float, top_p: float, generator: torch.Generator) -> Tensor:
    if temperature == 0:
        return probabilities.argmax(-1)
    ordered, tokens = probabilities.pow(1 / temperature).sort(-1, descending=True)
    ordered = ordered / ordered.sum(-1, keepdim=True)
    ordered[ordered.cumsum(-1) - ordered > top_p] = 0
    picked = torch.multinomial(ordered, 1, generator=generator)
    return tokens.gather(1, picked)[:, 0]
