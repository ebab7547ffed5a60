"""Releases: the versions that answer a call together, and the dialogue config they answer with, numbered 1, 2, 3 …

    with Registry.at(settings()) as registry:
        new = create_release(registry, "barista", {"stt": 2}, who="ada", why="more look-ahead")
        promote(registry, "barista", new.number, who="ada", why="won the gate")      # registry.releasing.promotion

A release never changes. It lies in the catalogue and, for the day the catalogue is lost, as a document beside the
versions. `bots/<bot>/release.json` is only the seed: what answers a bot's calls before anybody promoted anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley.bundle import FAMILIES, Family, Manifest
from parley.errors import ParleyError
from parley.settings import Settings
from parley.typed import LARGEST, version_number
from registry import belonging
from registry import tables as t
from registry.catalogue import PUBLISHED, manifest_of, version
from registry.releasing import aliases, documents
from registry.releasing.documents import Release as Release
from registry.releasing.documents import ReleaseDocument, digest_of
from registry.releasing.documents import StageVersion as StageVersion
from registry.releasing.holds import KEPT

if TYPE_CHECKING:
    from registry.site import Registry

SEED = "release.json"
POINTERS = ("champion", "candidate", "previous")


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
    if name not in POINTERS:
        mend = f"one of {', '.join(POINTERS)}, or a number; parley releases lists them"
        raise ParleyError(f"expected a release, got {name!r}", where=bot, mend=mend)
    if name == "champion":
        return champion(c, bot)
    number = getattr(aliases.current_aliases(c, bot), name)
    if number is None:
        raise ParleyError(f"the bot has no {name}", where=bot, mend="parley releases lists what it has")
    return read_release(c, bot, number)


def release_of(site: Settings, bot: str, name: str = "champion") -> Release:
    """`named`, for who reads nothing else of the registry. Nothing is changed.

    Raises:
        ParleyError: the bot has no such release; says why not.
    """
    from registry.site import Registry

    with Registry.look(site) as registry, registry.catalogue.read() as c:
        if aliases.newest_change(c, bot) is None:
            read_seed(site.bots_dir / bot / SEED)  # says what is wrong with it
        return named(c, bot, name)


def release_to_serve(site: Settings, bot: str) -> Release:
    """The champion, for who is about to answer calls; the bot's seed is taken in on the way.

    Raises:
        ParleyError: the bot has none; says why not.
    """
    from registry.releasing.seeding import seed_bot
    from registry.site import Registry

    with Registry.at(site) as registry:
        with registry.catalogue.read() as c:
            known = aliases.newest_change(c, bot) is not None
        if not known:
            seed_bot(registry, bot)
        with registry.catalogue.read() as c:
            return champion(c, bot)


def dialogue_text(c: sa.Connection, digest: str) -> str:
    """The bot.yaml text that a release answers with.

    Raises:
        ParleyError: it is not known.
    """
    text = c.scalar(sa.select(t.dialogues.c.text).where(t.dialogues.c.digest == digest))
    if text is None:
        raise ParleyError("the dialogue config is not known", where=digest[:12], mend="parley catalogue rebuild")
    return str(text)


def create_release(
    registry: Registry,
    bot: str,
    stages: Mapping[str, int],
    *,
    dialogue: str | None = None,
    who: str,
    why: str = "",
    stale_ok: bool = False,
) -> Release:
    """Make the next release: the champion's versions with the named stages replaced.

    Args:
        stages: stage to version number.
        dialogue: bot.yaml text; left out, that of the bot's folder as it is now.
        stale_ok: although versions were trained on another bot.yaml, in what matters to them; ``why`` says why.

    Raises:
        StaleRefused: a version was trained on another bot.yaml; says which, and what it does not know.
        ParleyError: a stage or version is not there, the versions do not fit together, or the dialogue asks for what
            they never learned. Nothing is made then.
    """
    from registry.releasing import stale  # only what makes a release needs YAML and the bot's grammar

    aliases.check_note(who, why)
    stale.check_reason(bot, stale_ok, why)
    belonging.bind(registry)
    text = _current_dialogue(registry, bot) if dialogue is None else dialogue
    with registry.catalogue.write() as c:
        number = max([0, *release_numbers(c, bot), *documents.release_numbers(registry.repo, bot)]) + 1
        release = Release(
            number=number, bot=bot, stages=_stages(c, bot, stages), dialogue_digest=digest_of(text),
            at=datetime.now(UTC), who=who, why=why,
        )  # fmt: skip
        check_release(c, registry.repo, release, text, taken_in=False)
        found = stale.stale_versions(registry, c, release, text)
        if not stale_ok:
            stale.refuse_stale(release, found)
        release = release.model_copy(update={"why": stale.accepted(found, why)})
        # The document first: a row without it could not be made anew. One that is left over is taken up by `seed`.
        path = documents.write_release(registry.repo, ReleaseDocument(release=release, dialogue=text))
        try:
            insert_release(c, release, text)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return release


def check_release(
    c: sa.Connection, repo: Path, release: Release, dialogue: str, *, taken_in: bool = True
) -> dict[str, Manifest]:
    """Check that every version is published as it was named, and that all fit together and with the dialogue.

    Args:
        taken_in: whether the dialogue was accepted before, maybe under fewer rules (`parley.bot.load.parse_bot`).

    Returns:
        Stage to manifest.

    Raises:
        ParleyError: says what is missing or does not fit.
    """
    # Only what makes a release needs YAML and the bot's grammar: a rollback starts without them.
    from parley.bot.load import parse_bot
    from registry.releasing.fit import check_dialogue, check_fit

    check_published(c, release)
    manifests = {str(stage): manifest_of(c, ref.model, ref.version) for stage, ref in release.stages.items()}
    check_fit(manifests)
    folders = {str(stage): repo / ref.model / str(ref.version) for stage, ref in release.stages.items()}
    for stage, folder in folders.items():
        if not folder.is_dir():
            raise ParleyError(
                f"the files of the {stage} are gone", where=str(folder), mend="restore them from a backup, or pull them"
            )
    check_dialogue(parse_bot(dialogue, f"{release}, bot.yaml", taken_in=taken_in), manifests, folders)
    return manifests


def check_published(c: sa.Connection, release: Release) -> None:
    """Check that every version is there, by the catalogue, and is the one the release was made of.

    Raises:
        ParleyError: a version is not known, was collected, or is another.
    """
    for stage, ref in release.stages.items():
        row = version(c, ref.model, ref.version)
        where = f"{release}, {stage}"
        if row.state != PUBLISHED:
            raise ParleyError(
                f"{ref.model} {ref.version} is {row.state}: its files are gone", where=where, mend="choose another"
            )
        if row.digest != ref.digest:
            raise ParleyError(
                f"{ref.model} {ref.version} is not the version it was made of", where=where, mend="make a new release"
            )


def seed(registry: Registry) -> list[str]:
    """Mend what a killed command or a lost catalogue left, and give every bot without a release its first one.

    Cheap when there is nothing to do; several processes may do it at once.

    Returns:
        What was done, in words.
    """
    from registry.releasing.seeding import mend

    return mend(registry)


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


def _current_dialogue(registry: Registry, bot: str) -> str:
    from parley.bot.load import find_bot, load_bot, read_bot_text

    load_bot(bot, registry.site)  # what is wrong with the file is told by its own lines
    return read_bot_text(find_bot(bot, registry.site))


def _stages(c: sa.Connection, bot: str, changes: Mapping[str, int]) -> dict[Family, StageVersion]:
    """The champion's versions with the changes, in the order of a call."""
    if unknown := sorted(set(changes) - set(FAMILIES)):
        raise ParleyError(f"{unknown[0]!r} is no stage", where=bot, mend=f"stages are {', '.join(FAMILIES)}")
    number = aliases.current_aliases(c, bot).champion
    known = dict(read_release(c, bot, number).stages) if number is not None else {}
    for stage in FAMILIES:
        if stage in changes:
            model = known[stage].model if stage in known else f"{bot}_{stage}"
            row = version(c, model, changes[stage])
            known[cast(Family, stage)] = StageVersion(model=model, version=row.number, digest=row.digest)
    if not known:
        raise ParleyError("a release without versions", where=bot, mend="name some: parley releases create stt=1 nlu=1")
    return _in_order(known)


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
            stages=_in_order(stages.get(row.number, {})),
        )
        for row in c.execute(rows)
    ]  # fmt: skip


def _in_order(stages: Mapping[Any, StageVersion]) -> dict[Family, StageVersion]:
    """The stages in the order of a call."""
    return {cast(Family, stage): stages[stage] for stage in FAMILIES if stage in stages}
