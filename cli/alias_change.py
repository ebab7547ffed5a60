"""What a move of a pointer says on the terminal: one line, and what goes on beside it on standard error."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from registry.releasing.promotion import AliasChanged


def say(moved: AliasChanged) -> None:
    """``barista: release 3 -> 2, seq 7``, and the warnings."""
    move = moved.move
    before = "none" if move.moved_from is None else str(move.moved_from)
    print(f"{move.bot}: release {before} -> {move.moved_to}, seq {move.seq}{', forced' if move.forced else ''}")
    for warning in moved.warnings:
        print(f"note: {warning}", file=sys.stderr)
