"""What keeps a version: experiments that split traffic to it, releases that name it, calls that use it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import sqlalchemy as sa

from registry import tables as t
from registry.releasing import aliases, leases

Ref = tuple[str, int]
"""A model and the number of its version."""
EXPERIMENT = "experiment "
"""How the holder of a live experiment's arms begins; its name follows."""
KEPT, RETIRED = "kept", "retired"
"""States of a release's row."""


def hold(c: sa.Connection, holder: str, refs: Iterable[Ref]) -> None:
    """Keep versions for somebody until `let_go`; what they held before is let go."""
    let_go(c, holder)
    now = datetime.now(UTC)
    rows = [{"holder": holder, "model": model, "version": version, "at": now} for model, version in sorted(set(refs))]
    if rows:
        c.execute(t.holds.insert(), rows)


def let_go(c: sa.Connection, holder: str) -> None:
    """Nothing is kept for this holder any more."""
    c.execute(t.holds.delete().where(t.holds.c.holder == holder))


def holders(c: sa.Connection, model: str, version: int | None = None) -> list[str]:
    """Who holds a version, or any version of the model, sorted."""
    query = sa.select(t.holds.c.holder).distinct().where(t.holds.c.model == model)
    if version is not None:
        query = query.where(t.holds.c.version == version)
    return sorted(c.scalars(query))


def held(c: sa.Connection, model: str) -> list[tuple[str, int]]:
    """(holder, version) of everything that is held of a model."""
    query = sa.select(t.holds.c.holder, t.holds.c.version).where(t.holds.c.model == model)
    return sorted((str(holder), int(version)) for holder, version in c.execute(query))


def references(c: sa.Connection, model: str, version: int) -> list[str]:
    """Every reason why a version must stay, in words; none means that it may go."""
    reasons = []
    query = (
        sa.select(t.releases.c.bot, t.releases.c.number)
        .join(
            t.release_stages,
            (t.release_stages.c.bot == t.releases.c.bot) & (t.release_stages.c.number == t.releases.c.number),
        )
        .where(t.release_stages.c.model == model, t.release_stages.c.version == version, t.releases.c.state == KEPT)
        .order_by(t.releases.c.bot, t.releases.c.number)
    )
    for bot, number in c.execute(query):
        pointing = aliases.current_aliases(c, bot).of_release(number)
        reasons.append(f"release {number} of {bot}" + (f" ({', '.join(pointing)})" if pointing else ""))
    reasons += holders(c, model, version)
    reasons += [
        f"{lease.calls} call{'s' if lease.calls != 1 else ''} on {lease.replica}"
        for lease in leases.live(c)
        if (lease.model, lease.version) == (model, version)
    ]
    return reasons
