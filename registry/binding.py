"""Binding a site and its repository to each other, so that neither is taken for another (`registry.belonging`)."""

from __future__ import annotations

import logging
import platform
import uuid
from datetime import UTC, datetime

from parley.errors import ParleyError
from parley.files import write_atomic
from registry.belonging import BIND, IN_REPOSITORY, Binding, check, in_catalogue, in_state, read_binding, readable
from registry.catalogue import PUBLISHED, audit, versions
from registry.layout import LOCKS, file_lock
from registry.site import Registry, unknown_versions, who

_log = logging.getLogger(__name__)


def bind(registry: Registry) -> None:
    """Bind a site and a repository that are not bound yet; two small reads where they are.

    Raises:
        CatalogueUnavailable: the database refuses.
        ParleyError: see `check`.
    """
    here, there = in_state(registry.site), registry.repo / IN_REPOSITORY
    if here.is_file() and there.is_file():
        return
    try:
        with file_lock(registry.repo / LOCKS / "site.lock"):
            check(registry.site)  # again: another site may have been first
            before = read_binding(there)
            if before is None:
                _check_versions(registry)
                if strange := ", ".join(directory.name for directory, _ in unknown_versions(registry)):
                    # They may be those of another site, which was never bound.
                    _log.info("not bound: %s holds versions of %s that are not known here", registry.repo, strange)
                    return
            if before is not None and in_catalogue(registry.site) is None:
                _log.warning("the state of this site was lost; its repository is still %s", registry.repo)
            _write(registry, before or _fresh(registry))
    except OSError as error:
        # A promotion must not fail because the repository is full; the next command binds them.
        _log.warning("site and repository are not bound to each other yet: %s", error)


def _check_versions(registry: Registry) -> None:
    """A site that was never bound has published before: some of its versions must be here."""
    with registry.catalogue.read() as c:
        known = versions(c, state=PUBLISHED)
    if known and not any((registry.repo / row.model / str(row.number)).is_dir() for row in known):
        raise ParleyError(
            f"none of this site's {len(known)} versions is in this repository",
            where=str(registry.repo.absolute()),
            mend="name the right one: PARLEY_REPO_DIR; `parley catalogue adopt-repository` makes this one the site's",
        )


def adopt(registry: Registry) -> Binding | None:
    """Make the repository this site's, whoever it belonged to; that site is refused from then on.

    Returns:
        What it was bound to before.

    Raises:
        CatalogueUnavailable: the database refuses.
        OSError: the disk refuses.
    """
    with file_lock(registry.repo / LOCKS / "site.lock"):
        theirs = readable(registry.repo / IN_REPOSITORY)
        ours = readable(in_state(registry.site)) or in_catalogue(registry.site)
        names = {"site": ours.site} if ours else {}
        names |= {"repository": theirs.repository} if theirs else {}
        _write(registry, _fresh(registry).model_copy(update=names), replace=True)
    return theirs


def _fresh(registry: Registry) -> Binding:
    return Binding(
        site=uuid.uuid4().hex, repository=uuid.uuid4().hex, state_dir=str(registry.site.state_dir.resolve()),
        repo_dir=str(registry.repo.resolve()), host=platform.node(), at=datetime.now(UTC),
    )  # fmt: skip


def _write(registry: Registry, binding: Binding, *, replace: bool = False) -> None:
    known = in_catalogue(registry.site)
    if known is None or not known.same(binding):
        with registry.catalogue.write() as c:
            audit(c, who(), BIND, binding.site, str(registry.repo), binding.model_dump(mode="json"))
    text = binding.model_dump_json(indent=2) + "\n"
    for path in (registry.repo / IN_REPOSITORY, in_state(registry.site)):
        if replace or not path.is_file():
            write_atomic(path, text)
