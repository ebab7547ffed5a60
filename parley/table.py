"""Columns for the terminal: aligned, never wrapped, so that they can be searched and cut."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def aligned(rows: Iterable[Sequence[str]], indent: str = "  ") -> str:
    """Rows as lines of aligned columns; the last column is as long as it likes."""
    listed = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in listed if column < len(row)) for column in range(_columns(listed))]
    return "\n".join(
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False))).rstrip()
        for row in listed
    )


def _columns(rows: list[list[str]]) -> int:
    return max((len(row) for row in rows), default=0)


def _printable(text: str) -> str:
    # Manifests come from other sites: no control character of theirs reaches this terminal.
    return "".join(letter if letter.isprintable() else "?" for letter in text)
