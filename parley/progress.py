"""Progress of anything that takes longer than two seconds: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

_LOG_EVERY_S = 10.0


class ProgressHandle:
    """What :func:`progress` yields."""

    def __init__(self, description: str, total: float | None) -> None:
        self._description = description
        self._total = total
        self._done = 0.0
        self._last_line = time.monotonic()
        self._bar: Progress | None = None
        self._task = TaskID(0)

    def __enter__(self) -> ProgressHandle:
        if sys.stderr.isatty():
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            from rich.console import Console

            self._bar = Progress(*columns, console=Console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self._description, total=self._total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar:
            self._bar.stop()

    def advance(self, n: float = 1) -> None:
        """Count ``n`` more units as done."""
        self._done += n
        if self._bar:
            self._bar.advance(self._task, n)
            return
        now = time.monotonic()
        if now - self._last_line >= _LOG_EVERY_S:
            self._last_line = now
            of = f" of {self._total:g}" if self._total else ""
            print(f"{self._description}: {self._done:g}{of}", file=sys.stderr, flush=True)

    def update(self, description: str) -> None:
        """Change the text beside the bar."""
        self._description = description
        if self._bar:
            self._bar.update(self._task, description=description)


@contextmanager
def progress(description: str, total: float | None = None) -> Iterator[ProgressHandle]:
    """Show progress on standard error while the block runs."""
    with ProgressHandle(description, total) as handle:
        yield handle
