"""The catalogue: versions, manifests, datasets, releases, pointers, holds, leases, verdicts, audit."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from parley.database import refuse_changes

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    _versions()
    _datasets()
    _releases()
    _users_of_versions()
    _history()
    for name in ("pointer_moves", "verdicts", "registry_audit"):
        refuse_changes(op.get_bind(), name)


def _versions() -> None:
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("family", sa.String(16), nullable=False),
        sa.Column("bot", sa.String(64), nullable=False, index=True),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("dataset_digest", sa.String(64), nullable=False, index=True),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False, index=True),
        sa.Column("published_at", sa.DateTime, nullable=False),
        sa.Column("published_by", sa.String(128), nullable=False),
        sa.UniqueConstraint("model", "number"),
    )
    op.create_table(
        "manifests",
        sa.Column("version_id", sa.Integer, sa.ForeignKey("versions.id"), primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text, nullable=False),
    )


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("bot", sa.String(64), nullable=False),
        sa.Column("licence", sa.String(1000), nullable=False),
        sa.Column("utterances", sa.Integer, nullable=False),
    )
    op.create_table(
        "dataset_utterances",
        sa.Column("dataset_digest", sa.String(64), sa.ForeignKey("datasets.digest"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("utterance", sa.String(64), nullable=False, index=True),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("split", sa.String(16), nullable=False),
    )


def _releases() -> None:
    op.create_table(
        "dialogues",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("text", sa.Text, nullable=False),
    )
    op.create_table(
        "releases",
        sa.Column("bot", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("dialogue_digest", sa.String(64), sa.ForeignKey("dialogues.digest"), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("why", sa.String(1000), nullable=False),
    )
    op.create_table(
        "release_stages",
        sa.Column("bot", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("stage", sa.String(16), primary_key=True),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.ForeignKeyConstraint(["bot", "number"], ["releases.bot", "releases.number"]),
        sa.Index("ix_release_stages_model_version", "model", "version"),
    )


def _users_of_versions() -> None:
    op.create_table(
        "holds",
        sa.Column("holder", sa.String(128), primary_key=True),
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.DateTime, nullable=False),
    )
    op.create_table(
        "leases",
        sa.Column("replica", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("calls", sa.Integer, nullable=False),
        sa.Column("seen_at", sa.DateTime, nullable=False),
    )


def _history() -> None:
    op.create_table(
        "pointer_moves",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("bot", sa.String(64), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("champion", sa.Integer),
        sa.Column("candidate", sa.Integer),
        sa.Column("previous", sa.Integer),
        sa.Column("what", sa.String(16), nullable=False),
        sa.Column("moved_from", sa.Integer),
        sa.Column("moved_to", sa.Integer),
        sa.Column("forced", sa.Boolean, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("why", sa.String(1000), nullable=False),
        sa.UniqueConstraint("bot", "seq"),
    )
    op.create_table(
        "verdicts",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("bot", sa.String(64), nullable=False),
        sa.Column("candidate", sa.Integer, nullable=False),
        sa.Column("against", sa.Integer, nullable=False),
        sa.Column("accepted", sa.Boolean, nullable=False),
        sa.Column("report", sa.JSON, nullable=False),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
    )
    op.create_table(
        "registry_audit",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("at", sa.DateTime, nullable=False),
        sa.Column("who", sa.String(128), nullable=False),
        sa.Column("what", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(160), nullable=False),
        sa.Column("why", sa.String(1000), nullable=False),
        sa.Column("detail", sa.JSON, nullable=False),
    )
