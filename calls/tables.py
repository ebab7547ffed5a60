"""The tables of calls. `parley/migrations` makes them; a test holds both against each other.

Their columns are described in docs/calls.md. No number of a caller is in any of them, and no word he said unless the
site asked for transcripts.
"""

from __future__ import annotations

import sqlalchemy as sa

from parley.database import UtcTime

metadata = sa.MetaData()

calls = sa.Table(
    "calls",
    metadata,
    sa.Column("call_id", sa.String(128), primary_key=True),
    sa.Column("gateway_id", sa.String(128), nullable=False),
    sa.Column("unit", sa.String(64), nullable=False, index=True),
    sa.Column("bot", sa.String(64), nullable=False),
    sa.Column("release", sa.Integer, nullable=False),
    sa.Column("wire", sa.String(32), nullable=False),
    sa.Column("replica", sa.String(64), nullable=False),  # as in `leases`: whose call has no end when it dies
    sa.Column("began", UtcTime, nullable=False, index=True),
    # None while the call goes on, and for ever where its replica died.
    sa.Column("ended", UtcTime),
    sa.Column("why", sa.String(32)),
    sa.Column("tasks", sa.JSON),
)

turns = sa.Table(
    "turns",
    metadata,
    sa.Column("call_id", sa.String(128), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("caller_began_ms", sa.Float),
    sa.Column("caller_ended_ms", sa.Float),
    sa.Column("stt_ms", sa.Float),
    sa.Column("nlu_ms", sa.Float),
    sa.Column("nlg_ms", sa.Float),
    sa.Column("tts_first_ms", sa.Float),
    sa.Column("voice_to_voice_ms", sa.Float),
    sa.Column("played_ms", sa.Float, nullable=False),
    sa.Column("ended", sa.String(16), nullable=False),  # heard, interrupted, replaced, call_over
    sa.Column("resumed", sa.Boolean, nullable=False),
    sa.Column("intent", sa.String(128)),
    sa.Column("text", sa.Text),  # only with PARLEY_LOG_TRANSCRIPTS
    sa.Column("served", sa.JSON, nullable=False),
)

subjects = sa.Table(
    "subjects",
    metadata,
    sa.Column("pseudonym", sa.String(64), primary_key=True),
    sa.Column("kind", sa.String(16), primary_key=True),  # call, recording, dataset_row
    sa.Column("reference", sa.String(256), primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Index("ix_subjects_kind_reference", "kind", "reference"),
)
