"""The aliases of a bot's releases (champion, candidate, previous), and every change of them.

Each row of `alias_changes` holds the whole state after the change, so the newest one of a bot is both its state and its
audit: there is nothing that could disagree.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa

from parley.errors import ParleyError
from registry import tables as t

What = Literal["first", "candidate", "promote", "rollback", "restore"]
ALIASES = ("champion", "candidate", "previous")


@dataclass(frozen=True)
class Aliases:
    """Which release each alias of a bot points to; None is none."""

    champion: int | None = None
    """Answers new calls."""
    candidate: int | None = None
    """Accepted by the gate, not promoted yet."""
    previous: int | None = None
    """Where a rollback without a number goes."""
    seq: int = 0
    """Counts the changes of the bot's aliases; 0 before the first."""

    def of_release(self, number: int) -> list[str]:
        """The aliases that point to this release."""
        return [alias for alias in ALIASES if getattr(self, alias) == number]


CHANGES_SEEN = "moves_seen"
"""In a verdict's report: the bot's count of alias changes when it was written. It orders verdicts and changes; the
clocks of two hosts do not. (The key keeps its first name: verdicts are never rewritten.)"""


@dataclass(frozen=True)
class AliasChange:
    """One change of aliases, and the state after it."""

    bot: str
    seq: int
    champion: int | None
    candidate: int | None
    previous: int | None
    what: str
    moved_from: int | None
    moved_to: int | None
    forced: bool
    at: datetime
    who: str
    why: str

    @property
    def aliases(self) -> Aliases:
        """Where the aliases point after this change."""
        return Aliases(self.champion, self.candidate, self.previous, self.seq)


_COLUMNS = [t.alias_changes.c[field.name] for field in fields(AliasChange)]


def current_aliases(c: sa.Connection, bot: str) -> Aliases:
    """Where the aliases point now; nowhere for a bot without releases."""
    newest = newest_change(c, bot)
    return newest.aliases if newest else Aliases()


def newest_change(c: sa.Connection, bot: str) -> AliasChange | None:
    """The change that made the present state."""
    found = c.execute(_of(bot).order_by(t.alias_changes.c.seq.desc()).limit(1)).one_or_none()
    return None if found is None else AliasChange(*tuple(found))


def history(c: sa.Connection, bot: str) -> list[AliasChange]:
    """Every change of a bot's aliases, oldest first."""
    return [AliasChange(*tuple(row)) for row in c.execute(_of(bot).order_by(t.alias_changes.c.seq))]


def last_change_id(c: sa.Connection, bot: str) -> int:
    """Rises with every change of the bot's aliases, 0 before the first. One indexed read: replicas poll it."""
    return int(c.scalar(sa.select(sa.func.max(t.alias_changes.c.id)).where(t.alias_changes.c.bot == bot)) or 0)


def bots_with_aliases(c: sa.Connection) -> set[str]:
    """The bots that have, or had, a champion."""
    return set(c.scalars(sa.select(t.alias_changes.c.bot).distinct()))


def champions(c: sa.Connection, bot: str) -> list[int]:
    """Every release that has been champion, in the order of its last time."""
    last = sa.func.max(t.alias_changes.c.seq)
    query = sa.select(t.alias_changes.c.champion).where(
        t.alias_changes.c.bot == bot, t.alias_changes.c.champion.is_not(None)
    )
    return [int(number) for number in c.scalars(query.group_by(t.alias_changes.c.champion).order_by(last))]


def record_change(
    c: sa.Connection,
    bot: str,
    what: What,
    after: Aliases,
    *,
    moved_from: int | None,
    moved_to: int | None,
    who: str,
    why: str,
    forced: bool = False,
) -> AliasChange:
    """Change the aliases: one row, which is the new state and its audit.

    Args:
        c: a writing connection, so that the state it was decided on is still the newest.
        after: where the aliases point afterwards; its ``seq`` is not used.

    Raises:
        ParleyError: who or why is too long.
    """
    check_note(who, why)
    seq = current_aliases(c, bot).seq + 1
    change = AliasChange(
        bot, seq, after.champion, after.candidate, after.previous, what, moved_from, moved_to, forced,
        datetime.now(UTC), who, why,
    )  # fmt: skip
    c.execute(t.alias_changes.insert().values({field.name: getattr(change, field.name) for field in fields(change)}))
    return change


def check_note(who: str, why: str) -> None:
    """Check that who and why fit into an audit row.

    Raises:
        ParleyError: they do not.
    """
    if len(who) > t.WHO_CHARS or len(why) > t.WHY_CHARS:
        raise ParleyError(
            f"who ({t.WHO_CHARS}) or why ({t.WHY_CHARS} characters) is too long", where="audit", mend="say it shorter"
        )


def _of(bot: str) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(t.alias_changes.c.bot == bot)
