"""The model or the bot that a person means when they name it short, or not at all."""

from __future__ import annotations

import sqlalchemy as sa

from parley.bundle import FAMILIES
from parley.errors import ParleyError
from registry import tables as t
from registry.releasing import releases
from registry.site import Registry


def resolve_model(registry: Registry, name: str, bot: str | None = None) -> str:
    """The model a person means: its full name (``barista_stt``), or a family (``stt``) where one bot has it.

    Raises:
        ParleyError: nothing of this name was published, or several bots have the family; says which.
    """
    with registry.catalogue.read() as c:
        query = sa.select(t.versions.c.model, t.versions.c.family, t.versions.c.bot).distinct()
        known = [tuple(row) for row in c.execute(query.order_by(t.versions.c.model))]
    if name in FAMILIES:
        fitting = [model for model, family, owner in known if family == name and bot in (None, owner)]
    else:
        fitting = [model for model, _, owner in known if model == name and bot in (None, owner)]
    if len(fitting) == 1:
        return str(fitting[0])
    if fitting:
        raise ParleyError("several bots have this family", where=name, mend=f"name one: {', '.join(fitting)}")
    have = ", ".join(model for model, _, _ in known) or "nothing"
    raise ParleyError("no such model was published", where=name, mend=f"there is: {have}")


def resolve_bot(registry: Registry, bot: str | None = None) -> str:
    """The bot a person means: the one they name, or the only one whose champion has all four stages.

    Raises:
        ParleyError: it is no bot, or none is named and none or several can answer calls.
    """

    def lives(name: str) -> bool:
        return (registry.site.bots_dir / name / "bot.yaml").is_file()

    with registry.catalogue.read() as c:
        known = list(c.scalars(sa.select(t.alias_changes.c.bot).distinct().order_by(t.alias_changes.c.bot)))
        complete = [name for name in known if set(releases.champion(c, name).stages) == set(FAMILIES)]
    if bot is not None:
        if bot in known or lives(bot):
            return bot
        raise ParleyError("no such bot", where=bot, mend=f"there is: {', '.join(known) or 'none'}")
    if len(complete) > 1:  # one whose folder is gone is meant by nobody who names none
        complete = [name for name in complete if lives(name)] or complete
    if len(complete) == 1:
        return str(complete[0])
    raise ParleyError(
        f"{'several bots have' if complete else 'no bot has'} a champion with all four stages",
        where=", ".join(complete or known),
        mend="name one with --bot",
    )
