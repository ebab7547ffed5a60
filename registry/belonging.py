"""Which site a repository belongs to. Each side keeps the other's name, so that none is taken for another.

    <repository>/.parley-site.json    which site writes here
    PARLEY_STATE_DIR/site.json        which repository this site has

They are bound when the repository gets something of its own: a version, a release, a moved pointer. Until then it is
nobody's, as the starter versions of a checkout are, and serves any state folder. Hosts that share a database are one
site: its audit knows the binding too. Triton looks at no name that begins with a dot.
"""

from __future__ import annotations

import logging
import platform
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley.errors import ParleyError
from parley.files import write_atomic
from parley.settings import Settings
from registry import tables as t
from registry.catalogue import PUBLISHED, Catalogue, OldTables, audit, versions
from registry.versions.layout import LOCKS, file_lock

if TYPE_CHECKING:
    from registry.site import Registry

IN_REPOSITORY, IN_STATE = ".parley-site.json", "site.json"
_WHAT = "bind"
_ID = r"^[0-9a-f]{32}$"
_log = logging.getLogger(__name__)


class Binding(BaseModel):
    """One repository and the one site that writes it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    site: str = Field(pattern=_ID)
    repository: str = Field(pattern=_ID)
    state_dir: str
    """Where the site kept its state when they were bound, and on which host: for people who look for it."""
    repo_dir: str
    host: str
    at: datetime

    def same(self, other: Binding) -> bool:
        """Whether both name the same pair."""
        return (self.site, self.repository) == (other.site, other.repository)


def repository(site: Settings, *, new: bool = False) -> Path:
    """The repository of a site.

    Args:
        site: whose.
        new: make it where a site is set up and has none yet.

    Raises:
        ParleyError: there is none, or no site at all.
    """
    repo = Path(site.repo_dir)
    if repo.is_dir():
        return repo
    if repo.exists():
        raise ParleyError("not a folder", where=str(repo.absolute()), mend="name the repository: PARLEY_REPO_DIR")
    before = _read(_in_state(site))
    if before is not None:
        raise ParleyError(
            "the repository of this site is not there",
            where=str(repo.absolute()),
            mend=f"restore it, or name it: PARLEY_REPO_DIR (it was {before.repo_dir})",
        )
    if not new or not site.bots_dir.is_dir():
        missing = "no repository here" if site.bots_dir.is_dir() else "no site of Parley here: no bots, no repository"
        raise ParleyError(
            missing,
            where=str(repo.absolute()),
            mend="run it in the site's folder, or name its parts: PARLEY_REPO_DIR, PARLEY_STATE_DIR, PARLEY_BOTS_DIR; "
            "the first `parley publish` beside a folder of bots makes a repository",
        )
    repo.mkdir(parents=True)
    _log.warning("made a repository: %s", repo.absolute())
    return repo


def check(site: Settings) -> None:
    """Check that the repository is this site's, or nobody's while the site has none. Changes nothing.

    Raises:
        CatalogueUnavailable: the database does not answer.
        ParleyError: it is another site's, or the site has another one; says where that is, and the ways out.
    """
    repo = Path(site.repo_dir)
    theirs, ours = _read(repo / IN_REPOSITORY), _read(_in_state(site)) or _in_catalogue(site)
    if theirs is None and ours is None or theirs and ours and theirs.same(ours):
        return
    if ours is not None and (theirs is None or theirs.repository != ours.repository):
        raise ParleyError(
            f"not the repository of this site, which is at {ours.repo_dir}",
            where=str(repo.absolute()),
            mend="name the right one (PARLEY_REPO_DIR), or the state folder of this one's site (PARLEY_STATE_DIR); "
            "`parley catalogue adopt-repository` makes this one the site's",
        )
    assert theirs is not None
    if ours is None and (theirs.host, theirs.state_dir) == (platform.node(), str(site.state_dir.resolve())):
        return  # the state of this very site was lost
    raise ParleyError(
        f"this repository belongs to another site, whose state is in {theirs.state_dir} on {theirs.host}",
        where=str(repo.absolute()),
        mend="name that state folder (PARLEY_STATE_DIR) or another repository (PARLEY_REPO_DIR); "
        "`parley catalogue adopt-repository` takes it over from that site",
    )


def bind(registry: Registry) -> None:
    """Bind a site and a repository that are not bound yet; two small reads where they are.

    Raises:
        CatalogueUnavailable: the database refuses.
        ParleyError: see `check`.
    """
    here, there = _in_state(registry.site), registry.repo / IN_REPOSITORY
    if here.is_file() and there.is_file():
        return
    try:
        with file_lock(registry.repo / LOCKS / "site.lock"):
            check(registry.site)  # again: another site may have been first
            before = _read(there)
            if before is None:
                _check_versions(registry)
                if strange := _strange_models(registry):
                    _log.info("not bound: %s holds versions of %s that are not known here", registry.repo, strange)
                    return
            if before is not None and _in_catalogue(registry.site) is None:
                _log.warning("the state of this site was lost; its repository is still %s", registry.repo)
            _write(registry, before or _fresh(registry))
    except OSError as error:
        # A pointer must move although the repository is full; the next command binds them.
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


def _strange_models(registry: Registry) -> str:
    """Models with versions that this site does not know: they may be those of another site, which was never bound."""
    from registry.versions.mending import unknown_versions

    return ", ".join(directory.name for directory, _ in unknown_versions(registry))


def adopt(registry: Registry) -> Binding | None:
    """Make the repository this site's, whoever it belonged to; that site is refused from then on.

    Returns:
        What it was bound to before.

    Raises:
        CatalogueUnavailable: the database refuses.
        OSError: the disk refuses.
    """
    with file_lock(registry.repo / LOCKS / "site.lock"):
        theirs = _readable(registry.repo / IN_REPOSITORY)
        ours = _readable(_in_state(registry.site)) or _in_catalogue(registry.site)
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
    from registry.site import who

    known = _in_catalogue(registry.site)
    if known is None or not known.same(binding):
        with registry.catalogue.write() as c:
            audit(c, who(), _WHAT, binding.site, str(registry.repo), binding.model_dump(mode="json"))
    text = binding.model_dump_json(indent=2) + "\n"
    for path in (registry.repo / IN_REPOSITORY, _in_state(registry.site)):
        if replace or not path.is_file():
            write_atomic(path, text)


def _in_state(site: Settings) -> Path:
    return Path(site.state_dir) / IN_STATE


def _in_catalogue(site: Settings) -> Binding | None:
    """What the site's database says, for a host whose state folder does not know yet."""
    try:
        catalogue = Catalogue.look(site)
    except OldTables:
        return None
    with catalogue, catalogue.read() as c:
        rows = t.registry_audit
        detail = c.scalar(sa.select(rows.c.detail).where(rows.c.what == _WHAT).order_by(rows.c.id.desc()).limit(1))
    return None if detail is None else Binding.model_validate(detail)


def _readable(path: Path) -> Binding | None:
    try:
        return _read(path)
    except ParleyError:
        return None


def _read(path: Path) -> Binding | None:
    try:
        return Binding.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValidationError, UnicodeDecodeError):
        raise ParleyError(
            "does not say which site and repository belong together",
            where=str(path),
            mend="restore it from a backup; where it is lost, `parley catalogue adopt-repository`",
        ) from None
