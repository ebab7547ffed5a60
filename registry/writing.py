"""The registry for who may write: what a killed command left behind is finished or undone first.

    with open_for_writing(settings()) as registry:
        create_release(registry, "barista", {"stt": 2}, who=who())

Who only reads opens it by `registry.reading`, which mends nothing.
"""

from __future__ import annotations

from parley.settings import Settings
from registry.recovery import mend
from registry.releasing import aliases, seeding
from registry.releasing.releases import Release, champion
from registry.site import Registry


def open_for_writing(site: Settings, *, new: bool = False) -> Registry:
    """The registry of this site for who may write: what a killed command left behind is finished or undone first.

    Args:
        site: whose repository and database.
        new: make the repository of a site that has none yet.

    Raises:
        CatalogueUnavailable: the database does not answer.
        ParleyError: there is no site here, the repository is another site's, or what was left behind cannot be mended.
    """
    registry = Registry.unmended(site, new=new)
    try:
        mend(registry)
    except BaseException:
        registry.close()
        raise
    return registry


def release_to_serve(site: Settings, bot: str) -> Release:
    """The champion, for who is about to answer calls; the bot's seed is taken in on the way.

    Raises:
        ParleyError: the bot has none; says why not.
    """
    with open_for_writing(site) as registry:
        with registry.catalogue.read() as c:
            known = aliases.newest_change(c, bot) is not None
        if not known:
            seeding.seed_bot(registry, bot)
        with registry.catalogue.read() as c:
            return champion(c, bot)
