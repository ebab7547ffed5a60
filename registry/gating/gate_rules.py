"""A bot's gate: ``bots/<bot>/gate.yaml``, what a candidate must show before it may answer calls.

It is a file of its own because ``bot.yaml`` names the bot's content: a stricter gate must not make a new bot.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from parley.errors import ParleyError
from parley.files import sha256_json
from parley.text_files import read_text
from parley.yaml_text import LARGEST_BYTES, read_yaml
from registry.gating.statistics import smallest_speakers

RULES = "gate.yaml"
GOLDEN = "golden.jsonl"
Unjudged = Literal["refuse", "allow"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class SliceRule(_Strict):
    """The candidate must not be worse for anyone: every value of a field is judged alone."""

    field: str
    """``condition`` (clean, or the noise), ``intent``, or any field of the recordings' manifest."""
    margin: float = Field(default=0.05, gt=0, lt=1)
    """So much worse counts as worse."""
    alpha: float = Field(default=0.025, gt=0, lt=0.5)
    min_speakers: int = Field(default=6, ge=1)
    min_utterances: int = Field(default=40, ge=1)
    unjudged: Unjudged = "refuse"
    """What a value with less data than that means."""


class StageBudget(_Strict):
    """What a stage may cost."""

    p95_ms: float | None = Field(default=None, gt=0)
    """Of the candidate's answers, in this process, one at a time."""
    slower: float | None = Field(default=None, gt=0)
    """Median over utterances of candidate / champion."""
    memory_mb: float | None = Field(default=None, gt=0)
    """Peak of a process that answers one request, less the same process without a model."""
    larger: float | None = Field(default=None, gt=0)
    """The candidate's memory / the champion's."""


class Cheaper(_Strict):
    """What a candidate that need not be better must save: one of these, on a stage that it changes."""

    latency: float | None = Field(default=None, gt=0, lt=1)
    """Median over utterances of candidate / champion, at most."""
    memory: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _something(self) -> Cheaper:
        if self.latency is None and self.memory is None:
            raise ValueError("name latency, memory or both")
        return self


class GateRules(_Strict):
    """A whole ``gate.yaml``."""

    alpha: float = Field(default=0.025, gt=0, lt=0.5)
    """Chance that a candidate which is no better is called better (one-sided)."""
    min_effect: float = Field(default=0.005, ge=0, lt=1)
    """A gain below this is not worth a change, however sure it is."""
    margin: float = Field(default=0.02, gt=0, lt=1)
    """So much worse counts as worse, over everything."""
    min_speakers: int = Field(default=8, ge=1)
    min_utterances: int = Field(default=60, ge=1)
    snr_db: list[float] = Field(default_factory=lambda: [18.0, 9.0])
    """Conditions beside clean, where a noise is given."""
    slices: list[SliceRule] = Field(default_factory=list)
    ranking_margin: float = Field(default=0.03, gt=0, lt=1)
    """The confidence's area under the ROC curve may fall by less than this."""
    budgets: dict[Literal["stt", "nlu", "nlg", "tts"], StageBudget] = Field(default_factory=dict)
    cheaper: Cheaper | None = None
    """Opens ``--purpose non-inferior``; without it a candidate must be better."""
    unknown_lineage: Unjudged = "refuse"
    """What it means when the catalogue does not know what a version learned from."""

    @model_validator(mode="after")
    def _possible(self) -> GateRules:
        for what, alpha, least in [
            ("min_speakers", self.alpha, self.min_speakers),
            *((f"slices.{s.field}.min_speakers", s.alpha, s.min_speakers) for s in self.slices),
        ]:
            if least < smallest_speakers(alpha):
                raise ValueError(
                    f"{what}: no test can reach alpha {alpha:g} with fewer than {smallest_speakers(alpha)}"
                )
        return self

    @property
    def digest(self) -> str:
        """Names the rules a verdict was given by."""
        return sha256_json(self.model_dump(mode="json"))


def read_rules(bots_dir: Path, bot: str) -> GateRules:
    """The gate of a bot.

    Raises:
        ParleyError: it has none, or the file is wrong; names the key.
    """
    path = bots_dir / bot / RULES
    if not path.is_file():
        raise ParleyError("the bot has no gate", where=str(path), mend="write one: docs/gate.md")
    text = read_text(path, largest=LARGEST_BYTES)
    if all(line.lstrip().startswith("#") or not line.strip() for line in text.splitlines()):
        return GateRules()
    document = read_yaml(text, str(path))
    try:
        return GateRules.model_validate(document.data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        what = str(first["msg"]).removeprefix("Value error, ")
        where = f"{path}:{document.line(first['loc'])}"
        raise ParleyError(f"{key}: {what}" if key else what, where=where, mend="see docs/gate.md") from None
