"""What the Triton server of this site serves, and keeping it so.

    view = ServedView(registry)
    problems = view.prepare()                        # before the server starts
    view.ensure([("barista_stt", 3)])                # a version must answer before an alias points to it
    with Keeper(view):                               # while the server runs: adds what is wanted, drops what is not
        ...

`<state_dir>/triton/models/<model>/<n>` holds links to those files of `<repo>/<model>/<n>` that are served. The server
is started on this folder and serves all of it, so a version is loaded by linking and unloaded by unlinking, and stays
published. Triton then starts only what was added and ends only what was removed, as long as nothing else changes.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from parley.background import BackgroundLoop, HealthNotes, Pace
from parley.errors import ParleyError
from parley.implementation import model_of
from parley.serving.engine import EngineRejected, EngineTimeout
from parley.serving.triton_control import Control, open_control
from parley.serving.trust import Trust
from registry import tables as t
from registry.catalogue import PUBLISHED, VersionRow, version
from registry.releasing import aliases, leases
from registry.site import Registry
from registry.versions.signing import write_pin
from registry.view import Ref, ViewControl, ViewFolder
from registry.view_loading import ViewLoader

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long what is served waits. In seconds."""

    linger_s: float = 5.0
    """So long a version stays after nothing wants it: a replica may still start a call by aliases it read before."""
    retry_s: float = 30.0
    """So long what was refused is left alone."""
    deadline_s: float = 60.0
    """So long a server may take until it answers for what it loads."""


def wanted(c: sa.Connection, bots: Collection[str] | None = None) -> dict[str, set[int]]:
    """The versions that must answer, by model: those of releases that an alias points to, those that an experiment
    holds or a call uses, and the newest of each model.

    Args:
        bots: whose models count; None is everybody's.
    """
    columns = t.versions.c
    newest = sa.select(columns.model, columns.bot, sa.func.max(columns.number)).where(columns.state == PUBLISHED)
    rows = c.execute(newest.group_by(columns.model, columns.bot)).all()
    found: set[Ref] = {(model, number) for model, _, number in rows}
    for bot in c.scalars(sa.select(t.alias_changes.c.bot).distinct()).all():
        now = aliases.current_aliases(c, bot)
        pointed = [n for n in (now.champion, now.candidate, now.previous) if n is not None]
        stages = t.release_stages.c
        query = sa.select(stages.model, stages.version).where(stages.bot == bot, stages.number.in_(pointed))
        found |= {(model, number) for model, number in c.execute(query)}
    found |= {(model, number) for model, number in c.execute(sa.select(t.holds.c.model, t.holds.c.version))}
    found |= {(lease.model, lease.version) for lease in leases.live(c)}
    models = {model for model, bot, _ in rows if bots is None or bot in bots}
    by_model: dict[str, set[int]] = {}
    for model, number in found:
        if model in models:
            by_model.setdefault(model, set()).add(number)
    return by_model


@dataclass
class Changes:
    """What one look changed."""

    added: list[Ref] = field(default_factory=list)
    removed: list[Ref] = field(default_factory=list)
    problems: dict[Ref, ParleyError] = field(default_factory=dict)
    """Versions that are wanted and cannot be served."""


class ServedView:
    """The served versions of a site. Several processes may use one; they take turns.

    Args:
        registry: the site's repository and catalogue.
        bots: what `prepare` starts a server for; None is all bots. Everybody else follows what it was started for.
        patience: how long it waits for what.
    """

    def __init__(
        self, registry: Registry, bots: Collection[str] | None = None, patience: Patience = Patience()
    ) -> None:
        self._registry = registry
        self._patience = patience
        self._bots = bots
        self._trust = Trust.of(registry.site)
        self.folder = ViewFolder(registry.site.state_dir, registry.repo)
        self._loader = ViewLoader(self.folder, registry.repo, self._trust)
        self.notes = HealthNotes.of(registry.site.state_dir)
        self._unwanted_since: dict[Ref, float] = {}
        self._refused: dict[Ref, tuple[float, ParleyError]] = {}
        self._loads: dict[str, tuple[float, frozenset[int]]] = {}

    def prepare(self) -> list[ParleyError]:
        """Make the view what is wanted now, before a server starts on it.

        Returns:
            Why versions were left out; the others are not held up by them.

        Raises:
            CatalogueUnavailable: the catalogue does not answer.
        """
        problems: list[ParleyError] = []
        with self.folder.lock():
            self.folder.write_scope(self._bots)
            with self._registry.catalogue.read() as c:
                rows, unknown = _rows(c, _refs(wanted(c, self._bots)))
            problems += unknown.values()
            sound = []
            for ref, row in rows.items():
                try:
                    self._check(row)
                    sound.append(ref)
                except ParleyError as error:
                    problems.append(error)
            self.folder.reset(sound)
        return problems

    def leave_out(self, model: str, number: int, reason: str) -> None:
        """Take out what a starting server refused, so that it can go on with the rest.

        Args:
            model: as the server calls it.
        """
        model = model_of(model)
        LOG.error("left out: %s version %d: %s", model, number, reason)
        self.folder.unlink(model, number)
        self.folder.configure(model)

    def ensure(self, refs: Iterable[Ref], control: Control | None = None) -> None:
        """Verify these versions, load them and wait until they answer. Where no server runs they are only verified and
        put where the next one finds them; models of bots that the server is not for are only verified.

        Args:
            control: of the server; left out, of the one of this site.

        Raises:
            ParleyError: a version is not known, or its files are not what was published.
            EngineError: the server refuses a version, or is not there before the deadline.
        """
        asked = sorted(set(refs))
        control = self._control(control)
        until = time.monotonic() + self._patience.deadline_s
        with self.folder.lock():
            scope, linked = self.folder.read_scope(), self.folder.linked()
            with self._registry.catalogue.read() as c:
                rows = {ref: version(c, *ref) for ref in asked}
            for ref, row in rows.items():
                if ref[1] not in linked.get(ref[0], ()):
                    self._check(row)
            served = [ref for ref, row in rows.items() if scope is None or row.bot in scope]
            for model in sorted({model for model, _ in served}):
                self._serve(control, model, {number for name, number in served if name == model}, until)

    def reconcile(self, control: Control | None = None) -> Changes:
        """Add what is wanted, drop what has not been for a while, and bring a server that differs back into line.
        Does nothing while another process changes the view.

        Raises:
            CatalogueUnavailable: the catalogue does not answer; everything stays as it is.
            EngineUnavailable: the server does not answer.
        """
        changes, now = Changes(), time.monotonic()
        control = self._control(control)
        with self.folder.lock(wait=False) as mine:
            if not mine:
                return changes
            linked = _refs(self.folder.linked())
            with self._registry.catalogue.read() as c:
                refs = _refs(wanted(c, self.folder.read_scope()))
                rows, changes.problems = _rows(c, refs - linked)
            self._refused = {ref: kept for ref, kept in self._refused.items() if ref in refs}
            self._unwanted_since = {ref: self._unwanted_since.get(ref, now) for ref in linked - refs}
            for ref, since in self._unwanted_since.items():
                if now - since >= self._patience.linger_s:
                    self.folder.unlink(*ref)
                    changes.removed.append(ref)
            for ref, row in rows.items():
                if ref not in self._refused or now - self._refused[ref][0] >= self._patience.retry_s:
                    self._add(ref, row, changes)
            gone = [
                name
                for model in {m for m, _ in changes.added + changes.removed}
                for name in self.folder.configure(model)
            ]
            if control is not None:
                self._align(control, changes, gone)
            changes.problems |= {ref: error for ref, (_, error) in self._refused.items()}
        return changes

    def _control(self, server: Control | None) -> Control | None:
        """Of the server that the caller has at hand, else of the site's own."""
        site = self._registry.site
        if server is None and site.engine == "triton":
            server = open_control(site)
        return None if server is None else ViewControl(server, self.folder)

    def _check(self, row: VersionRow) -> None:
        """Verify a version against what the catalogue accepted under its number."""
        directory = self._registry.repo / row.model / str(row.number)
        if row.state != PUBLISHED:
            raise ParleyError(
                "the version was collected", where=str(directory), mend="import it again, if anybody has it"
            )
        try:
            # A catalogue that several machines share knows more versions than this machine has pins.
            write_pin(self._registry.site, row.model, row.number, row.digest)
            self._trust.verify(directory, row.model, row.number, pinned=True)
        except OSError as error:
            raise ParleyError(
                f"cannot be read: {error.strerror or error}",
                where=str(error.filename or directory),
                mend="see its rights",
            ) from None

    def _add(self, ref: Ref, row: VersionRow, changes: Changes) -> None:
        try:
            self._check(row)
            self.folder.link(*ref)
        except ParleyError as error:
            self._refuse(ref, error)
            return
        self._refused.pop(ref, None)
        changes.added.append(ref)

    def _refuse(self, ref: Ref, error: ParleyError) -> None:
        self._refused[ref] = (time.monotonic(), error)

    def _serve(self, control: Control | None, model: str, numbers: set[int], until: float) -> None:
        """Link versions of one model and wait until they answer."""
        for number in sorted(numbers):
            self.folder.link(model, number)
        self.folder.configure(model)
        while control is not None:
            lacking = {number for number in numbers if not control.ready(model, number)}
            if not lacking:
                return
            if time.monotonic() > until:
                raise EngineTimeout(
                    f"not ready after {self._patience.deadline_s:g} s",
                    where=f"{model} version {min(lacking)}",
                    mend="read the server's log",
                )
            for error in self._loader.load(control, model, lacking, until).values():
                raise error

    def _align(self, control: Control, changes: Changes, gone: Iterable[str]) -> None:
        """Bring the server to what the view holds, as far as it differs.

        Args:
            gone: models of the server's that the view holds no more: its index names them no more either.
        """
        for name in gone:
            control.unload(name)
        serving, linked = control.serving(), self.folder.linked()
        for model, numbers in linked.items():
            if serving.get(model, set()) == numbers or not self._due(model, numbers):
                continue
            fresh = numbers - serving.get(model, set())
            try:
                refused = self._loader.load(control, model, fresh, time.monotonic() + self._patience.deadline_s)
            except EngineRejected as error:  # about a version that serves: its files were changed under it
                changes.problems |= {(model, number): error for number in numbers}
                continue
            for ref, reason in refused.items():
                self._refuse(ref, reason)
            changes.added = [ref for ref in changes.added if ref not in refused]

    def _due(self, model: str, numbers: set[int]) -> bool:
        """Whether to tell the server of these versions: the same ones only now and then, for a server that somebody
        else runs may have a repository of its own."""
        now, before = time.monotonic(), self._loads.get(model)
        if before is not None and before[1] == numbers and now - before[0] < self._patience.retry_s:
            return False
        self._loads[model] = (now, frozenset(numbers))
        return True


class Keeper:
    """Keeps the view in line with the catalogue from a thread, once a second.

    Args:
        view: its own, used by no other thread.
    """

    def __init__(self, view: ServedView, *, interval_s: float = 1.0) -> None:
        self._view = view
        self._said: dict[Ref, str] = {}
        self.loop = BackgroundLoop(
            lambda: self._say(self._view.reconcile()),
            name="view-keeper",
            pace=Pace(interval_s, interval_s, 5 * interval_s),
            failing="what is served cannot be changed now and stays",
            healed="what is served can be changed again",
            notes=view.notes,
        )

    def start(self) -> Self:
        """Look once a second from now on."""
        self.loop.start()
        return self

    def close(self) -> None:
        """Stop looking; what is served stays."""
        self.loop.stop()

    def _say(self, changes: Changes) -> None:
        self._said = {ref: text for ref, text in self._said.items() if ref in changes.problems}
        for verb, refs in (("serves", changes.added), ("no longer serves", changes.removed)):
            for model, number in refs:
                LOG.info("%s %s version %d", verb, model, number)
        for ref, error in changes.problems.items():
            if self._said.get(ref) != str(error):
                self._said[ref] = str(error)
                LOG.warning("not served: %s", error)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _refs(by_model: dict[str, set[int]]) -> set[Ref]:
    return {(model, number) for model, numbers in by_model.items() for number in numbers}


def _rows(c: sa.Connection, refs: Iterable[Ref]) -> tuple[dict[Ref, VersionRow], dict[Ref, ParleyError]]:
    """What the catalogue knows of these versions, and why it does not know the rest."""
    known, unknown = {}, {}
    for ref in sorted(refs):
        try:
            known[ref] = version(c, *ref)
        except ParleyError as error:
            unknown[ref] = error
    return known, unknown
