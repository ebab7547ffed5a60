"""What experiments remember: every epoch, who changed what and why, and what was served.

    with ExperimentStore.at(settings()) as store:
        store.change("Ada", "start", "first try", lambda known: start("stt-2", "stt", "barista_stt", arms, 0.1, known))
        store.exposures("4f1c…")        # what that call was served

Epochs and audit rows are only ever added. ``config_version`` counts the epochs of all experiments: replicas follow it.
SQLite (WAL) by default, PostgreSQL where the site says so; `parley.database` makes both keep the same promises.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from experiments import tables as t
from experiments.assignment import Arm, Experiment, Snapshot
from experiments.exposures import Exposure, exposures
from parley.database import DatabaseUnavailable, answering, connect, migrate, storable, writing
from parley.errors import ParleyError
from parley.settings import Settings, database_url
from registry.releasing.holds import EXPERIMENT, hold, holders, let_go


class StoreUnavailable(DatabaseUnavailable):
    """The database is locked, absent or full just now; the same write may succeed later."""


@dataclass(frozen=True)
class AuditRow:
    """One change by one person."""

    at: datetime
    who: str
    what: str
    experiment: str
    why: str
    before: dict[str, Any] | None
    after: dict[str, Any]
    config_version: int


class ExperimentStore:
    """The experiments of a site in one database, which any number of processes share."""

    def __init__(self, url: str | sa.URL, *, busy_timeout_s: float = 5.0) -> None:
        """Open ``url`` (``sqlite:///var/parley.db``, ``postgresql://…``) and bring its tables up to date.

        Raises:
            ParleyError: it cannot be opened or made.
        """
        self._engine, self._where = connect(url, busy_timeout_s)
        with self._problems():
            migrate(self._engine)
            self._hold_live()

    @classmethod
    def at(cls, settings: Settings) -> ExperimentStore:
        """The store of this site, in its database."""
        return cls(database_url(settings))

    # Experiments

    def config_version(self) -> int:
        """The version of the newest change, 0 before the first. One indexed read: replicas poll it.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        with self._problems(), self._engine.connect() as connection:
            return config_version_of(connection)

    def snapshot(self) -> Snapshot:
        """All experiments, each in its newest epoch, in one consistent state.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        with self._problems(), self._engine.connect() as connection:
            return snapshot_of(connection)

    def change(
        self,
        who: str,
        what: str,
        why: str,
        rule: Callable[[Sequence[Experiment]], Experiment],
        check: Callable[[sa.Connection, Experiment, Sequence[Experiment]], None] | None = None,
    ) -> Experiment:
        """Add the epoch that ``rule`` makes of the known experiments, with its audit row, in one transaction.

        While an experiment is live the catalogue holds its arms, so that nobody promotes or deletes them away.

        Args:
            who: the person, for the audit.
            what: ``start``, ``ramp`` or ``stop``.
            why: their reason.
            rule: gets every experiment in its newest epoch; raises what it refuses.
            check: looks at the new epoch in the same transaction, beside the catalogue; raises what it refuses.

        Raises:
            StoreUnavailable: the database cannot be written now.
            ParleyError: ``who`` or ``why`` is too long or cannot be stored.
        """
        _check_words(who, why)
        with self._problems(), writing(self._engine).begin() as connection:
            known = tuple(_newest(connection))
            version = config_version_of(connection) + 1
            new = dataclasses.replace(rule(known), config_version=version)
            if check is not None:
                check(connection, new, known)
            _keep_arms(connection, new)
            before = next((e for e in known if e.name == new.name), None)
            now = datetime.now(UTC)
            connection.execute(t.experiments.insert().values(at=now, **asdict(new)))
            connection.execute(
                t.audit.insert().values(
                    at=now,
                    who=who,
                    what=what,
                    experiment=new.name,
                    why=why,
                    before=sa.null() if before is None else asdict(before),
                    after=asdict(new),
                    config_version=version,
                )
            )
            return new

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A reading transaction of the database, which holds the catalogue too.

        Raises:
            StoreUnavailable: the database cannot be read now.
        """
        with self._problems(), self._engine.connect() as connection:
            yield connection

    def _hold_live(self) -> None:
        """Hold the arms of experiments that were started before there were holds."""
        with self._engine.connect() as connection:
            unheld = [e for e in snapshot_of(connection).live if not _held(connection, e)]
        if unheld:
            with writing(self._engine).begin() as connection:
                for experiment in snapshot_of(connection).live:
                    _keep_arms(connection, experiment)

    def audit(self, experiment: str | None = None) -> list[AuditRow]:
        """The changes of one experiment or of all, oldest first."""
        query = sa.select(t.audit).order_by(t.audit.c.id)
        if experiment is not None:
            query = query.where(t.audit.c.experiment == experiment)
        with self._problems(), self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [AuditRow(**{k: v for k, v in row.items() if k != "id"}) for row in rows]

    def exposures(self, call_id: str | None = None) -> list[Exposure]:
        """What was served (`parley.row_log` writes it), in the order it was written."""
        with self._problems(), self._engine.connect() as connection:
            return exposures(connection, call_id)

    def close(self) -> None:
        """Let go of the database. May be called twice."""
        self._engine.dispose()

    def _problems(self) -> AbstractContextManager[None]:
        return answering(self._where, StoreUnavailable)

    def __enter__(self) -> ExperimentStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_words(who: str, why: str) -> None:
    """Raise where the audit cannot take them as they are."""
    if len(who) > t.WHO_CHARS or len(why) > t.WHY_CHARS:
        raise ParleyError(f"who ({t.WHO_CHARS}) or why ({t.WHY_CHARS} characters) is too long", mend="say it shorter")
    for name, text in (("who", who), ("why", why)):
        storable(text, name)


def _keep_arms(connection: sa.Connection, experiment: Experiment) -> None:
    """Have the catalogue hold the arms of a live experiment, and let go of a stopped one's."""
    holder = EXPERIMENT + experiment.name
    if experiment.state == "live":
        hold(connection, holder, [(experiment.model, arm.version) for arm in experiment.arms])
    else:
        let_go(connection, holder)


def _held(connection: sa.Connection, experiment: Experiment) -> bool:
    return EXPERIMENT + experiment.name in holders(connection, experiment.model)


def config_version_of(connection: sa.Connection) -> int:
    """The version of the newest change, in the transaction at hand."""
    return connection.scalar(sa.select(sa.func.max(t.experiments.c.config_version))) or 0


def snapshot_of(connection: sa.Connection) -> Snapshot:
    """All experiments, each in its newest epoch, in the transaction at hand."""
    return Snapshot(config_version_of(connection), tuple(_newest(connection)))


def _newest(connection: sa.Connection) -> Iterator[Experiment]:
    """Every experiment in its newest epoch, in the order of their starts."""
    table = t.experiments
    newest = sa.select(sa.func.max(table.c.config_version)).group_by(table.c.name)
    first = sa.func.min(table.c.config_version).label("first")
    started = sa.select(table.c.name, first).group_by(table.c.name).subquery()
    query = (
        sa.select(table)
        .join(started, started.c.name == table.c.name)
        .where(table.c.config_version.in_(newest))
        .order_by(started.c.first)
    )
    for row in connection.execute(query).mappings():
        yield _from_row(row)


def _from_row(row: Mapping[Any, Any]) -> Experiment:
    fields = {f.name: row[f.name] for f in dataclasses.fields(Experiment)}
    return Experiment(**{**fields, "arms": tuple(Arm(**arm) for arm in row["arms"])})
