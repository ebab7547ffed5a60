"""Calls over fake models, and the rows that they write."""

from __future__ import annotations

from typing import Any

from call_fakes import FakeGateway, fake_services
from fake_models import FakeModels

from calls.records import TurnRow
from experiments.exposures import Exposure
from orchestrator.services import Services
from parley.audio import TELEPHONE_RATE
from parley.row_log import Row


def written_services(**params: Any) -> tuple[Services, FakeModels, list[Row]]:
    """Services, their models, and every row that their calls write."""
    services, models = fake_services(**params)
    rows: list[Row] = []
    services.record = rows.extend
    return services, models, rows


def turns(rows: list[Row]) -> list[TurnRow]:
    return [row for row in rows if isinstance(row, TurnRow)]


def served(rows: list[Row], turn: int) -> dict[str, str]:
    """Stage to why what answered in a turn answered."""
    return {row.stage: row.reason for row in rows if isinstance(row, Exposure) and row.turn == turn}


def sent_ms(gateway: FakeGateway) -> float:
    return len(gateway.media()) * 1000 / TELEPHONE_RATE
