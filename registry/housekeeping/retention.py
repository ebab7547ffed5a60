"""Which versions and releases stay, which may go, and why: every decision comes with its reasons.

    for decision in decide(registry, c, Policy(keep=5, older_than_days=30)):
        print(decision.subject, "stays" if decision.kept else "goes", decision.reasons)

A release stays while an alias points to it, while it is one of the bot's last ones, or while it is young. A version
stays while a release that stays, a live experiment or a call in progress needs it, while it is the newest of its model,
while the server has it loaded, or while it is young.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import sqlalchemy as sa

from parley.errors import ParleyError
from parley.serving.triton_record import read_record
from registry import catalogue
from registry import tables as t
from registry.catalogue import PUBLISHED, VersionRow
from registry.releasing import aliases, releases
from registry.releasing.documents import Release
from registry.releasing.holds import KEPT, Ref, references
from registry.site import Registry
from registry.view import ViewFolder

KEEP_RELEASES = 5
OLDER_THAN_DAYS = 30.0


@dataclass(frozen=True)
class Policy:
    """What is kept although nothing needs it."""

    keep: int = KEEP_RELEASES
    """So many of each bot's last releases."""
    older_than_days: float = OLDER_THAN_DAYS
    """Nothing younger goes."""

    def too_young(self, at: datetime, now: datetime) -> str:
        """The reason, where something of that age stays."""
        young = now - at < timedelta(days=self.older_than_days)
        return f"younger than {self.older_than_days:g} days" if young else ""


@dataclass(frozen=True)
class Decision:
    """What becomes of one release or version, and why."""

    kind: Literal["release", "version"]
    owner: str
    """Its bot or its model."""
    number: int
    kept: bool
    reasons: tuple[str, ...]
    size_bytes: int = 0
    note: str = ""
    """What could not be tidied up after it went; the next command does."""

    @property
    def subject(self) -> str:
        """How a person calls it."""
        return f"{self.owner} release {self.number}" if self.kind == "release" else f"{self.owner} {self.number}"


def decide(registry: Registry, c: sa.Connection, policy: Policy, now: datetime | None = None) -> list[Decision]:
    """Decide about every release that is kept and every version that is here; nothing is changed.

    Args:
        c: a reading connection, or a writing one to decide and act in one transaction.
        now: for tests.

    Returns:
        Releases by bot and number, then versions by model and number.
    """
    now = now or datetime.now(UTC)
    found = []
    for bot in c.scalars(sa.select(t.releases.c.bot).distinct().order_by(t.releases.c.bot)).all():
        found += decide_releases(c, bot, policy, now)
    ending = {str(Release(bot=each.owner, number=each.number, stages={})) for each in found if not each.kept}
    rows = catalogue.versions(c, state=PUBLISHED)
    newest = {row.model: row.number for row in rows}
    referred = _referred(c)
    loaded, seeds = loaded_versions(registry), seeded_versions(registry, c)
    for row in rows:
        reasons = references(c, row.model, row.number) if (row.model, row.number) in referred else []
        reasons = needs(row, reasons, ending=ending, newest=newest[row.model], loaded=loaded, seeds=seeds)
        if young := policy.too_young(row.published_at, now):
            reasons.append(young)
        gone = ("no release, experiment or call needs it", "a newer version is here")
        decision = Decision("version", row.model, row.number, bool(reasons), tuple(reasons) or gone, row.size_bytes)
        found.append(decision)
    return found


def needs(
    row: VersionRow,
    referring: Sequence[str],
    *,
    newest: int,
    loaded: Collection[Ref],
    seeds: Collection[Ref],
    ending: Collection[str] = (),
) -> list[str]:
    """Why a version cannot go, whatever its age.

    Args:
        row: the version.
        referring: what refers to it, by `registry.releasing.holds.references`.
        newest: number of its model's newest version here.
        loaded: what the running server has.
        seeds: what bots without a release will be seeded with.
        ending: what of it does not count any more: releases that will be retired.
    """
    ref = (row.model, row.number)
    reasons = [reason for reason in referring if reason not in ending]
    reasons += ["newest of its model"] if row.number == newest else []
    reasons += ["loaded by the running server"] if ref in loaded else []
    reasons += ["named by the bot's release.json"] if ref in seeds else []
    return reasons


def _referred(c: sa.Connection) -> set[Ref]:
    """Every version that anything may refer to: of thousands a few, and only these are asked for their reasons."""
    found: set[Ref] = set()
    for table in (t.release_stages, t.holds, t.leases):
        query = sa.select(table.c.model, table.c.version).distinct()
        found |= {(model, number) for model, number in c.execute(query)}
    return found


def loaded_versions(registry: Registry) -> set[Ref]:
    """What this site's server has loaded; nothing where none runs. It lets go of what nothing wants within seconds."""
    record = read_record(registry.site.state_dir)
    if record is None or not record.alive:
        return set()
    linked = ViewFolder(registry.site.state_dir, registry.repo).linked()
    return {(model, number) for model, numbers in linked.items() for number in numbers}


def seeded_versions(registry: Registry, c: sa.Connection) -> set[Ref]:
    """What the `release.json` of bots names that have no release yet."""
    started = aliases.bots_with_aliases(c)
    found: set[Ref] = set()
    for path in registry.site.bots_dir.glob(f"*/{releases.SEED}"):
        if path.parent.name in started:
            continue
        try:
            found |= {(ref.model, ref.version) for ref in releases.read_seed(path).stages.values()}
        except ParleyError:
            continue  # no release can come of it
    return found


def decide_releases(c: sa.Connection, bot: str, policy: Policy, now: datetime | None = None) -> list[Decision]:
    """Decide about a bot's releases."""
    now = now or datetime.now(UTC)
    current = aliases.current_aliases(c, bot)
    kept = [release for release in releases.releases(c, bot) if release.state == KEPT]
    last = {release.number for release in kept[-policy.keep :]} if policy.keep > 0 else set()
    won = _accepted(c, bot, current.champion)
    found = []
    for release in kept:
        reasons = current.of_release(release.number)
        reasons += [f"verdict {won[release.number]} accepted it"] if release.number in won else []
        reasons += [f"one of the last {policy.keep} releases"] if release.number in last else []
        if young := policy.too_young(release.at or now, now):
            reasons.append(young)
        gone = ("no alias points to it", f"not one of the last {policy.keep} releases")
        found.append(Decision("release", bot, release.number, bool(reasons), tuple(reasons) or gone))
    return found


def _accepted(c: sa.Connection, bot: str, champion: int | None) -> dict[int, int]:
    """Releases whose newest verdict against the champion accepted them, and that verdict: they may be promoted."""
    table = t.verdicts.c
    query = sa.select(table.candidate, table.id, table.accepted).where(table.bot == bot, table.against == champion)
    newest = {candidate: (key, accepted) for candidate, key, accepted in c.execute(query.order_by(table.id))}
    return {candidate: key for candidate, (key, accepted) in newest.items() if accepted}
