"""What a reader is shown of what the catalogue has not taken in yet: a fresh checkout, a killed publisher's version.

The next command that writes takes them in. Until then a reader sees the same, worked out in memory.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from parley.errors import ParleyError
from registry import catalogue
from registry.releasing import seeding
from registry.versions.mending import Verified, record, unknown_versions, verified

if TYPE_CHECKING:
    from registry.site import Registry

_log = logging.getLogger(__name__)


def look_ahead(registry: Registry) -> None:
    """Let `registry` show what the next command that writes will take in; writes nothing but this process's memory.

    Raises:
        CatalogueUnavailable: the database does not answer.
    """
    found: list[Verified] = []
    for directory, numbers in unknown_versions(registry):
        for number in numbers:
            try:
                found.append(verified(registry, directory, number))
            except (ParleyError, ValidationError, OSError) as error:
                _log.info("%s %d cannot be shown: %s", directory.name, number, error)
    bots = seeding.expected(registry, {(each.manifest.model, each.number) for each in found})
    if not found and not bots:
        return
    registry.catalogue.close()
    registry.catalogue = registry.catalogue.in_memory()
    for each in found:
        try:
            with registry.catalogue.write() as c:
                record(c, each)
        except ParleyError as error:
            _log.info("%s cannot be shown: %s", each.directory, error)
    seeding.take_in(registry, bots)
    with registry.catalogue.read() as c:
        shown = len(catalogue.versions(c))
    _log.warning(
        "note: %d of %d versions%s are not written down yet; the next command that writes does so",
        len(found), shown, f" and releases of {', '.join(bots)}" if bots else "",
    )  # fmt: skip
