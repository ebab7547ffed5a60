"""Calls, their turns, and what came of whom; `pointer_moves` becomes `alias_changes`."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from parley.database import refuse_changes

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables, and rename one with everything that bears its name."""
    _calls()
    _turns()
    _subjects()
    _alias_changes()


def _calls() -> None:
    op.create_table(
        "calls",
        sa.Column("call_id", sa.String(128), primary_key=True),
        sa.Column("gateway_id", sa.String(128), nullable=False),
        sa.Column("unit", sa.String(64), nullable=False, index=True),
        sa.Column("bot", sa.String(64), nullable=False),
        sa.Column("release", sa.Integer, nullable=False),
        sa.Column("wire", sa.String(32), nullable=False),
        sa.Column("replica", sa.String(64), nullable=False),
        sa.Column("began", sa.DateTime, nullable=False, index=True),
        sa.Column("ended", sa.DateTime),
        sa.Column("why", sa.String(32)),
        sa.Column("tasks", sa.JSON),
    )


def _turns() -> None:
    op.create_table(
        "turns",
        sa.Column("call_id", sa.String(128), primary_key=True),
        sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("caller_began_ms", sa.Float),
        sa.Column("caller_ended_ms", sa.Float),
        sa.Column("stt_ms", sa.Float),
        sa.Column("nlu_ms", sa.Float),
        sa.Column("nlg_ms", sa.Float),
        sa.Column("tts_first_ms", sa.Float),
        sa.Column("voice_to_voice_ms", sa.Float),
        sa.Column("played_ms", sa.Float, nullable=False),
        sa.Column("ended", sa.String(16), nullable=False),
        sa.Column("resumed", sa.Boolean, nullable=False),
        sa.Column("intent", sa.String(128)),
        sa.Column("text", sa.Text),
        sa.Column("served", sa.JSON, nullable=False),
    )


def _subjects() -> None:
    op.create_table(
        "subjects",
        sa.Column("pseudonym", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("reference", sa.String(256), primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Index("ix_subjects_kind_reference", "kind", "reference"),
    )


def _alias_changes() -> None:
    bind = op.get_bind()
    old, new = "pointer_moves", "alias_changes"
    # A trigger keeps its name and its words when its table is renamed: it is made anew.
    if bind.dialect.name == "postgresql":
        op.execute(f"DROP TRIGGER {old}_append_only ON {old}")
    else:
        for action in ("update", "delete"):
            op.execute(f"DROP TRIGGER {old}_no_{action}")
    op.rename_table(old, new)
    if bind.dialect.name == "postgresql":  # SQLite's have no names
        for rest in ("pkey", "bot_seq_key"):
            op.execute(f"ALTER TABLE {new} RENAME CONSTRAINT {old}_{rest} TO {new}_{rest}")
        op.execute(f"ALTER SEQUENCE {old}_id_seq RENAME TO {new}_id_seq")
    refuse_changes(bind, new)
