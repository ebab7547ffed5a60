"""Bringing releases and aliases to where they should be: leftovers taken up, a lost catalogue refilled, bots seeded.

Every command does this when it opens the registry, so that whatever was killed, wherever, is whole again afterwards.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from parley.errors import ParleyError
from registry import catalogue
from registry import tables as t
from registry.catalogue import PUBLISHED, CatalogueUnavailable, version
from registry.releasing import aliases, documents, releases
from registry.releasing.aliases import Aliases
from registry.releasing.checking import check_answerable, check_published, check_release
from registry.releasing.documents import AliasesDocument, Release, ReleaseDocument, digest_of
from registry.releasing.holds import Ref
from registry.site import Registry

_WHO, _WHY = "parley", f"the bot's {releases.SEED}"
_BOT_FOLDER = re.compile(r"[a-z0-9][a-z0-9_-]*")
_log = logging.getLogger(__name__)


def mend_releases(registry: Registry) -> list[str]:
    """Mend what a killed command or a lost catalogue left, and give every bot without a release its first one.

    Cheap when there is nothing to do; several processes may do it at once.

    Returns:
        What was done, in words.
    """
    done: list[str] = []
    for bot in documents.bots_with_documents(registry.repo):
        try:
            documents.sweep(registry.repo, bot)
            done += _adopt(registry, bot) + _restore(registry, bot)
            write_copy(registry, bot)
        except CatalogueUnavailable:
            raise
        except (ParleyError, OSError) as error:  # a full disk must not hold up the command that looked
            _log.warning("left alone: %s", error)
    for bot in _unseeded(registry):
        try:
            done += seed_bot(registry, bot)
        except CatalogueUnavailable:
            raise
        except (ParleyError, OSError) as error:
            # Other bots' commands must not fail because this bot's versions are not published here.
            _log.info("%s has no release yet: %s", bot, error)
    return done


def expected(registry: Registry, versions: Collection[Ref]) -> list[str]:
    """The bots whose releases the next command that writes would take up or seed, once these versions are known too."""
    with registry.catalogue.read() as c:
        known = {bot: set(releases.release_numbers(c, bot)) for bot in documents.bots_with_documents(registry.repo)}
        here = {(row.model, row.number) for row in catalogue.versions(c, state=PUBLISHED)} | set(versions)
    found = {bot for bot, numbers in known.items() if set(documents.release_numbers(registry.repo, bot)) - numbers}
    for bot in _unseeded(registry):
        try:
            seed = releases.read_seed(registry.site.bots_dir / bot / releases.SEED)
        except ParleyError:
            continue
        if {(ref.model, ref.version) for ref in seed.stages.values()} <= here:
            found.add(bot)
    return sorted(found)


def take_in(registry: Registry, bots: Iterable[str]) -> None:
    """What `mend_releases` does to the catalogue for these bots; the repository stays as it is."""
    for bot in bots:
        try:
            _adopt(registry, bot)
            _restore(registry, bot)
            if bot in _unseeded(registry):
                seed_bot(registry, bot, write=False)
        except ParleyError as error:
            _log.info("%s has no release yet: %s", bot, error)


def write_copy(registry: Registry, bot: str) -> None:
    """Write where the aliases point beside the releases, where it is not there yet, so that it outlives the catalogue.

    Raises:
        OSError: it cannot be written.
    """
    with registry.catalogue.read() as c:
        newest = aliases.newest_change(c, bot)
    try:
        written = documents.read_aliases(registry.repo, bot)
    except ParleyError:
        written = None
    if newest is None or (written is not None and (written.seq, written.at) == (newest.seq, newest.at)):
        return
    # Read again under the lock: another process may have been faster, and its newer state must not be overwritten.
    with documents.only_writer(registry.repo, bot), registry.catalogue.read() as c:
        newest = aliases.newest_change(c, bot)
        assert newest is not None
        documents.write_aliases(
            registry.repo,
            AliasesDocument(
                bot=bot, seq=newest.seq, champion=newest.champion, candidate=newest.candidate,
                previous=newest.previous, champions=aliases.champions(c, bot), at=newest.at, who=newest.who,
                why=newest.why,
            ),
        )  # fmt: skip


def write_copy_if_possible(registry: Registry, bot: str) -> tuple[str, ...]:
    """`write_copy` after a change that was made, which stands without it; the next command that writes makes it up.

    Returns:
        Why it is not written, in words; nothing where it is.
    """
    try:
        write_copy(registry, bot)
    except Exception as error:  # whatever it is: the alias has changed, and nothing may make that look like a failure
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        return (f"it is done, but its copy in the repository is not written yet ({reason}); the next command does so",)
    return ()


def seed_bot(registry: Registry, bot: str, *, write: bool = True) -> list[str]:
    """Make what the bot's `release.json` names its first release and champion, unless it has, or had, one.

    Args:
        registry: of the site.
        bot: whose folder; a folder called otherwise than the bot in it (a copy put aside) is no bot's.
        write: its document too.

    Raises:
        ParleyError: the file is no release, its versions are not published or do not fit together, or a champion that
            was lost with the catalogue cannot be restored: nobody but a person replaces it.
    """
    from parley.bot.load import parse_bot, read_bot_text  # YAML takes a tenth of a second: only for who seeds

    if restored := _restore(registry, bot):
        return restored
    folder = registry.site.bots_dir / bot
    wanted, text = releases.read_seed(folder / releases.SEED), read_bot_text(folder / "bot.yaml")
    named = parse_bot(text, str(folder / "bot.yaml")).name
    if named != bot:
        raise ParleyError(f"the folder of {named} is called {bot}", where=str(folder), mend=f"call it {named}")
    with registry.catalogue.write() as c:
        if aliases.newest_change(c, bot) is not None:
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
            known = releases.read_release(c, bot, wanted.number)
            _check_same(known, release)
            check_answerable(c, known)
        else:
            check_release(c, registry.repo, release, text)
            if write:
                documents.write_release(registry.repo, ReleaseDocument(release=release, dialogue=text))
            releases.insert_release(c, release, text)
        after = Aliases(champion=wanted.number)
        aliases.record_change(c, bot, "first", after, moved_from=None, moved_to=wanted.number, who=_WHO, why=_WHY)
    for words in write_copy_if_possible(registry, bot) if write else ():
        _log.warning("%s: %s", release, words)
    return [f"{release} answers its calls"]


def _check_same(known: Release, seed: Release) -> None:
    """A release of the seed's number was made before, and lost its alias: it may only be the same."""
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
                    check_published(c, document.release)
                    releases.insert_release(c, document.release, document.dialogue)
                    done.append(f"{document.release} is known again")
        except ParleyError as error:
            _log.warning("left alone: %s", error)
    return done


def _restore(registry: Registry, bot: str) -> list[str]:
    """Point where the copy beside the releases points, when the catalogue knows of no alias at all."""
    with registry.catalogue.read() as c:
        if aliases.newest_change(c, bot) is not None:
            return []
    written = documents.read_aliases(registry.repo, bot)
    if written is None or written.champion is None:
        return []
    with registry.catalogue.write() as c:
        known = set(releases.release_numbers(c, bot))
        if aliases.newest_change(c, bot) is not None or written.champion not in known:
            return []
        check_answerable(c, releases.read_release(c, bot, written.champion))
        # A change per release that was champion: they may be rolled back to.
        steps = [Aliases(number) for number in written.champions if number in known and number != written.champion]
        candidate, previous = (n if n in known else None for n in (written.candidate, written.previous))
        for step in [*steps, Aliases(written.champion, candidate, previous)]:
            aliases.record_change(
                c, bot, "restore", step, moved_from=None, moved_to=step.champion, who=_WHO,
                why=f"the catalogue was lost; last changed {written.at:%Y-%m-%d %H:%M} by {written.who}"[: t.WHY_CHARS],
            )  # fmt: skip
    return [f"{bot} points to release {written.champion} again"]


def _unseeded(registry: Registry) -> list[str]:
    """Bots with a seed that have no alias yet. Cheap: a folder whose name is no bot's (`barista.bak`) is none."""
    seeds = {path.parent.name for path in registry.site.bots_dir.glob(f"*/{releases.SEED}")}
    seeds = {name for name in seeds if _BOT_FOLDER.fullmatch(name)}
    with registry.catalogue.read() as c:
        return sorted(seeds - aliases.bots_with_aliases(c))
