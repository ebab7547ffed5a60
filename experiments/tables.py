"""The experiments' tables. `parley/migrations` makes them; a test holds both against each other.

Epochs and audit rows are only ever added. An exposure joins its call (`calls.tables`) by ``call_id``.
"""

from __future__ import annotations

import sqlalchemy as sa

from parley.database import UtcTime, forbid_changes

WHO_CHARS = 128
WHY_CHARS = 1000

metadata = sa.MetaData()

experiments = sa.Table(
    "experiments",
    metadata,
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
    sa.Column("at", UtcTime, nullable=False),
    sa.UniqueConstraint("name", "epoch"),
)

exposures = sa.Table(
    "exposures",
    metadata,
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
    sa.Column("at", UtcTime, nullable=False),
)

audit = sa.Table(
    "experiment_audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.String(WHO_CHARS), nullable=False),
    sa.Column("what", sa.String(32), nullable=False),
    sa.Column("experiment", sa.String(64), nullable=False),
    sa.Column("why", sa.String(WHY_CHARS), nullable=False),
    sa.Column("before", sa.JSON),
    sa.Column("after", sa.JSON, nullable=False),
    sa.Column("config_version", sa.Integer, nullable=False),
)

forbid_changes(experiments)
forbid_changes(audit)
