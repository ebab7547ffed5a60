"""Changing a bot's aliases: candidate, promote, roll back. One transaction and one audit row each.

    loader = SiteLoader(registry)                                                      # registry.loading
    promote(registry, "barista", loader=loader, who="ada", why="won the gate")         # the candidate becomes champion
    rollback(registry, "barista", loader=loader, who="ada", why="callers hang up")     # back to the previous champion

What a change needs is checked before anything happens, so that a refusal is quick; then the versions are made to
answer; then everything is checked again inside the transaction that changes the aliases, for others may have been
faster. Once it is committed nothing raises any more: what goes wrong afterwards is a warning, for the change stands.

A rollback needs no verdict and is not held up by live experiments: it is for the minute in which callers hang up. The
experiments' arms stay as they are, for stopping one would decide it; the product owner is told which go on. An arm that
does not fit the release gone back to is not served until it does (`orchestrator.routing`).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import sqlalchemy as sa

from parley.bundle import FAMILIES, Manifest
from parley.errors import ParleyError
from parley.serving.engine import EngineTimeout, EngineUnavailable
from registry import tables as t
from registry.binding import bind
from registry.catalogue import manifest_of
from registry.releasing import releases, stale
from registry.releasing.aliases import (
    CHANGES_SEEN,
    AliasChange,
    Aliases,
    champions,
    check_note,
    current_aliases,
    history,
    record_change,
)
from registry.releasing.checking import check_answerable, check_published, check_release
from registry.releasing.documents import Release
from registry.releasing.fit import DoesNotFit, check_pairs
from registry.releasing.holds import EXPERIMENT, RETIRED, held
from registry.releasing.readiness import Loader, kept_loaded, verify
from registry.releasing.seeding import write_copy_if_possible
from registry.site import Registry


class PromotionRefused(ParleyError):
    """A rule says no; nothing was changed."""


@dataclass(frozen=True)
class AliasChanged:
    """A change that was made."""

    change: AliasChange
    warnings: tuple[str, ...] = ()
    """What goes on although the person who changed may not expect it, and what could not be tidied up afterwards."""

    @property
    def seq(self) -> int:
        """The bot's count of alias changes."""
        return self.change.seq


def set_candidate(
    registry: Registry, bot: str, number: int, verdict_id: int, *, who: str, why: str = ""
) -> AliasChanged:
    """Make a release the candidate, on the strength of a verdict.

    Raises:
        PromotionRefused: the verdict is not this release's, did not accept it, or is not against the present champion.
        ParleyError: there is no such release, or today's Parley refuses its dialogue.
    """
    check_note(who, why)
    bind(registry)
    with registry.catalogue.write() as c:
        release = _kept(c, bot, number)
        now = current_aliases(c, bot)
        if number == now.champion:
            raise PromotionRefused("it is the champion already", where=str(release))
        verdict = c.execute(sa.select(t.verdicts).where(t.verdicts.c.id == verdict_id)).one_or_none()
        if verdict is None or (verdict.bot, verdict.candidate) != (bot, number):
            raise PromotionRefused(f"verdict {verdict_id} is not about it", where=str(release), mend=_gate(number))
        if not verdict.accepted:
            raise PromotionRefused(f"verdict {verdict_id} refused it", where=str(release), mend=_gate(number))
        if verdict.against != now.champion:
            raise PromotionRefused(
                f"verdict {verdict_id} is against release {verdict.against}, the champion is {now.champion}",
                where=str(release),
                mend=_gate(number),
            )
        check_answerable(c, release)
        after = Aliases(now.champion, number, now.previous)
        change = record_change(c, bot, "candidate", after, moved_from=now.candidate, moved_to=number, who=who, why=why)
    return AliasChanged(change, write_copy_if_possible(registry, bot))


def promote(
    registry: Registry,
    bot: str,
    number: int | None = None,
    *,
    loader: Loader,
    who: str,
    why: str = "",
    force: bool = False,
    stale_ok: bool = False,
) -> AliasChanged:
    """Let a release answer the bot's new calls; calls in progress keep theirs.

    Args:
        number: left out, the candidate.
        loader: of the server that answers the site's calls.
        force: although no verdict accepted it; recorded as forced. No other refusal can be forced.
        stale_ok: although versions were trained on another bot.yaml than the release's; ``why`` says why.

    Raises:
        PromotionRefused: says which rule, and what to do.
        StaleRefused: a version was trained on another bot.yaml; says which, and what it does not know.
        ParleyError: there is no such release, its versions are not there, damaged, or do not fit together, or today's
            Parley refuses its dialogue.
    """
    check_note(who, why)
    if force and not why.strip():
        raise PromotionRefused("a forced promotion needs a reason", where=bot, mend="say it: --why TEXT")
    stale.check_reason(bot, stale_ok, why)
    with registry.catalogue.read() as c:
        release = _promotable(registry, c, bot, number, force)
        found = stale.stale_versions(registry, c, release, releases.dialogue_text(c, release.dialogue_digest))
        if not stale_ok:
            stale.refuse_stale(release, found)
        warnings = (*map(str, found), *stale.drift(registry, c, release))
    why = stale.accepted(found, why)
    bind(registry)
    with kept_loaded(registry, release.refs):
        verify(registry, release.stages.values())
        loader.make_ready(release.refs)
        with registry.catalogue.write() as c:
            again = _promotable(registry, c, bot, number, force)
            if again.number != release.number:
                raise PromotionRefused(
                    f"the candidate is release {again.number} now, it was {release.number}", where=bot, mend="try again"
                )
            now = current_aliases(c, bot)
            candidate = None if now.candidate == release.number else now.candidate
            change = record_change(
                c, bot, "promote", Aliases(release.number, candidate, now.champion),
                moved_from=now.champion, moved_to=release.number, who=who, why=why, forced=force,
            )  # fmt: skip
    return AliasChanged(change, (*warnings, *write_copy_if_possible(registry, bot)))


def rollback(
    registry: Registry, bot: str, to: int | None = None, *, loader: Loader, who: str, why: str = ""
) -> AliasChanged:
    """Let the release answer that did before; needs no verdict.

    The release that is left is not `previous` afterwards: a second rollback goes further back, never to it.

    Args:
        to: a release that has been champion; left out, `previous`.
        loader: of the server that answers the site's calls.

    Raises:
        PromotionRefused: there is nowhere to go back to, or the release was never champion.
        ParleyError: there is no such release, a version of it cannot be served, or today's Parley refuses its dialogue.
    """
    check_note(who, why)
    with registry.catalogue.read() as c:
        release = _returnable(c, bot, to)
        check_answerable(c, release)  # a dialogue never changes: once is enough
    bind(registry)
    with ExitStack() as until_changed:
        warnings = []
        if not loader.answers(release.refs):
            until_changed.enter_context(kept_loaded(registry, release.refs))
            verify(registry, release.stages.values())
            warnings += _try_to_load(loader, release)
        c = until_changed.enter_context(registry.catalogue.write())
        again = _returnable(c, bot, to)
        if again.number != release.number:
            raise PromotionRefused(
                f"the aliases of {bot} were changed by somebody else just now", where=bot, mend="look: parley releases"
            )
        now = current_aliases(c, bot)
        before = _before(c, bot, release.number)
        candidate = None if now.candidate == release.number else now.candidate
        after = Aliases(release.number, candidate, None if before == now.champion else before)
        change = record_change(
            c, bot, "rollback", after, moved_from=now.champion, moved_to=release.number, who=who, why=why
        )  # fmt: skip
        warnings += _experiments_that_go_on(c, release)
    return AliasChanged(change, (*warnings, *write_copy_if_possible(registry, bot)))


def _try_to_load(loader: Loader, release: Release) -> list[str]:
    """Load a release to go back to. A server that is down does not stop a rollback: it loads it when it is back."""
    try:
        loader.make_ready(release.refs)
    except (EngineTimeout, EngineUnavailable) as error:
        return [f"it does not answer yet: {error}"]
    return []


def _promotable(registry: Registry, c: sa.Connection, bot: str, number: int | None, force: bool) -> Release:
    """The release to promote, if nothing speaks against it."""
    now = current_aliases(c, bot)
    if number is None and now.candidate is None:
        raise PromotionRefused(
            "there is no candidate", where=bot, mend="parley gate N --against champion, or name a release"
        )
    release = _kept(c, bot, number if number is not None else now.candidate or 0)
    if release.number == now.champion:
        raise PromotionRefused("it is the champion already", where=str(release))
    old = releases.read_release(c, bot, now.champion) if now.champion is not None else None
    _check_stages(release, old)
    manifests = check_release(c, registry.repo, release, releases.dialogue_text(c, release.dialogue_digest))
    _check_experiments(c, release, old, manifests)
    if not force and old is not None:
        _check_verdict(c, release, old)
    return release


def _returnable(c: sa.Connection, bot: str, to: int | None) -> Release:
    """The release to go back to."""
    now = current_aliases(c, bot)
    known = [number for number in champions(c, bot) if number != now.champion]
    have = f"releases that were champion: {', '.join(map(str, known)) or 'none'}"
    if to is None and now.previous is None:
        raise PromotionRefused("there is no previous champion", where=bot, mend=f"name one with --to N; {have}")
    number = to if to is not None else now.previous or 0
    if number == now.champion:
        raise PromotionRefused("it is the champion already", where=f"release {number} of {bot}", mend=have)
    release = _kept(c, bot, number)
    if number not in known:
        raise PromotionRefused(
            "it has never been champion", where=str(release), mend=f"parley promote {number}; {have}"
        )
    check_published(c, release)
    return release


def _before(c: sa.Connection, bot: str, number: int) -> int | None:
    """What `previous` was when this release was champion last."""
    query = sa.select(t.alias_changes.c.previous).where(
        t.alias_changes.c.bot == bot, t.alias_changes.c.champion == number
    )
    return c.scalar(query.order_by(t.alias_changes.c.seq.desc()).limit(1))


def _kept(c: sa.Connection, bot: str, number: int) -> Release:
    release = releases.read_release(c, bot, number)
    if release.state == RETIRED:
        raise PromotionRefused("it is retired", where=str(release), mend="make a new release of its versions")
    return release


def _check_stages(release: Release, old: Release | None) -> None:
    """A promotion never takes a stage away; a bot's first release needs all that a call needs."""
    needed = old.stages.keys() if old is not None else FAMILIES
    if missing := [stage for stage in FAMILIES if stage in needed and stage not in release.stages]:
        raise PromotionRefused(
            f"no version for {', '.join(missing)}: calls could not be answered",
            where=str(release),
            mend=f"parley releases create {' '.join(f'{stage}=N' for stage in missing)}",
        )


def _check_verdict(c: sa.Connection, release: Release, old: Release) -> None:
    """The newest verdict on this release against the champion must have accepted it, after its last rollback."""
    table = t.verdicts
    query = sa.select(table).where(
        table.c.bot == release.bot, table.c.candidate == release.number, table.c.against == old.number
    )
    verdict = c.execute(query.order_by(table.c.id.desc()).limit(1)).one_or_none()
    mend = f"{_gate(release.number)}; or --force --why TEXT"
    if verdict is None:
        raise PromotionRefused(
            f"nothing shows that it is better than the champion, release {old.number}", where=str(release), mend=mend
        )
    if not verdict.accepted:
        raise PromotionRefused(f"the gate refused it (verdict {verdict.id})", where=str(release), mend=mend)
    left = next(
        (x for x in reversed(history(c, release.bot)) if (x.what, x.moved_from) == ("rollback", release.number)), None
    )
    # A verdict from before they were counted has only its time to go by.
    seen = verdict.report.get(CHANGES_SEEN)
    if left is not None and (left.seq > seen if isinstance(seen, int) else left.at > verdict.at):
        raise PromotionRefused(
            f"it was rolled back after the gate accepted it, by {left.who}: {left.why or 'no reason given'}",
            where=str(release),
            mend=mend,
        )


def _check_experiments(
    c: sa.Connection, release: Release, old: Release | None, manifests: Mapping[str, Manifest]
) -> None:
    """No live experiment loses the version it compares, and its arms fit what the other stages become."""
    alternatives = {stage: [manifest] for stage, manifest in manifests.items()}
    for stage, ref in release.stages.items():
        arms = [(holder, version) for holder, version in held(c, ref.model) if holder.startswith(EXPERIMENT)]
        before = old.stages.get(stage) if old is not None else None
        if arms and before is not None and before != ref:
            name = arms[0][0].removeprefix(EXPERIMENT)
            raise PromotionRefused(
                f"experiment {name} is live on {ref.model} {', '.join(str(version) for _, version in arms)}: "
                f"its {stage} cannot change from {before.version} to {ref.version} under it",
                where=str(release),
                mend=f"decide it first: parley experiment stop {name}",
            )
        alternatives[str(stage)] += [manifest_of(c, ref.model, version) for _, version in arms]
    try:
        check_pairs(alternatives)
    except DoesNotFit as error:
        raise PromotionRefused(
            f"an arm of a live experiment does not fit it: {error}",
            where=str(release),
            mend="stop that experiment first: parley experiment list",
        ) from None


def _experiments_that_go_on(c: sa.Connection, release: Release) -> list[str]:
    names: dict[str, str] = {}
    for stage, ref in release.stages.items():
        names |= {holder: str(stage) for holder, _ in held(c, ref.model) if holder.startswith(EXPERIMENT)}
    return [
        f"{holder} goes on: its callers keep its arms for the {stage}; "
        f"parley experiment stop {holder.removeprefix(EXPERIMENT)} ends it"
        for holder, stage in sorted(names.items())
    ]


def _gate(number: int) -> str:
    return f"parley gate {number} --against champion"
