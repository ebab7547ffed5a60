"""Releases: the versions that answer a call together, and the dialogue config they answer with, numbered 1, 2, 3 …

    with registry.catalogue.read() as c:
        champion(c, "barista").stages["stt"].version
        named(c, "barista", "previous")

`registry.releasing.creating` makes one, `registry.releasing.promotion` lets it answer. A release never changes. It lies
in the catalogue and, for the day the catalogue is lost, as a document beside the versions. `bots/<bot>/release.json` is
only the seed: what answers a bot's calls before anybody promoted anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley.bundle import FAMILIES, Family
from parley.errors import ParleyError
from parley.typed import LARGEST, version_number
from registry import tables as t
from registry.releasing import aliases, documents
from registry.releasing.aliases import ALIASES
from registry.releasing.documents import Release as Release
from registry.releasing.documents import StageVersion as StageVersion
from registry.releasing.holds import KEPT

SEED = "release.json"


def read_release(c: sa.Connection, bot: str, number: int) -> Release:
    """A release.

    Raises:
        ParleyError: there is none of that number; says which there are.
    """
    found = next(iter(_releases(c, bot, number)), None)
    if found is None:
        known = ", ".join(str(release.number) for release in releases(c, bot)) or "none"
        raise ParleyError(
            f"there is no release {number} (there is: {known})", where=bot, mend="make one: parley releases create"
        )
    return found


def releases(c: sa.Connection, bot: str) -> list[Release]:
    """Every release of a bot, retired ones too, by number."""
    return _releases(c, bot)


def champion(c: sa.Connection, bot: str) -> Release:
    """The release that answers new calls.

    Raises:
        ParleyError: the bot has none.
    """
    number = aliases.current_aliases(c, bot).champion
    if number is None:
        raise ParleyError(
            "the bot has no release",
            where=bot,
            mend="publish its models, then: parley releases create, parley promote",
        )
    return read_release(c, bot, number)


def named(c: sa.Connection, bot: str, name: str) -> Release:
    """The release that ``champion``, ``candidate``, ``previous`` or a number means.

    Raises:
        ParleyError: it means none.
    """
    if name[:1].isdigit() or name[:1] == "-":
        return read_release(c, bot, version_number(name))
    if name not in ALIASES:
        mend = f"one of {', '.join(ALIASES)}, or a number; parley releases lists them"
        raise ParleyError(f"expected a release, got {name!r}", where=bot, mend=mend)
    if name == "champion":
        return champion(c, bot)
    number = getattr(aliases.current_aliases(c, bot), name)
    if number is None:
        raise ParleyError(f"the bot has no {name}", where=bot, mend="parley releases lists what it has")
    return read_release(c, bot, number)


def dialogue_text(c: sa.Connection, digest: str) -> str:
    """The bot.yaml text that a release answers with.

    Raises:
        ParleyError: it is not known.
    """
    text = c.scalar(sa.select(t.dialogues.c.text).where(t.dialogues.c.digest == digest))
    if text is None:
        raise ParleyError("the dialogue config is not known", where=digest[:12], mend="parley catalogue rebuild")
    return str(text)


class Seed(BaseModel):
    """What `release.json` holds: a number, and for each stage a model and a version."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    number: int = Field(ge=1, le=LARGEST)
    stages: dict[Family, StageVersion]


def read_seed(path: Path) -> Seed:
    """A bot's `release.json`.

    Raises:
        ParleyError: the file is missing or holds no release.
    """
    try:
        return Seed.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParleyError("the bot has no release", where=str(path), mend="publish its models and write one") from None
    except (ValidationError, OSError, UnicodeDecodeError) as error:
        raise ParleyError(
            f"not a release: {documents.reason_of(error)}",
            where=str(path),
            mend=f"give a number and, for stages among {', '.join(FAMILIES)}, a model and a version each",
        ) from None


def insert_release(c: sa.Connection, release: Release, dialogue: str) -> None:
    """The rows of a release whose document is written, in the transaction at hand."""
    if c.scalar(sa.select(t.dialogues.c.digest).where(t.dialogues.c.digest == release.dialogue_digest)) is None:
        c.execute(t.dialogues.insert().values(digest=release.dialogue_digest, text=dialogue))
    c.execute(
        t.releases.insert().values(
            bot=release.bot, number=release.number, dialogue_digest=release.dialogue_digest, state=KEPT,
            at=release.at or datetime.now(UTC), who=release.who, why=release.why,
        )
    )  # fmt: skip
    for stage, ref in release.stages.items():
        c.execute(
            t.release_stages.insert().values(
                bot=release.bot, number=release.number, stage=stage, model=ref.model, version=ref.version
            )
        )


def release_numbers(c: sa.Connection, bot: str) -> list[int]:
    """Numbers of all releases of a bot, retired ones too."""
    return list(c.scalars(sa.select(t.releases.c.number).where(t.releases.c.bot == bot)))


def _releases(c: sa.Connection, bot: str, number: int | None = None) -> list[Release]:
    rows = sa.select(t.releases).where(t.releases.c.bot == bot).order_by(t.releases.c.number)
    # The digest is the catalogue's: a version's row is never rewritten.
    parts = (
        sa.select(t.release_stages, t.versions.c.digest)
        .outerjoin(
            t.versions,
            (t.versions.c.model == t.release_stages.c.model) & (t.versions.c.number == t.release_stages.c.version),
        )
        .where(t.release_stages.c.bot == bot)
    )
    if number is not None:
        rows, parts = rows.where(t.releases.c.number == number), parts.where(t.release_stages.c.number == number)
    stages: dict[int, dict[str, StageVersion]] = {}
    for part in c.execute(parts):
        ref = StageVersion(model=part.model, version=part.version, digest=part.digest or "")
        stages.setdefault(part.number, {})[part.stage] = ref
    return [
        Release(
            number=row.number, bot=bot, dialogue_digest=row.dialogue_digest, at=row.at, who=row.who, why=row.why,
            state=row.state,
            stages=in_order(stages.get(row.number, {})),
        )
        for row in c.execute(rows)
    ]  # fmt: skip


def in_order(stages: Mapping[Any, StageVersion]) -> dict[Family, StageVersion]:
    """The stages in the order of a call."""
    return {cast(Family, stage): stages[stage] for stage in FAMILIES if stage in stages}
