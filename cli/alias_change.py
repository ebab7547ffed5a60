"""What a change of aliases says on the terminal: one line, and what goes on beside it on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.releasing.promotion import AliasChanged


def say(changed: AliasChanged) -> None:
    """``barista: release 3 -> 2, seq 7``, and the warnings."""
    change = changed.change
    before = "none" if change.moved_from is None else str(change.moved_from)
    print(f"{change.bot}: release {before} -> {change.moved_to}, seq {change.seq}{', forced' if change.forced else ''}")
    for warning in changed.warnings:
        print(f"note: {warning}", file=sys.stderr)
