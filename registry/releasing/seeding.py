"""Bringing releases and pointers to where they should be: leftovers taken up, a lost catalogue refilled, bots seeded.

Every command does this when it opens the registry, so that whatever was killed, wherever, is whole again afterwards.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from parley.errors import ParleyError
from registry import tables as t
from registry.catalogue import version
from registry.releasing import documents, moves, releases
from registry.releasing.documents import PointersDocument, Release, ReleaseDocument, digest_of
from registry.releasing.moves import Pointers

if TYPE_CHECKING:
    from registry.home import Registry

_WHO, _WHY = "parley", f"the bot's {releases.SEED}"
_log = logging.getLogger(__name__)


def mend(registry: Registry) -> list[str]:
    """See `registry.releasing.releases.seed`."""
    done: list[str] = []
    for bot in documents.bots_with_documents(registry.repo):
        try:
            documents.sweep(registry.repo, bot)
            done += _adopt(registry, bot) + _restore(registry, bot)
            project(registry, bot)
        except ParleyError as error:
            _log.warning("left alone: %s", error)
    for bot in _unseeded(registry):
        try:
            done += seed_bot(registry, bot)
        except ParleyError as error:
            # Other bots' commands must not fail because this bot's versions are not published here.
            _log.info("%s has no release yet: %s", bot, error)
    return done


def project(registry: Registry, bot: str) -> None:
    """Write the newest move beside the releases, where it is not there yet, so that it outlives the catalogue.

    Raises:
        OSError: it cannot be written.
    """
    with registry.catalogue.read() as c:
        newest = moves.newest_move(c, bot)
    try:
        written = documents.read_pointers(registry.repo, bot)
    except ParleyError:
        written = None
    if newest is None or (written is not None and (written.seq, written.at) == (newest.seq, newest.at)):
        return
    # Read again under the lock: another process may have moved on, and its newer state must not be overwritten.
    with documents.only_writer(registry.repo, bot), registry.catalogue.read() as c:
        newest = moves.newest_move(c, bot)
        assert newest is not None
        documents.write_pointers(
            registry.repo,
            PointersDocument(
                bot=bot, seq=newest.seq, champion=newest.champion, candidate=newest.candidate,
                previous=newest.previous, champions=moves.champions(c, bot), at=newest.at, who=newest.who,
                why=newest.why,
            ),
        )  # fmt: skip


def seed_bot(registry: Registry, bot: str) -> list[str]:
    """Make what the bot's `release.json` names its release 1 and champion, unless it has one.

    Raises:
        ParleyError: the file is no release, or its versions are not published or do not fit together.
    """
    from parley.bot.load import read_bot_text

    folder = registry.site.bots_dir / bot
    wanted, text = releases.read_seed(folder / releases.SEED), read_bot_text(folder / "bot.yaml")
    with registry.catalogue.write() as c:
        if moves.newest_move(c, bot) is not None:
            return []
        stages = {
            stage: ref.model_copy(update={"digest": version(c, ref.model, ref.version).digest})
            for stage, ref in wanted.stages.items()
        }
        release = Release(
            number=wanted.number, bot=bot, stages=stages, dialogue_digest=digest_of(text), at=datetime.now(UTC),
            who=_WHO, why=_WHY,
        )  # fmt: skip
        if wanted.number in releases.release_numbers(c, bot):
            _check_same(releases.read_release(c, bot, wanted.number), release)
        else:
            releases.check_release(c, registry.repo, release, text)
            documents.write_release(registry.repo, ReleaseDocument(release=release, dialogue=text))
            releases.insert_release(c, release, text)
        after = Pointers(champion=wanted.number)
        moves.record_move(c, bot, "first", after, moved_from=None, moved_to=wanted.number, who=_WHO, why=_WHY)
    project(registry, bot)
    return [f"{release} answers its calls"]


def _check_same(known: Release, seed: Release) -> None:
    """A release of the seed's number was made before, and lost its pointer: it may only be the same."""
    if known.stages != seed.stages:
        raise ParleyError(
            f"{known} holds other versions than its {releases.SEED}",
            where=seed.bot,
            mend="parley promote the right one",
        )


def _adopt(registry: Registry, bot: str) -> list[str]:
    """Take up documents without a row: of a command that was killed, or after the catalogue was lost."""
    with registry.catalogue.read() as c:
        known = set(releases.release_numbers(c, bot))
    done = []
    for number in documents.release_numbers(registry.repo, bot):
        if number in known:
            continue
        try:
            document = documents.read_document(registry.repo, bot, number)
            with registry.catalogue.write() as c:
                if number not in releases.release_numbers(c, bot):
                    releases.check_published(c, document.release)
                    releases.insert_release(c, document.release, document.dialogue)
                    done.append(f"{document.release} is known again")
        except ParleyError as error:
            _log.warning("left alone: %s", error)
    return done


def _restore(registry: Registry, bot: str) -> list[str]:
    """Point where the last move that was written down points, when the catalogue knows of no move at all."""
    with registry.catalogue.read() as c:
        if moves.newest_move(c, bot) is not None:
            return []
    written = documents.read_pointers(registry.repo, bot)
    if written is None or written.champion is None:
        return []
    with registry.catalogue.write() as c:
        known = set(releases.release_numbers(c, bot))
        if moves.newest_move(c, bot) is not None or written.champion not in known:
            return []
        # A move per release that was champion: they may be rolled back to.
        steps = [Pointers(number) for number in written.champions if number in known and number != written.champion]
        candidate, previous = (n if n in known else None for n in (written.candidate, written.previous))
        for step in [*steps, Pointers(written.champion, candidate, previous)]:
            moves.record_move(
                c, bot, "restore", step, moved_from=None, moved_to=step.champion, who=_WHO,
                why=f"the catalogue was lost; last moved {written.at:%Y-%m-%d %H:%M} by {written.who}"[: t.WHY_CHARS],
            )  # fmt: skip
    return [f"{bot} points to release {written.champion} again"]


def _unseeded(registry: Registry) -> list[str]:
    """Bots with a seed that have no pointer yet."""
    seeds = {path.parent.name for path in registry.site.bots_dir.glob(f"*/{releases.SEED}")}
    with registry.catalogue.read() as c:
        return sorted(seeds - moves.bots_with_pointers(c))
