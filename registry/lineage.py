"""Where versions come from, and where utterances went: from a version to its utterances, and back.

    with catalogue.read() as c:
        origin(c, "barista_stt", 3).splits                  # {"train": 1620, "dev": 180, "test": 200}
        learned_from(c, sha256_of_a_recording)              # every version that was trained on it

An utterance is known by digest only: the SHA-256 of its recording as the dataset stores it, or of its text where there
is no sound. A person who asks to be forgotten brings the recording; the catalogue never held it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from parley.bundle import Manifest
from parley.errors import ParleyError
from parley.files import sha256_file
from parley.names import is_sha256
from parley.utterances import Utterance
from registry import tables as t
from registry.catalogue import VersionRow, manifest_of, version

TRAIN = "train"
_LONGEST_TEXT = 1 << 20


@dataclass(frozen=True)
class Origin:
    """What one version was made of."""

    version: VersionRow
    manifest: Manifest
    splits: dict[str, int]
    """Split to how many utterances; empty where the version does not say."""


@dataclass(frozen=True)
class Use:
    """One version that saw an utterance."""

    version: VersionRow
    split: str
    """``train``: it learned from it; any other: it was chosen or measured by it."""
    id: str
    """The utterance's name in the dataset."""
    sha256: str
    """The utterance's digest."""


def origin(c: sa.Connection, model: str, number: int) -> Origin:
    """Where a version comes from.

    Raises:
        ParleyError: it is not known; lists which are.
    """
    row = version(c, model, number)
    table = t.dataset_utterances.c
    query = sa.select(table.split, sa.func.count()).where(table.dataset_digest == row.dataset_digest)
    counted = {split: count for split, count in c.execute(query.group_by(table.split))}
    splits = {split: counted[split] for split in sorted(counted, key=_in_order)}
    return Origin(row, manifest_of(c, model, number), splits)


def utterances(c: sa.Connection, model: str, number: int, split: str | None = None) -> list[Utterance]:
    """The utterances of a version's dataset, in its order; of one split if given.

    Raises:
        ParleyError: the version is not known; lists which are.
    """
    table = t.dataset_utterances.c
    digest = version(c, model, number).dataset_digest
    query = sa.select(table.utterance, table.name, table.split).where(table.dataset_digest == digest)
    if split is not None:
        query = query.where(table.split == split)
    return [Utterance(*tuple(row)) for row in c.execute(query.order_by(table.position))]


def learned_from(c: sa.Connection, utterance: str) -> list[VersionRow]:
    """Every version that was trained on an utterance, collected ones too."""
    return [use.version for use in uses(c, [utterance]) if use.split == TRAIN]


def uses(c: sa.Connection, digests: Collection[str]) -> list[Use]:
    """Every version whose dataset holds an utterance of one of these digests, by model and number.

    A dataset may hold the same words twice: one use a version and split is enough.
    """
    found: dict[tuple[str, int, str], Use] = {}
    for use in rows_in_versions(c, digests):
        found.setdefault((use.version.model, use.version.number, use.split), use)
    return list(found.values())


def rows_in_versions(c: sa.Connection, digests: Collection[str] | sa.Select[tuple[str]]) -> list[Use]:
    """Every row of one of these digests in every version's list, by model, number and the list's order.

    Args:
        c: a reading connection.
        digests: of utterances, or a query that gives them.
    """
    table, columns = t.dataset_utterances.c, [t.versions.c[field.name] for field in fields(VersionRow)]
    query: sa.Select[Any] = (
        sa.select(*columns, table.split, table.name, table.utterance)
        .join_from(t.dataset_utterances, t.versions, t.versions.c.dataset_digest == table.dataset_digest)
        .where(table.utterance.in_(digests))
        .order_by(t.versions.c.model, t.versions.c.number, table.position)
    )
    found = []
    for row in c.execute(query):
        *values, split, name, digest = tuple(row)
        found.append(Use(VersionRow(*values), split, name, digest))
    return found


def utterance_digests(given: str) -> list[str]:
    """Under which digests a dataset would know what a person names: a digest, or a file.

    A recording is known by the file that the dataset stores, 8 kHz FLAC, so it is converted the same way; a text
    without sound by its words.

    Raises:
        ParleyError: it is neither a SHA-256 nor a readable file, or sound of several channels.
    """
    if is_sha256(given.lower()):
        return [given.lower()]
    path = Path(given)
    if not path.is_file():
        raise ParleyError("neither a SHA-256 nor a file", where=given, mend="give 64 hex digits, or a recording")
    try:
        found = [sha256_file(path), *_of_text(path), *_of_sound(path)]
    except OSError as error:
        raise ParleyError(f"cannot be read: {error.strerror}", where=given, mend="give a readable file") from None
    return list(dict.fromkeys(found))


def _of_text(path: Path) -> list[str]:
    if path.stat().st_size > _LONGEST_TEXT:
        return []
    try:
        return [hashlib.sha256(path.read_bytes().decode().strip().encode()).hexdigest()]
    except UnicodeDecodeError:
        return []


def _of_sound(path: Path) -> list[str]:
    import soundfile  # libraries of sound, only where a file is asked for

    from models.stored_audio import stored_digest

    try:
        soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return []
    return [stored_digest(path)]


def _in_order(split: str) -> tuple[int, str]:
    known = (TRAIN, "dev", "valid", "test")
    return (known.index(split) if split in known else len(known), split)
