"""Making a release: the champion's versions with some of them replaced, and the dialogue as it is now.

with open_for_writing(settings()) as registry:
    new = create_release(registry, "barista", {"stt": 2}, who="ada", why="more look-ahead")
    promote(registry, "barista", new.number, loader=SiteLoader(registry), who="ada", why="won the gate")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import cast

import sqlalchemy as sa

from parley.bot.load import find_bot, load_bot, read_bot_text
from parley.bundle import FAMILIES, Family
from parley.errors import ParleyError
from registry.binding import bind
from registry.catalogue import version
from registry.releasing import aliases, documents, stale
from registry.releasing.checking import check_release
from registry.releasing.documents import Release, ReleaseDocument, StageVersion, digest_of
from registry.releasing.releases import in_order, insert_release, read_release, release_numbers
from registry.site import Registry


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
    aliases.check_note(who, why)
    stale.check_reason(bot, stale_ok, why)
    bind(registry)
    text = _current_dialogue(registry, bot) if dialogue is None else dialogue

    def make(c: sa.Connection) -> ReleaseDocument:
        number = max([0, *release_numbers(c, bot), *documents.release_numbers(registry.repo, bot)]) + 1
        release = Release(
            number=number, bot=bot, stages=_stages(c, bot, stages), dialogue_digest=digest_of(text),
            at=datetime.now(UTC), who=who, why=why,
        )  # fmt: skip
        check_release(c, registry.repo, release, text, taken_in=False)
        found = stale.stale_versions(registry, c, release, text)
        if not stale_ok:
            stale.refuse_stale(release, found)
        return ReleaseDocument(release=release.model_copy(update={"why": stale.accepted(found, why)}), dialogue=text)

    made = record_release(registry, make)
    assert made is not None
    return made.release


def record_release(
    registry: Registry, make: Callable[[sa.Connection], ReleaseDocument | None]
) -> ReleaseDocument | None:
    """Make a release known in one transaction: its document, then its rows. Where it fails neither is left.

    Args:
        make: decides on it; None is nothing to record.

    Raises:
        ParleyError: the database refuses.
        OSError: the disk refuses.
    """
    document = None
    try:
        with registry.catalogue.write() as c:
            document = make(c)
            if document is not None:
                # The document first: a row without it could not be made anew.
                documents.write_release(registry.repo, document)
                insert_release(c, document.release, document.dialogue)
    except BaseException:
        if document is not None:
            _withdraw(registry, document.release)
        raise
    return document


def _withdraw(registry: Registry, release: Release) -> None:
    """Remove the document of a release that got no row, or the next command would take it up. Only when the database
    says so itself: a connection that was lost may have committed."""
    with suppress(ParleyError, OSError), registry.catalogue.read() as c:
        if release.number not in release_numbers(c, release.bot):
            (documents.folder_of(registry.repo, release.bot) / f"{release.number}.json").unlink(missing_ok=True)


def _current_dialogue(registry: Registry, bot: str) -> str:
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
    return in_order(known)
