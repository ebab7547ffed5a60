"""What trainings have in common: the knobs on the command line, the same run continued, batches, averaged weights."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from models.training import Average
from parley.errors import ParleyError
from parley.runs import Run

Network = TypeVar("Network", bound=nn.Module)
Row = TypeVar("Row")
Knobs = TypeVar("Knobs")
_POOL = 16
"""Batches that are sorted by length together."""


class Averaged(nn.Module, Generic[Network]):
    """A network in training and the moving average of its weights, so that one checkpoint holds both."""

    def __init__(self, network: Network, averaged: Network) -> None:
        """``averaged`` is of the same shape; its weights are set here."""
        super().__init__()
        self.network = network
        self.averaged = averaged.requires_grad_(False)
        self.averaged.load_state_dict(self.network.state_dict())
        self.averaged.eval()

    def update(self, decay: float) -> None:
        """Move the average towards the network."""
        Average.of(self.averaged, decay).update(self.network)


def batches_by_length(rows: list[Row], size: int, rng: random.Random, length: Callable[[Row], int]) -> list[list[Row]]:
    """Shuffled batches of rows of like lengths, which need little padding. Shuffles ``rows`` too."""
    rng.shuffle(rows)
    found: list[list[Row]] = []
    for start in range(0, len(rows), size * _POOL):
        pool = sorted(rows[start : start + size * _POOL], key=length)
        found += [pool[i : i + size] for i in range(0, len(pool), size)]
    rng.shuffle(found)
    return found


def check_same_run(out: Path, asked: dict[str, Any], free: Iterable[str] = ()) -> None:
    """A run that is continued must have been started with the same parameters.

    Args:
        out: the run directory.
        asked: parameters by name.
        free: names of those that may differ.

    Raises:
        ParleyError: names the parameter that differs; there is no run.
    """
    before = Run.open(out).params
    for name, value in asked.items():
        if name not in free and before.get(name) != value:
            raise ParleyError(
                f"the run was started with {name} = {before.get(name)}, not {value}",
                where=str(out), mend="give the same parameters, or another --out",
            )  # fmt: skip


def add_knobs(parser: argparse.ArgumentParser, kind: type) -> None:
    """An option for each field of a dataclass of numbers and truth values (``--sentence-dropout true``)."""
    for knob in fields(kind):
        read: Any = (lambda text: text == "true") if isinstance(knob.default, bool) else type(knob.default)
        parser.add_argument(f"--{knob.name.replace('_', '-')}", type=read, default=knob.default)


def knobs_of(args: dict[str, Any], kind: type[Knobs]) -> Knobs:
    """The dataclass that the options of :func:`add_knobs` give."""
    return kind(**{name: args[name] for name in _names(kind)})


def _names(kind: Any) -> Sequence[str]:
    return [knob.name for knob in fields(kind)]
