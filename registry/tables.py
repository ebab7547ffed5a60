"""The catalogue's tables. `parley/migrations` makes them; a test holds both against each other.

What happened is only ever added (`alias_changes`, `verdicts`, `registry_audit`); a version's or release's row stays
when its files are collected, so that nothing a call ever used becomes unknown.
"""

from __future__ import annotations

import sqlalchemy as sa

from parley.database import UtcTime, forbid_changes

WHO_CHARS = 128
WHY_CHARS = 1000

metadata = sa.MetaData()

versions = sa.Table(
    "versions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("family", sa.String(16), nullable=False),
    sa.Column("bot", sa.String(64), nullable=False, index=True),
    sa.Column("digest", sa.String(64), nullable=False),
    # SHA-256 of manifest.json, which names the SHA-256 of every other file.
    sa.Column("dataset_digest", sa.String(64), nullable=False, index=True),
    sa.Column("key_id", sa.String(64), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False, index=True),  # published, collecting, collected
    sa.Column("published_at", UtcTime, nullable=False),
    sa.Column("published_by", sa.String(WHO_CHARS), nullable=False),
    sa.UniqueConstraint("model", "number"),
)

manifests = sa.Table(
    "manifests",
    metadata,
    sa.Column("version_id", sa.Integer, sa.ForeignKey("versions.id"), primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text, nullable=False),  # manifest.json as published, byte for byte
)

datasets = sa.Table(
    "datasets",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("bot", sa.String(64), nullable=False),
    sa.Column("licence", sa.String(WHY_CHARS), nullable=False),
    sa.Column("utterances", sa.Integer, nullable=False),
)

dataset_utterances = sa.Table(
    "dataset_utterances",
    metadata,
    sa.Column("dataset_digest", sa.String(64), sa.ForeignKey("datasets.digest"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("utterance", sa.String(64), nullable=False, index=True),
    # SHA-256 of the recording, or of the text where there is no sound.
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("split", sa.String(16), nullable=False),
)

dialogues = sa.Table(
    "dialogues",
    metadata,
    sa.Column("digest", sa.String(64), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
)

releases = sa.Table(
    "releases",
    metadata,
    sa.Column("bot", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("dialogue_digest", sa.String(64), sa.ForeignKey("dialogues.digest"), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),  # kept, retired
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.String(WHO_CHARS), nullable=False),
    sa.Column("why", sa.String(WHY_CHARS), nullable=False),
)

release_stages = sa.Table(
    "release_stages",
    metadata,
    sa.Column("bot", sa.String(64), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("stage", sa.String(16), primary_key=True),
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.ForeignKeyConstraint(["bot", "number"], ["releases.bot", "releases.number"]),
    sa.Index("ix_release_stages_model_version", "model", "version"),
)

alias_changes = sa.Table(
    "alias_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("bot", sa.String(64), nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    # Where the three aliases point after this change; None is nowhere. The newest row of a bot is its state.
    sa.Column("champion", sa.Integer),
    sa.Column("candidate", sa.Integer),
    sa.Column("previous", sa.Integer),
    sa.Column("what", sa.String(16), nullable=False),  # first, candidate, promote, rollback
    sa.Column("moved_from", sa.Integer),
    sa.Column("moved_to", sa.Integer),
    sa.Column("forced", sa.Boolean, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.String(WHO_CHARS), nullable=False),
    sa.Column("why", sa.String(WHY_CHARS), nullable=False),
    sa.UniqueConstraint("bot", "seq"),
)

holds = sa.Table(
    "holds",
    metadata,
    sa.Column("holder", sa.String(128), primary_key=True),  # "experiment stt-2"
    sa.Column("model", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", UtcTime, nullable=False),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("replica", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(128), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("calls", sa.Integer, nullable=False),
    sa.Column("seen_at", UtcTime, nullable=False),
)

verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("bot", sa.String(64), nullable=False),
    sa.Column("candidate", sa.Integer, nullable=False),
    sa.Column("against", sa.Integer, nullable=False),
    sa.Column("accepted", sa.Boolean, nullable=False),
    sa.Column("report", sa.JSON, nullable=False),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.String(WHO_CHARS), nullable=False),
)

registry_audit = sa.Table(
    "registry_audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.String(WHO_CHARS), nullable=False),
    sa.Column("what", sa.String(32), nullable=False),  # publish, adopt, import, collect, retire, rebuild
    sa.Column("subject", sa.String(160), nullable=False),  # "barista_stt 3", "barista release 4"
    sa.Column("why", sa.String(WHY_CHARS), nullable=False),
    sa.Column("detail", sa.JSON, nullable=False),
)

for table in (alias_changes, verdicts, registry_audit):
    forbid_changes(table)
