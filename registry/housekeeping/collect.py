"""Collecting what nothing needs: releases are retired, then versions that only they named lose their files.

    with open_for_writing(settings()) as registry:
        for decision in collect(registry, Policy(keep=5, older_than_days=30)):
            print(decision)

The record of a version stays when its files go, with its manifest and its data: what answered a call is never unknown.
Killed at any step, a version is here and published, or gone and known as collected, once the next command has run
`finish`: it is first marked as collecting (nothing may refer to it from then on), then loses its pin, is renamed out of
sight, deleted, and marked as collected.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import replace

import sqlalchemy as sa

from parley.errors import ParleyError
from parley.files import fsync_dir
from parley.signatures import verify_version
from registry import catalogue
from registry import tables as t
from registry.binding import bind
from registry.catalogue import COLLECTED, COLLECTING, PUBLISHED, VersionRow
from registry.housekeeping.retention import (
    Decision,
    Policy,
    decide,
    decide_releases,
    loaded_versions,
    needs,
    seeded_versions,
)
from registry.layout import model_lock, version_numbers
from registry.releasing.holds import KEPT, RETIRED, references
from registry.site import Registry
from registry.site import who as user
from registry.versions.signing import remove_pin, trusted_keys, write_pin

LOG = logging.getLogger(__name__)
_GONE = ".collecting-"


def collect(
    registry: Registry,
    policy: Policy,
    *,
    dry_run: bool = False,
    who: str = "",
    on_done: Callable[[Decision], None] = lambda decision: None,
) -> list[Decision]:
    """Decide about everything, retire releases and collect versions.

    Args:
        registry: of the site.
        policy: what is kept although nothing needs it.
        dry_run: only decide.
        who: for the audit; default the user.
        on_done: called after each release or version that went.

    Returns:
        Every decision. One that did not hold any more when its turn came is given as it was found then.

    Raises:
        ParleyError: disk or database refuse.
    """
    with registry.catalogue.read() as c:
        decisions = decide(registry, c, policy)
    if dry_run:
        return decisions
    bind(registry)
    final = []
    for decision in decisions:
        if not decision.kept:
            retire = decision.kind == "release"
            decision = _retire(registry, decision, policy, who) if retire else _collect(registry, decision, who)
            on_done(decision)
        final.append(decision)
    return final


def collect_version(registry: Registry, model: str, number: int, *, who: str = "") -> str:
    """Collect one version, whatever its age.

    Returns:
        What could not be tidied up after it went; the next command does. Empty where all is done.

    Raises:
        ParleyError: something needs it, all reasons are given; or it is not here.
    """
    with registry.catalogue.read() as c:
        row = catalogue.version(c, model, number)
    where = f"{model} version {number}"
    if row.state != PUBLISHED:
        raise ParleyError(f"it is {row.state} already", where=where)
    bind(registry)
    reasons, note = _collect_row(registry, row, ("asked for by hand",), who)
    if reasons:
        raise ParleyError(
            f"it is needed: {'; '.join(reasons)}",
            where=where,
            mend="promote another release and retire this one (parley gc), stop the experiment, or wait for the calls",
        )
    return note


def why_needed(registry: Registry, model: str, number: int) -> list[str]:
    """Every reason why `collect_version` would refuse; none means that it would not.

    Raises:
        ParleyError: the version is not known.
    """
    with registry.catalogue.read() as c:
        return _needed(registry, c, catalogue.version(c, model, number))


def finish(registry: Registry) -> list[str]:
    """Finish what a killed collector left; a query and a look into the folders when there is nothing.

    A collected version whose files are back, from a backup or a checkout, is verified and published again.

    Returns:
        What was mended, in words.

    Raises:
        ParleyError: the database refuses.
    """
    done = []
    with registry.catalogue.read() as c:
        half = catalogue.versions(c, state=COLLECTING)
        query = sa.select(t.versions.c.model, t.versions.c.number).where(t.versions.c.state == COLLECTED)
        gone = {(model, number) for model, number in c.execute(query)}
    for row in half:
        try:
            with model_lock(registry.repo, row.model, wait=False) as held:
                if held and _state(registry, row) == COLLECTING:
                    _remove(registry, row)
                    done.append(f"collected {row.model} version {row.number}")
        except OSError as error:
            LOG.warning("%s version %d cannot be removed yet: %s", row.model, row.number, error)
    for model in sorted({model for model, _ in gone}):
        for number in version_numbers(registry.repo / model):
            if (model, number) in gone:
                with registry.catalogue.read() as c:
                    row = catalogue.version(c, model, number)
                try:
                    done += _restore(registry, row)
                except OSError as error:
                    LOG.warning("%s version %d is not published again yet: %s", model, number, error)
    return done


def _retire(registry: Registry, decision: Decision, policy: Policy, who: str) -> Decision:
    """Retire a release, if it may still go."""
    with registry.catalogue.write() as c:
        now = {each.number: each for each in decide_releases(c, decision.owner, policy)}
        again = now.get(decision.number, decision)  # not there: another collector was faster
        if not again.kept:
            here = (t.releases.c.bot == decision.owner) & (t.releases.c.number == decision.number)
            c.execute(t.releases.update().where(here, t.releases.c.state == KEPT).values(state=RETIRED))
            catalogue.audit(c, who or user(), "retire", decision.subject, "; ".join(again.reasons))
    return again


def _collect(registry: Registry, decision: Decision, who: str) -> Decision:
    """Collect a version, if it may still go."""
    with registry.catalogue.read() as c:
        row = catalogue.version(c, decision.owner, decision.number)
    kept_by, note = _collect_row(registry, row, decision.reasons, who)
    if kept_by:
        return replace(decision, kept=True, reasons=tuple(kept_by))
    return replace(decision, note=note)


def _collect_row(registry: Registry, row: VersionRow, why: tuple[str, ...], who: str) -> tuple[list[str], str]:
    """Mark a version and remove its files. Its age is not asked again: it only grows.

    Returns:
        What keeps it, where something does by now; and, where it went, what could not be removed yet: it is marked, so
        nothing may refer to it any more, and whatever goes wrong after that must not look as if it were still there.

    Raises:
        ParleyError: the disk or the database refuses; it stays.
    """
    try:
        with model_lock(registry.repo, row.model):
            with registry.catalogue.write() as c:
                if reasons := _needed(registry, c, row):
                    return reasons, ""
                if catalogue.version(c, row.model, row.number).state != PUBLISHED:
                    return [], ""  # another collector was faster
                catalogue.set_state(c, row.model, row.number, COLLECTING)
                subject = f"{row.model} {row.number}"
                catalogue.audit(c, who or user(), "collect", subject, "; ".join(why), {"digest": row.digest})
            try:
                _remove(registry, row)
            except OSError as error:
                where = error.filename or registry.repo / row.model / str(row.number)
                return [], f"its files are not removed yet: {error.strerror or error} ({where})"
            except ParleyError as error:
                return [], f"that it is removed is not written down yet: {error}"
    except OSError as error:
        raise ParleyError(
            f"cannot be collected: {error.strerror or error}",
            where=str(error.filename or registry.repo / row.model / str(row.number)),
            mend="check permissions",
        ) from error
    return [], ""


def _remove(registry: Registry, row: VersionRow) -> None:
    """Take away pin and files of a version that is marked, for who holds its model's lock. May be repeated.

    Raises:
        OSError: the disk refuses; the rest is left to `finish`.
    """
    directory = registry.repo / row.model
    version, aside = directory / str(row.number), directory / f"{_GONE}{row.number}"
    remove_pin(registry.site, row.model, row.number)
    if version.is_dir():
        # One rename takes it from every reader; a folder that is half deleted never bears a version's name.
        if aside.exists():
            shutil.rmtree(aside)
        os.rename(version, aside)
        fsync_dir(directory)
    if aside.exists():
        shutil.rmtree(aside)
        fsync_dir(directory)
    with registry.catalogue.write() as c:
        catalogue.set_state(c, row.model, row.number, COLLECTED)


def _restore(registry: Registry, row: VersionRow) -> list[str]:
    """Publish a collected version again whose files are back and are those that were collected."""
    version = registry.repo / row.model / str(row.number)
    with model_lock(registry.repo, row.model, wait=False) as held:
        if not held or _state(registry, row) != COLLECTED:
            return []
        try:
            verify_version(version, trusted_keys(registry.site), model=row.model, number=row.number, pin=row.digest)
        except ParleyError as error:
            LOG.warning(
                "%s version %d was collected, and these files stay as they are: %s", row.model, row.number, error
            )
            return []
        with registry.catalogue.write() as c:
            catalogue.set_state(c, row.model, row.number, PUBLISHED)
            catalogue.audit(c, user(), "restore", f"{row.model} {row.number}", "its files are back")
        write_pin(registry.site, row.model, row.number, row.digest)
    return [f"published {row.model} version {row.number} again: its files are back"]


def _needed(registry: Registry, c: sa.Connection, row: VersionRow) -> list[str]:
    """Why a version cannot go now: all reasons but its age."""
    here = catalogue.versions(c, model=row.model, state=PUBLISHED)
    return needs(
        row, references(c, row.model, row.number), newest=here[-1].number if here else 0,
        loaded=loaded_versions(registry), seeds=seeded_versions(registry, c),
    )  # fmt: skip


def _state(registry: Registry, row: VersionRow) -> str:
    with registry.catalogue.read() as c:
        return catalogue.version(c, row.model, row.number).state
