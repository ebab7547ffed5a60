"""A report that is made in pieces, condition by condition: every command that measured a part of it stays named."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from typing import Any

from models.run_directory import environment, git_lineage

_THEN, _AND = " && ", ", "


def made_by(report: Mapping[str, Any], module: str) -> dict[str, Any]:
    """The header of a report that this command goes on with: what made it before, and now.

    Args:
        report: as it was read; empty of these names when it is new.
        module: what runs, as ``python -m`` takes it.

    Returns:
        ``command``, one line that makes the report again; ``environment`` of the last piece; ``git_commit``, all that
        it was made with, and ``git_dirty``, whether any was not as committed.
    """
    command = shlex.join(["python", "-m", module, *sys.argv[1:]])
    now = {"environment": environment(), **git_lineage()}
    return now | {
        "command": _joined(report.get("command"), command, _THEN),
        "git_commit": _joined(report.get("git_commit"), now["git_commit"], _AND),
        "git_dirty": bool(report.get("git_dirty")) or now["git_dirty"],
    }


def _joined(before: str | None, now: str, between: str) -> str:
    return between.join(dict.fromkeys([*(before.split(between) if before else []), now]))
