"""The registry for who only reads: complete, and nothing on the disk or in the database changes.

    with open_for_reading(settings()) as registry, registry.catalogue.read() as c:
        versions(c, model=resolve_model(registry, "stt"))

What the catalogue has not taken in yet (a fresh checkout, a killed publisher's version) the next writer takes in
(`registry.writing`). Until then a reader is shown the same, worked out in memory. Nothing is mended or collected here.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from pydantic import ValidationError

from parley.errors import ParleyError
from parley.settings import Settings
from registry import catalogue
from registry.releasing import aliases, seeding
from registry.releasing.releases import SEED, Release, named, read_seed
from registry.site import Registry, unknown_versions
from registry.versions.mending import Verified, record, verified

_log = logging.getLogger(__name__)


def open_for_reading(site: Settings) -> Registry:
    """The registry of this site for who only reads, with what the next writer will take in; nothing is changed but
    this process's memory.

    Raises:
        CatalogueUnavailable: the database does not answer.
        ParleyError: there is no site here, or the repository is another site's.
    """
    return _with_what_is_not_recorded(Registry.as_recorded(site))


def release_of(site: Settings, bot: str, name: str = "champion") -> Release:
    """`registry.releasing.releases.named`, for who reads nothing else of the registry. Nothing is changed.

    Raises:
        ParleyError: the bot has no such release; says why not.
    """
    with open_for_reading(site) as registry, registry.catalogue.read() as c:
        if aliases.newest_change(c, bot) is None:
            read_seed(site.bots_dir / bot / SEED)  # says what is wrong with it
        return named(c, bot, name)


def _with_what_is_not_recorded(registry: Registry) -> Registry:
    """The registry over a copy of its catalogue in memory that knows what the next writer will take in; the same where
    that is nothing."""
    found: list[Verified] = []
    for directory, numbers in unknown_versions(registry):
        for number in numbers:
            try:
                found.append(verified(registry, directory, number))
            except (ParleyError, ValidationError, OSError) as error:
                _log.info("%s %d cannot be shown: %s", directory.name, number, error)
    bots = seeding.expected(registry, {(each.manifest.model, each.number) for each in found})
    if not found and not bots:
        return registry
    registry.close()
    shown = replace(registry, catalogue=registry.catalogue.in_memory())
    for each in found:
        try:
            with shown.catalogue.write() as c:
                record(c, each)
        except ParleyError as error:
            _log.info("%s cannot be shown: %s", each.directory, error)
    seeding.take_in(shown, bots)
    with shown.catalogue.read() as c:
        count = len(catalogue.versions(c))
    _log.warning(
        "note: %d of %d versions%s are not written down yet; the next command that writes does so",
        len(found), count, f" and releases of {', '.join(bots)}" if bots else "",
    )  # fmt: skip
    return shown
