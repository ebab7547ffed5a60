"""What experiments remember: every epoch, who changed what and why, and what was served.

    with ExperimentStore.at(settings()) as store:
        store.change("Ada", "start", "first try", lambda known: start("stt-2", "stt", "barista_stt", arms, 0.1, known))
        store.log_exposures(rows)       # returns at once

Epochs and audit rows are only ever added. ``config_version`` counts the epochs of all experiments: replicas follow it.
SQLite (WAL) by default, PostgreSQL where the site says so; `parley.database` makes both keep the same promises.
"""

from __future__ import annotations

import atexit
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import sqlalchemy as sa

from experiments.assignment import Arm, Experiment, Snapshot
from experiments.exposures import Exposure, ExposureWriter, StoreUnavailable
from experiments.follower import SnapshotFollower as SnapshotFollower
from parley.database import UtcTime, answering, connect, forbid_changes, migrate, storable, writing
from parley.errors import ParleyError
from parley.settings import Settings, database_url
from registry.releasing.holds import EXPERIMENT, hold, holders, let_go

_WHO_CHARS = 128
_WHY_CHARS = 1000

metadata = sa.MetaData()

experiments_table = sa.Table(
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

exposures_table = sa.Table(
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

audit_table = sa.Table(
    "experiment_audit",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("at", UtcTime, nullable=False),
    sa.Column("who", sa.String(_WHO_CHARS), nullable=False),
    sa.Column("what", sa.String(32), nullable=False),
    sa.Column("experiment", sa.String(64), nullable=False),
    sa.Column("why", sa.String(_WHY_CHARS), nullable=False),
    sa.Column("before", sa.JSON),
    sa.Column("after", sa.JSON, nullable=False),
    sa.Column("config_version", sa.Integer, nullable=False),
)

forbid_changes(experiments_table)
forbid_changes(audit_table)


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
        self._exposures = ExposureWriter(self._write_exposures)
        atexit.register(self.close)

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
        """
        if len(who) > _WHO_CHARS or len(why) > _WHY_CHARS:
            raise ParleyError(f"who ({_WHO_CHARS}) or why ({_WHY_CHARS} characters) is too long", mend="say it shorter")
        for name, text in (("who", who), ("why", why)):
            storable(text, name)
        with self._problems(), writing(self._engine).begin() as connection:
            known = tuple(_newest(connection))
            version = config_version_of(connection) + 1
            new = dataclasses.replace(rule(known), config_version=version)
            if check is not None:
                check(connection, new, known)
            _keep_arms(connection, new)
            before = next((e for e in known if e.name == new.name), None)
            now = datetime.now(UTC)
            connection.execute(experiments_table.insert().values(at=now, **asdict(new)))
            connection.execute(
                audit_table.insert().values(
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
        query = sa.select(audit_table).order_by(audit_table.c.id)
        if experiment is not None:
            query = query.where(audit_table.c.experiment == experiment)
        with self._problems(), self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [AuditRow(**{k: v for k, v in row.items() if k != "id"}) for row in rows]

    # Exposures

    def log_exposures(self, rows: Iterable[Exposure]) -> None:
        """Hand rows to the background writer; returns at once and never raises. Lost rows are counted in
        ``dropped``."""
        self._exposures.put(rows)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until the rows handed over are written; False when the time is over first."""
        return self._exposures.flush(timeout_s)

    @property
    def written(self) -> int:
        """Exposures this process has written."""
        return self._exposures.written

    @property
    def dropped(self) -> int:
        """Exposures this process has lost."""
        return self._exposures.dropped

    def exposures(self, call_id: str | None = None) -> list[Exposure]:
        """What was served, in the order it was written."""
        query = sa.select(exposures_table).order_by(exposures_table.c.id)
        if call_id is not None:
            query = query.where(exposures_table.c.call_id == call_id)
        with self._problems(), self._engine.connect() as connection:
            rows = connection.execute(query).mappings()
            return [Exposure(**{k: v for k, v in row.items() if k != "id"}) for row in rows]

    def close(self, timeout_s: float = 5.0) -> None:
        """Write the waiting exposures and let go of the database. May be called twice."""
        atexit.unregister(self.close)
        self._exposures.close(timeout_s)
        self._engine.dispose()

    def _write_exposures(self, rows: Sequence[Exposure]) -> None:
        # Rows that are only added need no turn among the writers: a busy night must not make a rollback wait.
        with self._problems(), self._engine.begin() as connection:
            connection.execute(exposures_table.insert(), [asdict(row) for row in rows])

    def _problems(self) -> AbstractContextManager[None]:
        return answering(self._where, StoreUnavailable)

    def __enter__(self) -> ExperimentStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
    return connection.scalar(sa.select(sa.func.max(experiments_table.c.config_version))) or 0


def snapshot_of(connection: sa.Connection) -> Snapshot:
    """All experiments, each in its newest epoch, in the transaction at hand."""
    return Snapshot(config_version_of(connection), tuple(_newest(connection)))


def _newest(connection: sa.Connection) -> Iterator[Experiment]:
    """Every experiment in its newest epoch, in the order of their starts."""
    table = experiments_table
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
