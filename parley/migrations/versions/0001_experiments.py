"""Experiments: epochs, exposures, audit. Databases that were made before there were migrations have these already."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from parley.database import refuse_changes

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make what is missing; what is there stays as it is."""
    present = set(sa.inspect(op.get_bind()).get_table_names())
    for name, make in (("experiments", _experiments), ("exposures", _exposures), ("experiment_audit", _audit)):
        if name not in present:
            make()
    for name in ("experiments", "experiment_audit"):
        refuse_changes(op.get_bind(), name)


def _experiments() -> None:
    op.create_table(
        "experiments",
        sa.Column("config_version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("algorithm", sa.String(16), nullable=False),
        sa.Column("salt", sa.String(256), nullable=False),
        sa.Column("arms", sa.JSON, nullable=False),
        sa.Column("coverage", sa.Float, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.UniqueConstraint("name", "epoch"),
    )


def _exposures() -> None:
    op.create_table(
        "exposures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("call_id", sa.String(128), nullable=False, index=True),
        sa.Column("turn", sa.Integer, nullable=False),
        sa.Column("unit", sa.String(64), nullable=False, index=True),
        sa.Column("stage", sa.String(16), nullable=False),
        sa.Column("experiment", sa.String(64), index=True),
        sa.Column("arm", sa.String(64)),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("config_version", sa.Integer, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )


def _audit() -> None:
    op.create_table(
        "experiment_audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("experiment", sa.String(64), nullable=False),
        sa.Column("why", sa.String(1000), nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON, nullable=False),
        sa.Column("config_version", sa.Integer, nullable=False),
    )
