"""What happens in calls, written behind their backs.

    log = RowLog.at(settings())
    log.put([CallBegan(...), Exposure(...)])      # returns at once
    log.close()

Rows of any table come in through one queue and are written in the order they came, many in one transaction. The log
knows no table: a row of any room only has to be a :class:`Row`.
"""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from types import TracebackType
from typing import Protocol

import sqlalchemy as sa

from parley.background import BackgroundLoop
from parley.database import answering, connect, migrate
from parley.row_writer import RowWriter
from parley.settings import Settings, database_url

_log = logging.getLogger(__name__)


class Row(Protocol):
    """One row to be written."""

    @property
    def statement(self) -> sa.Insert | sa.Update:
        """Executed with :meth:`values`; the same object for all rows of a kind, so that they go together."""
        ...

    def values(self) -> Mapping[str, object]:
        """The statement's parameters."""
        ...


class RowLog:
    """The rows of a process's calls, on their way into the site's database."""

    def __init__(self, url: str | sa.URL, *, busy_timeout_s: float = 5.0) -> None:
        """Open ``url`` (``sqlite:///var/parley.db``, ``postgresql://…``) and bring its tables up to date.

        Raises:
            ParleyError: it cannot be opened or made.
        """
        self._engine, self._where = connect(url, busy_timeout_s)
        with answering(self._where):
            migrate(self._engine)
        self._writer: RowWriter[Row] = RowWriter(self._write)
        atexit.register(self.close)

    @classmethod
    def at(cls, settings: Settings) -> RowLog:
        """The log of this site, in its database."""
        return cls(database_url(settings))

    def put(self, rows: Iterable[Row]) -> None:
        """Hand rows over; returns at once and never raises. Lost rows are counted in ``dropped``."""
        try:
            self._writer.put(rows)
        except RuntimeError as error:  # no thread can be started just now; they wait, and the next ones try again
            _log.error("rows of calls wait: %s", error)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """Wait until the rows handed over are written; False when the time is over first."""
        return self._writer.flush(timeout_s)

    @property
    def written(self) -> int:
        """Rows this process has written."""
        return self._writer.written

    @property
    def dropped(self) -> int:
        """Rows this process has lost."""
        return self._writer.dropped

    @property
    def loop(self) -> BackgroundLoop:
        """What writes the rows."""
        return self._writer.loop

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A reading transaction of the database.

        Raises:
            DatabaseUnavailable: the database cannot be read now.
        """
        with answering(self._where), self._engine.connect() as connection:
            yield connection

    def close(self, timeout_s: float = 5.0) -> None:
        """Write the waiting rows and let go of the database. May be called twice."""
        atexit.unregister(self.close)
        self._writer.close(timeout_s)
        self._engine.dispose()

    def _write(self, rows: Sequence[Row]) -> None:
        # These rows need no turn among the writers, nobody else touches them: a busy night must not make a rollback
        # wait.
        with answering(self._where), self._engine.begin() as connection:
            for _, alike in groupby(rows, key=lambda row: id(row.statement)):
                together = list(alike)
                connection.execute(together[0].statement, [dict(row.values()) for row in together])

    def __enter__(self) -> RowLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
