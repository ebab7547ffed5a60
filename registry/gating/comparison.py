"""Pairs: what two releases made of the same thing, and what a set of pairs says about the difference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, TypeVar

from registry.gating.statistics import (
    PairedAuc,
    Table,
    cluster_bootstrap,
    delong,
    design_effect,
    gain_interval,
    gain_p,
    mcnemar_p,
)

_T = TypeVar("_T")
_K = TypeVar("_K")
Measure = Literal["understanding", "wording", "voice"]
MEASURES: tuple[Measure, ...] = ("understanding", "wording", "voice")
MEASURE_OF_STAGE: dict[str, Measure] = {
    "stt": "understanding", "nlu": "understanding", "nlg": "wording", "tts": "voice",
}  # fmt: skip
"""What a stage is judged by."""
UNITS: dict[Measure, str] = {"understanding": "commands", "wording": "replies", "voice": "words"}
"""What is counted."""


@dataclass(frozen=True)
class Pair:
    """One thing said (under one condition) and how each release did on it."""

    id: str
    speaker: str
    """Who said it; pairs of one speaker are one observation."""
    champion: int
    """Units that are right, of ``of`` ..."""
    candidate: int
    of: int = 1
    measure: Measure = "understanding"
    slices: Mapping[str, str] = field(default_factory=dict)
    in_domain: bool = True
    """Whether the bot has an answer to it; else the right answer is none."""
    champion_score: float | None = None
    """Confidence ..."""
    candidate_score: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A set of pairs, counted by speaker."""

    champions: tuple[int, ...]
    """Units right, of each speaker ..."""
    candidates: tuple[int, ...]
    sizes: tuple[int, ...]
    gained: int
    """Pairs the candidate does better on ..."""
    lost: int
    pairs: int

    @classmethod
    def of(cls, pairs: Sequence[Pair]) -> Comparison:
        """Count pairs by speaker."""
        table: dict[str, list[int]] = {}
        for pair in pairs:
            row = table.setdefault(pair.speaker, [0, 0, 0])
            row[0] += pair.champion
            row[1] += pair.candidate
            row[2] += pair.of
        champions, candidates, sizes = zip(*table.values(), strict=True) if table else ((), (), ())
        gained = sum(p.candidate > p.champion for p in pairs)
        return cls(champions, candidates, sizes, gained, sum(p.candidate < p.champion for p in pairs), len(pairs))

    @property
    def speakers(self) -> int:
        return len(self.sizes)

    @property
    def units(self) -> int:
        return sum(self.sizes)

    @property
    def champion(self) -> float:
        """Share of units the champion gets right."""
        return sum(self.champions) / max(1, self.units)

    @property
    def candidate(self) -> float:
        """Share of units the candidate gets right."""
        return sum(self.candidates) / max(1, self.units)

    @property
    def gain(self) -> float:
        """Candidate less champion, in units a unit."""
        return (sum(self.candidates) - sum(self.champions)) / max(1, self.units)

    @cached_property
    def gains(self) -> tuple[int, ...]:
        """Of each speaker, in units."""
        return tuple(b - a for a, b in zip(self.champions, self.candidates, strict=True))

    @property
    def _table(self) -> Table | None:
        """(gained, lost, pairs) where a pair is one thing, right or wrong."""
        return (self.gained, self.lost, self.pairs) if self.pairs and self.units == self.pairs else None

    def p_above(self, null: float = 0.0) -> float:
        """That the gain is more than ``null``: 0 for better, -margin for not worse by the margin."""
        return gain_p(self.gains, self.sizes, null, self._table)

    def p_worse(self) -> float:
        """That it is worse at all."""
        table = (self.lost, self.gained, self.pairs) if self._table else None
        return gain_p([-g for g in self.gains], self.sizes, 0.0, table)

    def interval(self, alpha: float) -> tuple[float, float]:
        """Of the gain, ``alpha`` on each side, by the test that decides."""
        return gain_interval(self.gains, self.sizes, alpha, self._table) if self.units else (-1.0, 1.0)

    def figures(self, alpha: float) -> dict[str, object]:
        """For the report."""
        low, high = self.interval(alpha)
        drawn = cluster_bootstrap(self.gains, self.sizes) if self.units else (-1.0, 1.0)
        return {
            "champion": round(self.champion, 4), "candidate": round(self.candidate, 4), "gain": round(self.gain, 4),
            "interval": [round(low, 4), round(high, 4)], "bootstrap_interval": [round(v, 4) for v in drawn],
            "units": self.units, "pairs": self.pairs, "speakers": self.speakers, "gained": self.gained,
            "lost": self.lost, "p_better": round(self.p_above(), 6),
            "p_mcnemar": round(mcnemar_p(self.gained, self.lost), 6),
            "design_effect": round(design_effect(self.gains, self.gained, self.lost), 2),
        }  # fmt: skip


def split_by(things: Iterable[_T], key: Callable[[_T], _K]) -> dict[_K, list[_T]]:
    """Things by a key, in order of appearance."""
    parts: dict[_K, list[_T]] = {}
    for thing in things:
        parts.setdefault(key(thing), []).append(thing)
    return parts


def ranking(pairs: Sequence[Pair], at_least: int = 10) -> PairedAuc | None:
    """How well each release's confidence ranks what the bot can answer above what it cannot; None with too few."""
    scored = [p for p in pairs if p.champion_score is not None and p.candidate_score is not None]
    inside = sum(p.in_domain for p in scored)
    if min(inside, len(scored) - inside) < at_least:
        return None
    return delong(
        [p.champion_score or 0.0 for p in scored],
        [p.candidate_score or 0.0 for p in scored],
        [p.in_domain for p in scored],
        [p.speaker for p in scored],
    )
