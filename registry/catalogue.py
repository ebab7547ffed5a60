"""The catalogue: what was ever published, by whom, from which data. One SQL database for the whole site.

    catalogue = Catalogue.at(settings())
    with catalogue.read() as c:
        version(c, "barista_stt", 3).digest
    with catalogue.write() as c:                 # one transaction; nobody else writes until it ends
        record_version(c, directory, manifest, who="ada", key_id=key)

The functions take the connection, so that several changes make one transaction. The files are the truth: whatever the
catalogue says about a version can be read from its directory again (`registry.recovery.rebuild`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa

from parley.bundle import MANIFEST, UTTERANCES, Manifest
from parley.database import (
    DatabaseMissing,
    DatabaseUnavailable,
    answering,
    connect,
    connect_to_look,
    in_memory,
    migrate,
    tables_of,
    writing,
)
from parley.errors import ParleyError
from parley.settings import Settings, database_url
from parley.utterances import read_utterances
from registry import tables as t

PUBLISHED, COLLECTING, COLLECTED = "published", "collecting", "collected"
STATES = (PUBLISHED, COLLECTING, COLLECTED)
_EXPORT_AGAIN = "export the run again"


class CatalogueUnavailable(DatabaseUnavailable):
    """The catalogue's database does not answer just now."""


class OldTables(ParleyError):
    """The catalogue was made by an older Parley, and nobody wrote since."""


@dataclass(frozen=True)
class VersionRow:
    """One version that was published here."""

    model: str
    number: int
    family: str
    bot: str
    digest: str
    """SHA-256 of its manifest.json, which names the SHA-256 of every other file."""
    dataset_digest: str
    key_id: str
    """The key that signed it."""
    size_bytes: int
    state: str
    """``published``; ``collecting``: the files are being removed; ``collected``: they are gone, the record stays."""
    published_at: datetime
    """When its manifest was written into this repository."""
    published_by: str
    """Who published it here, or had it taken in."""


class Catalogue:
    """The site's catalogue; any number of processes share it."""

    def __init__(self, url: str | sa.URL, *, busy_timeout_s: float = 5.0) -> None:
        """Open ``url`` and bring its tables up to date.

        Raises:
            CatalogueUnavailable: the database does not answer.
            ParleyError: the address is none, or its driver is missing.
        """
        self._engine, self.where = connect(url, busy_timeout_s)
        with answering(self.where, CatalogueUnavailable):
            migrate(self._engine)

    @classmethod
    def at(cls, site: Settings) -> Self:
        """The catalogue of this site.

        Raises:
            CatalogueUnavailable: the database does not answer.
            ParleyError: the address is none, or its driver is missing.
        """
        return cls(database_url(site))

    @classmethod
    def look(cls, site: Settings) -> Self:
        """The catalogue of this site for who only reads: no file is made or touched, no table is migrated.

        Where there is none yet, it is empty and in memory.

        Raises:
            CatalogueUnavailable: the database does not answer.
            OldTables: its tables have to be brought up to date first.
            ParleyError: the database is another program's, or the address is none.
        """
        try:
            found = cls._over(*connect_to_look(database_url(site)))
        except DatabaseMissing as missing:
            return cls._over(in_memory(), f"{missing.where}, not made yet")
        with answering(found.where, CatalogueUnavailable), found._engine.connect() as connection:
            tables = tables_of(connection)
        if tables == "none":
            return cls._over(in_memory(), f"{found.where}, empty")
        if tables == "old":
            raise OldTables("its tables are an older Parley's", where=found.where, mend="parley catalogue upgrade")
        return found

    def in_memory(self) -> Self:
        """The same rows in this process's memory, where they may be changed without anybody else seeing it."""
        engine = in_memory()
        with self.read() as stored, writing(engine).begin() as copy:
            for table in t.metadata.sorted_tables:
                if rows := [dict(row) for row in stored.execute(sa.select(table)).mappings()]:
                    copy.execute(table.insert(), rows)
        return self._over(engine, self.where)

    @classmethod
    def _over(cls, engine: sa.Engine, where: str) -> Self:
        made = cls.__new__(cls)
        made._engine, made.where = engine, where
        return made

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that sees one consistent state; what it writes is not kept.

        Raises:
            CatalogueUnavailable: the database does not answer.
        """
        with answering(self.where, CatalogueUnavailable), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One writing transaction: kept as a whole when the block ends, not at all when it raises.

        Raises:
            CatalogueUnavailable: the database does not answer, or others write for longer than the busy timeout.
        """
        with answering(self.where, CatalogueUnavailable), writing(self._engine).begin() as connection:
            yield connection

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


_COLUMNS = [t.versions.c[field.name] for field in fields(VersionRow)]


def next_number(c: sa.Connection, model: str) -> int:
    """One more than the highest number this model ever had; numbers of collected versions are not used again."""
    highest = c.scalar(sa.select(sa.func.max(t.versions.c.number)).where(t.versions.c.model == model))
    return int(highest or 0) + 1


def versions(
    c: sa.Connection, *, model: str | None = None, bot: str | None = None, state: str | None = None
) -> list[VersionRow]:
    """What was published, by model and number."""
    query = sa.select(*_COLUMNS).order_by(t.versions.c.model, t.versions.c.number)
    for column, value in ((t.versions.c.model, model), (t.versions.c.bot, bot), (t.versions.c.state, state)):
        if value is not None:
            query = query.where(column == value)
    return [VersionRow(*tuple(row)) for row in c.execute(query)]


def numbers(c: sa.Connection) -> dict[str, set[int]]:
    """The numbers of every model that was ever published, collected ones too. Cheap: an index holds them all."""
    found: dict[str, set[int]] = {}
    for model, number in c.execute(sa.select(t.versions.c.model, t.versions.c.number)).all():
        found.setdefault(model, set()).add(number)
    return found


def version(c: sa.Connection, model: str, number: int) -> VersionRow:
    """One version.

    Raises:
        ParleyError: it is not known; lists which are.
    """
    return VersionRow(*tuple(_row(c, model, number, *_COLUMNS)))


def manifest_of(c: sa.Connection, model: str, number: int) -> Manifest:
    """A version's manifest, of a collected one too.

    Raises:
        ParleyError: the version is not known; lists which are.
    """
    return Manifest.model_validate_json(manifest_text(c, model, number))


def manifest_text(c: sa.Connection, model: str, number: int) -> str:
    """A version's manifest.json, byte for byte as it was published.

    Raises:
        ParleyError: the version is not known; lists which are.
    """
    (key,) = _row(c, model, number, t.versions.c.id)
    return str(c.scalar(sa.select(t.manifests.c.text).where(t.manifests.c.version_id == key)))


def _row(c: sa.Connection, model: str, number: int, *columns: sa.ColumnElement[Any]) -> sa.Row[Any]:
    query = sa.select(*columns).where(t.versions.c.model == model, t.versions.c.number == number)
    found = c.execute(query).one_or_none()
    if found is not None:
        return found
    known = c.scalars(sa.select(t.versions.c.number).where(t.versions.c.model == model).order_by(t.versions.c.number))
    have = spans(list(known))
    if have:
        raise ParleyError(f"there is no version {number}", where=model, mend=f"there is: {have}")
    models = ", ".join(c.scalars(sa.select(t.versions.c.model).distinct().order_by(t.versions.c.model)))
    raise ParleyError("nothing was published under this name", where=model, mend=f"there is: {models or 'nothing'}")


def spans(numbers: list[int]) -> str:
    """Sorted numbers as a person writes them: ``1-4, 7``."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def record_version(
    c: sa.Connection,
    directory: Path,
    manifest: Manifest,
    *,
    who: str,
    key_id: str,
    what: str = "publish",
    why: str = "",
) -> VersionRow:
    """Make a version known: its row, its manifest, its dataset's utterances and an audit row.

    The same version again changes nothing.

    Args:
        c: a writing connection.
        directory: the version's files, verified by the caller.
        manifest: of these files; its ``version`` is the number.
        who: published it.
        key_id: signed it.
        what: ``publish``, ``adopt``, ``import`` or ``rebuild``, for the audit.
        why: for the audit.

    Raises:
        ParleyError: the manifest has no number, the number is taken by other content, or the dataset is known with
            other utterances.
    """
    if manifest.version is None:
        raise ParleyError("the manifest names no version", where=str(directory), mend="publish it")
    content = (directory / MANIFEST).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    query = sa.select(*_COLUMNS).where(t.versions.c.model == manifest.model, t.versions.c.number == manifest.version)
    known = c.execute(query).one_or_none()
    if known is not None:
        row = VersionRow(*tuple(known))
        if row.digest != digest:
            raise ParleyError(
                f"version {row.number} is known with other content ({row.digest[:12]}, these files are {digest[:12]})",
                where=str(directory),
                mend="publish it under the next number",
            )
        return row
    # When its manifest was written here: a catalogue that is rebuilt says the same.
    at = datetime.fromtimestamp((directory / MANIFEST).stat().st_mtime, UTC)
    row = VersionRow(
        manifest.model, manifest.version, manifest.family, manifest.bot, digest, manifest.lineage.dataset_digest,
        key_id, sum(p.stat().st_size for p in directory.rglob("*") if p.is_file()), PUBLISHED, at, who[: t.WHO_CHARS],
    )  # fmt: skip
    _check_lengths(row, directory)
    record_dataset(c, directory, manifest)
    insert = t.versions.insert().values({field.name: getattr(row, field.name) for field in fields(row)})
    key = c.execute(insert.returning(t.versions.c.id)).scalar_one()
    c.execute(t.manifests.insert().values(version_id=key, text=content.decode()))
    audit(c, who, what, f"{row.model} {row.number}", why, {"digest": digest, "key_id": key_id})
    return row


def _check_lengths(row: VersionRow, directory: Path) -> None:
    """PostgreSQL refuses what is too long, SQLite would take it: neither may depend on which of them it is."""
    for column in _COLUMNS:
        longest = getattr(column.type, "length", None)
        if longest is not None and len(getattr(row, column.name)) > longest:
            raise ParleyError(
                f"its {column.name} is longer than {longest} characters", where=str(directory), mend=_EXPORT_AGAIN
            )


def record_dataset(c: sa.Connection, directory: Path, manifest: Manifest) -> None:
    """Make the utterances of a version's dataset known, once for all versions that learned from it.

    Args:
        c: a writing connection.
        directory: the version's files, verified by the caller.
        manifest: of these files.

    Raises:
        ParleyError: the list is not one, is another dataset's, or the dataset is known with other utterances.
    """
    digest, where = manifest.lineage.dataset_digest, str(directory / UTTERANCES)
    other = c.scalar(
        sa.select(t.manifests.c.text).join(t.versions).where(t.versions.c.dataset_digest == digest).limit(1)
    )
    content = manifest.files.get(UTTERANCES)
    if other and content and json.loads(other)["files"].get(UTTERANCES) == content:
        return  # the list that was read before, which may be long
    listed = read_utterances(directory)
    if listed is None:
        return
    if (listed.dataset, listed.bot) != (digest, manifest.bot):
        raise ParleyError("lists another dataset than the manifest names", where=where, mend=_EXPORT_AGAIN)
    rows = [(row.sha256, row.id, row.split) for row in listed.rows]
    if c.scalar(sa.select(t.datasets.c.utterances).where(t.datasets.c.digest == digest)) is not None:
        table = t.dataset_utterances.c
        known = sa.select(table.utterance, table.split).where(table.dataset_digest == digest)
        # By content: an older list of the same dataset names its rows by their place, and may name one twice.
        if {tuple(row) for row in c.execute(known)} != {(utterance, split) for utterance, _, split in rows}:
            raise ParleyError(f"dataset {digest[:12]} is known with other utterances", where=where, mend=_EXPORT_AGAIN)
        return
    c.execute(
        t.datasets.insert().values(
            digest=digest, bot=listed.bot, licence=listed.licence[: t.WHY_CHARS], utterances=len(rows)
        )
    )
    columns = ("dataset_digest", "position", "utterance", "name", "split")
    values = [dict(zip(columns, (digest, n, *row), strict=True)) for n, row in enumerate(rows)]
    if values:
        c.execute(t.dataset_utterances.insert(), values)


def set_state(c: sa.Connection, model: str, number: int, state: str) -> None:
    """Mark a version as ``published``, ``collecting`` or ``collected``.

    Raises:
        ParleyError: the version is not known; lists which are.
    """
    if state not in STATES:
        raise ValueError(f"{state!r} is no state of a version")
    _row(c, model, number, t.versions.c.id)
    here = (t.versions.c.model == model) & (t.versions.c.number == number)
    c.execute(t.versions.update().where(here).values(state=state))


def audit(
    c: sa.Connection, who: str, what: str, subject: str, why: str = "", detail: Mapping[str, Any] | None = None
) -> None:
    """Write down who did what to which version or release, and why."""
    c.execute(
        t.registry_audit.insert().values(
            at=datetime.now(UTC), who=who[: t.WHO_CHARS], what=what, subject=subject, why=why[: t.WHY_CHARS],
            detail=dict(detail or {}),
        )
    )  # fmt: skip
