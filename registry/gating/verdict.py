"""What the gate writes down: a row that is never changed, a page anyone can read, JSON for machines, a terminal's text.

    number = record(registry, verdict, who=who()).number
    write_report(folder, verdict, rows)          # verdict.html, verdict.json

An accepted verdict against the champion makes its release the candidate; nothing else does so by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from rich.console import Console
from rich.markup import escape

from parley.errors import ParleyError
from parley.files import write_atomic, write_json
from registry import tables as t
from registry.gating.gate import Verdict
from registry.gating.verdict_page import page
from registry.releasing.aliases import CHANGES_SEEN, current_aliases
from registry.releasing.promotion import AliasChanged, set_candidate
from registry.site import Registry

_MARKS = {"passed": "[green]passed[/]", "failed": "[red]failed[/]", "not judged": "[yellow]not judged[/]"}


@dataclass(frozen=True)
class Recorded:
    """What became of a verdict."""

    number: int
    """The verdict's, by which the catalogue knows it."""
    candidate: AliasChanged | None = None
    """The change that made its release the candidate."""
    note: str = ""
    """Why an accepted release did not become the candidate (it was retired meanwhile, say)."""


def record(registry: Registry, verdict: Verdict, *, who: str) -> Recorded:
    """Write the verdict into the catalogue, and make an accepted release the candidate.

    A release that is compared with another than the champion keeps its verdict and becomes no candidate. Once the
    verdict is written it stands: what goes wrong afterwards is in the note.

    Raises:
        CatalogueUnavailable: the database refuses; nothing is written.
    """
    # As JSON and back, so that a figure that JSON has no word for is found here and not by a reader.
    report = json.loads(json.dumps(verdict.report(), allow_nan=False))
    with registry.catalogue.write() as c:
        now = current_aliases(c, verdict.bot)
        row = c.execute(
            sa.insert(t.verdicts).values(
                bot=verdict.bot, candidate=verdict.candidate, against=verdict.against, accepted=verdict.accepted,
                report={**report, CHANGES_SEEN: now.seq}, at=datetime.now(UTC), who=who,
            )
        )  # fmt: skip
        assert row.inserted_primary_key is not None
        number = int(row.inserted_primary_key[0])
    if not verdict.accepted or now.champion != verdict.against:
        return Recorded(number)
    try:
        made = set_candidate(registry, verdict.bot, verdict.candidate, number, who=who, why=verdict.headline[:1000])
    except ParleyError as error:
        return Recorded(number, note=f"it did not become the candidate: {error}")
    return Recorded(number, made)


def write_report(folder: Path, verdict: Verdict, rows: Sequence[Mapping[str, Any]] = ()) -> tuple[Path, Path]:
    """Write ``verdict.html`` and ``verdict.json`` (with every utterance's outcome) into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    html, data = folder / "verdict.html", folder / "verdict.json"
    write_atomic(html, page(verdict))
    write_json(data, {**verdict.report(), "rows": list(rows)})
    return html, data


def show(verdict: Verdict, console: Console) -> None:
    """Print the verdict: the decision first, then each check in a line."""
    colour = "green" if verdict.accepted else "red"
    console.print(f"[bold {colour}]{escape(verdict.headline)}[/]\n")
    for stage, (old, new) in verdict.changed.items():
        console.print(f"  {stage}: {old} → {new}")
    for check in verdict.checks:
        refuses = " [red](refuses)[/]" if check.refuses and check.outcome != "failed" else ""
        console.print(f"  {_MARKS[check.outcome]}{refuses}  {escape(check.name)}: {escape(check.sentence)}")
