"""Which site a repository belongs to. Each side keeps the other's name, so that none is taken for another.

    <repository>/.parley-site.json    which site writes here
    PARLEY_STATE_DIR/site.json        which repository this site has

They are bound (`registry.binding`) when the repository gets something of its own: a version, a release, an alias. Until
then it is nobody's, as the starter versions of a checkout are, and serves any state folder. Hosts that share a database
are one site: its audit knows the binding too. Triton looks at no name that begins with a dot.
"""

from __future__ import annotations

import logging
import platform
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley.errors import ParleyError
from parley.settings import Settings
from registry import tables as t
from registry.catalogue import Catalogue, OldTables

IN_REPOSITORY, IN_STATE = ".parley-site.json", "site.json"
BIND = "bind"
"""How the audit calls it."""
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
    before = read_binding(in_state(site))
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
    theirs, ours = read_binding(repo / IN_REPOSITORY), read_binding(in_state(site)) or in_catalogue(site)
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


def in_state(site: Settings) -> Path:
    """The file in the state folder that names the site's repository."""
    return Path(site.state_dir) / IN_STATE


def in_catalogue(site: Settings) -> Binding | None:
    """What the site's database says, for a host whose state folder does not know yet."""
    try:
        catalogue = Catalogue.look(site)
    except OldTables:
        return None
    with catalogue, catalogue.read() as c:
        rows = t.registry_audit
        detail = c.scalar(sa.select(rows.c.detail).where(rows.c.what == BIND).order_by(rows.c.id.desc()).limit(1))
    return None if detail is None else Binding.model_validate(detail)


def readable(path: Path) -> Binding | None:
    """`read_binding`, None also where the file cannot be understood."""
    try:
        return read_binding(path)
    except ParleyError:
        return None


def read_binding(path: Path) -> Binding | None:
    """What a file says about which site and repository belong together; None where there is none.

    Raises:
        ParleyError: it cannot be understood.
    """
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
