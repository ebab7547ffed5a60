"""What was really served: one row per call, turn and stage. `orchestrator.turn` makes them of a turn that is over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

import sqlalchemy as sa

from experiments import tables as t


@dataclass(frozen=True)
class Exposure:
    """One stage of one turn: the arm that was assigned and the version that answered."""

    call_id: str
    turn: int
    unit: str
    """Pseudonym; never the caller's number."""
    stage: str
    model: str
    version: int
    """The version that was served; 0 for a built-in fallback."""
    reason: str
    """``StageAssignment.reason``, or ``fallback`` where the assigned version failed and another answered."""
    experiment: str | None = None
    arm: str | None = None
    config_version: int = 0
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    statement: ClassVar[sa.Insert] = t.exposures.insert()

    def values(self) -> Mapping[str, object]:
        """See `parley.row_log.Row`."""
        return asdict(self)


def exposures(c: sa.Connection, call_id: str | None = None) -> list[Exposure]:
    """What was served, in the order it was written."""
    query = sa.select(t.exposures).order_by(t.exposures.c.id)
    if call_id is not None:
        query = query.where(t.exposures.c.call_id == call_id)
    return [Exposure(**{k: v for k, v in row.items() if k != "id"}) for row in c.execute(query).mappings()]
