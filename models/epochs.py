"""Trainings that pass over their rows again and again, in the steps of the training loop."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

Row = TypeVar("Row")
_POOL = 16
"""Batches that are sorted by length together."""


class Epochs(Generic[Row]):
    """Which rows a step has: those of its place in its epoch. Only the present epoch's batches are held."""

    def __init__(self, draw: Callable[[int], list[list[Row]]]) -> None:
        """``draw`` gives the batches of an epoch, by its number alone, in every epoch as many."""
        self._draw, self._epoch, self._batches = draw, 0, draw(0)
        self.steps = len(self._batches)
        """Of one epoch."""

    def batch(self, step: int) -> list[Row]:
        """The rows of a step; those of an epoch are asked for in their order."""
        epoch, place = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._batches = epoch, self._draw(epoch)
        return self._batches[place]


def batches_by_length(rows: list[Row], size: int, rng: random.Random, length: Callable[[Row], int]) -> list[list[Row]]:
    """Shuffled batches of rows of like lengths, which need little padding. Shuffles ``rows`` too."""
    rng.shuffle(rows)
    found: list[list[Row]] = []
    for start in range(0, len(rows), size * _POOL):
        pool = sorted(rows[start : start + size * _POOL], key=length)
        found += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(found)
    return found
