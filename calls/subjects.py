"""Everything that came of one person: a caller's pseudonym to his calls, recordings and dataset rows.

    link(connection, pseudonym, "recording", [sha256])
    references(connection, pseudonym)      # [Subject(..., "call", "4f1c…"), Subject(..., "recording", "9b2e…")]

Who is to be forgotten is found here, whatever was made of what he said. A call is linked when it begins.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import ClassVar, Literal

import sqlalchemy as sa

from calls import tables as t
from registry.lineage import Use, rows_in_versions

Kind = Literal["call", "recording", "dataset_row"]


@dataclass(frozen=True)
class Subject:
    """One thing that came of one person."""

    pseudonym: str
    kind: Kind
    reference: str
    """Of a call its id; of a recording and of a dataset's row the SHA-256 of its audio."""
    at: datetime

    statement: ClassVar[sa.Insert] = t.subjects.insert()

    def values(self) -> Mapping[str, object]:
        """See `parley.row_log.Row`."""
        return asdict(self)


def link(c: sa.Connection, pseudonym: str, kind: Kind, references: Iterable[str]) -> int:
    """Link a person to what came of him; what is linked already stays. How many links are new.

    Args:
        c: a writing transaction (`parley.database.writing`).
    """
    table = t.subjects.c
    query = sa.select(table.reference).where(table.pseudonym == pseudonym, table.kind == kind)
    new = sorted(set(references) - set(c.scalars(query)))
    now = datetime.now(UTC)
    if new:
        c.execute(Subject.statement, [asdict(Subject(pseudonym, kind, reference, now)) for reference in new])
    return len(new)


def references(c: sa.Connection, pseudonym: str) -> list[Subject]:
    """Everything that came of a person, by kind and reference."""
    query = sa.select(t.subjects).where(t.subjects.c.pseudonym == pseudonym)
    return [Subject(**row) for row in c.execute(query.order_by(t.subjects.c.kind, t.subjects.c.reference)).mappings()]


def link_audio(c: sa.Connection, kind: Literal["recording", "dataset_row"], audio: Iterable[tuple[str, str]]) -> int:
    """Link people to recordings or dataset rows. How many links are new.

    Args:
        c: a writing transaction.
        kind: what they are.
        audio: (pseudonym, SHA-256 of the audio) of each; without a pseudonym is nobody.
    """
    of: dict[str, list[str]] = defaultdict(list)
    for pseudonym, digest in audio:
        if pseudonym:
            of[pseudonym].append(digest)
    return sum(link(c, pseudonym, kind, digests) for pseudonym, digests in of.items())


def rows_in_versions_of(c: sa.Connection, pseudonym: str) -> list[Use]:
    """Every dataset row that came of a person, in every published version that lists it."""
    table = t.subjects.c
    return rows_in_versions(
        c, sa.select(table.reference).where(table.pseudonym == pseudonym, table.kind == "dataset_row")
    )
