"""Logs of a site: one JSON object a line, with the call's id. What callers say is in them only on request."""

from __future__ import annotations

import errno
import json
import logging
import logging.handlers
import os
import stat
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from parley.errors import ParleyError

CALL_ID: ContextVar[str] = ContextVar("parley_call_id", default="")
"""The call that the running task belongs to."""

ROOMS = ("parley", "models", "registry", "calls", "experiments", "orchestrator")
LOG_FILE = "orchestrator.jsonl"
_MAX_BYTES, _KEPT = 20_000_000, 5
_STANDARD = frozenset(vars(logging.LogRecord("", 0, "", 0, "", (), None))) | {
    "message",
    "asctime",
    "taskName",
    "call_id",
}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: time (UTC), level, logger, message, call, and whatever ``extra`` carried."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if call_id := getattr(record, "call_id", "") or CALL_ID.get():
            fields["call_id"] = call_id
        fields |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name[0] != "_"}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        text = json.dumps(fields, default=str, ensure_ascii=False)
        # Half a surrogate pair cannot be written as UTF-8; JSON has an escape for it, and this is the same.
        return text.encode("utf-8", "backslashreplace").decode("utf-8")


class _OwnFileHandler(logging.handlers.RotatingFileHandler):
    """A log that is no link to another file, which somebody may have laid in its place, and no pipe."""

    def _open(self) -> Any:
        return open(self.baseFilename, self.mode, encoding="utf-8", opener=_open_regular)


def _open_regular(path: str, flags: int) -> int:
    # A pipe that nobody reads would keep the process waiting.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.ENXIO, "not a file", path)
    return descriptor


def log_to(folder: Path | None, level: int = logging.INFO) -> None:
    """Send the logs of Parley's rooms to ``folder`` (rotated), or to standard error where it is None.

    Raises:
        ParleyError: the log cannot be written, or is a link.
    """
    handler: logging.Handler
    if folder is None:
        handler = logging.StreamHandler(sys.stderr)
    else:
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o750)
            handler = _OwnFileHandler(folder / LOG_FILE, maxBytes=_MAX_BYTES, backupCount=_KEPT, encoding="utf-8")
        except OSError as error:
            detail = "it is a link" if error.errno == errno.ELOOP else error.strerror
            mend = "make it a file that this user may write to, in a folder that others may not"
            raise ParleyError(f"cannot write the log: {detail}", where=str(folder / LOG_FILE), mend=mend) from None
    handler.setFormatter(JsonFormatter())
    handler.set_name("parley-json")
    for room in ROOMS:
        logger = logging.getLogger(room)
        for old in [old for old in logger.handlers if old.get_name() == "parley-json"]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(level)
        logger.propagate = False
