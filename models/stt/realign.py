"""Which form of each word a recorded person said, heard by the network in training itself.

A recording's text says "a" or "an" as a recogniser guessed, and "with" has two forms. Once the network knows people's
phones, the best path through all forms of a sentence's words settles both (semi-supervised realignment).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from models.stt.data import Batches
from models.stt.decoder import GrammarDecoder, PhoneGraph
from models.stt.network import SttNetwork
from parley.bot.grammar import WordGraph
from parley.language import language_of


@torch.no_grad()
def realign(network: SttNetwork, batches: Batches) -> dict[str, list[str]]:
    """The form of every word of every recorded training row; rows that no path fits are left out."""
    network.eval()
    alike, labels = language_of(network.config.language).callers.alike, network.config.labels
    found: dict[str, list[str]] = {}
    for row in batches.recorded:
        words = (row.text or "").split()
        choices = [[f for same in (w, *alike.get(w, ())) for f in _forms(batches, same)] for w in words]
        log_probs, _ = network(batches.collate([batches.spoken_audio(row)], [[]], None, augment=False).pcm)
        if forms := best_forms(log_probs[0].numpy(), choices, labels):
            found[row.id] = forms
    return found


def _forms(batches: Batches, word: str) -> list[str]:
    return batches.lexicon.get(word, [])


def best_forms(log_probs: NDArray[np.float32], choices: Sequence[Sequence[str]], labels: Sequence[str]) -> list[str]:
    """Of each word's forms the one on the best path through ``[frames, labels]``; empty if no path ends."""
    lexicon = {f"{i} {k}": [form] for i, forms in enumerate(choices) for k, form in enumerate(forms)}
    arcs = tuple((i, i + 1, f"{i} {k}") for i, forms in enumerate(choices) for k in range(len(forms)))
    graph = WordGraph(len(choices) + 1, 0, frozenset([len(choices)]), arcs)
    decoder = GrammarDecoder(PhoneGraph.compile(graph, lexicon, labels))
    decoder.accept(log_probs)
    decoded = decoder.finish()
    return [lexicon[w.word][0] for w in decoded.words] if decoded.complete else []
