"""What answers a new call now: release, its dialogue, and experiments, in one consistent state that a replica follows.

Releases answer by their aliases in the catalogue and experiments by their epochs, in one database. A replica asks for
both ten times a second and reads the whole anew when either changed. While the catalogue does not answer, or names a
release whose dialogue cannot be used, what was read last goes on answering.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from experiments.assignment import Arm, Experiment, Snapshot
from experiments.store import config_version_of, snapshot_of
from models.contracts import Clients
from orchestrator.services import Script
from parley.bot.load import parse_bot
from parley.bundle import Manifest
from parley.errors import ParleyError
from registry.catalogue import PUBLISHED, Catalogue, manifest_of, version
from registry.releasing import aliases, releases
from registry.releasing.fit import check_fit
from registry.releasing.releases import Release

_log = logging.getLogger(__name__)

_KEPT_SCRIPTS = 4
"""Dialogue configs that are kept parsed, so that a rollback finds its prompts warm."""


@dataclass(frozen=True)
class Routing:
    """What answers a call that starts now."""

    release: Release
    seq: int
    """The bot's count of alias changes that led here."""
    script: Script
    experiments: Snapshot = field(default_factory=Snapshot)
    arms: frozenset[tuple[str, int]] = frozenset()
    """(model, version) of the experiments' arms that may be served: published, unchanged, fitting the release."""

    def arm_available(self, model: str, number: int) -> bool:
        """Whether an experiment may serve this version now."""
        return (model, number) in self.arms


class RoutingReader:
    """Reads a bot's routing from the catalogue."""

    def __init__(self, bot: str, catalogue: Catalogue, repo: Path, clients: Clients) -> None:
        self._bot, self._catalogue, self._repo, self._clients = bot, catalogue, repo, clients
        self._scripts: dict[str, Script] = {}
        self._refused: dict[str, ParleyError] = {}
        """Dialogues that cannot be used, by digest: a text never changes, so none is parsed twice."""

    def version(self) -> int:
        """Another number means another routing; two indexed reads.

        Raises:
            ParleyError: the catalogue cannot be read now.
        """
        with self._catalogue.read() as c:
            return aliases.last_change_id(c, self._bot) << 32 | config_version_of(c)

    def read(self) -> Routing:
        """The routing now, ready to serve: its dialogue is parsed, its last resort rendered, and its clients have read
        their assets.

        Raises:
            ParleyError: the catalogue cannot be read now, the bot has no release, or its dialogue cannot be used.
        """
        with self._catalogue.read() as c:
            release = releases.champion(c, self._bot)
            seq = aliases.current_aliases(c, self._bot).seq
            experiments = snapshot_of(c)
            arms = frozenset(self._arms(c, release, experiments))
            known = release.dialogue_digest in self._scripts
            text = "" if known else releases.dialogue_text(c, release.dialogue_digest)
        script = self._script(release, text)
        # Here, in the follower's thread: the first call of a release must not stop the others' audio to read files.
        for stage, ref in release.stages.items():
            try:
                self._clients.read(stage, ref)
            except Exception as error:
                # A damaged version must not keep the replica on a release that somebody turned away from.
                _log.warning("a version of the release cannot be used", extra={"stage": stage, "reason": str(error)})
        return Routing(release, seq, script, experiments, arms)

    def _script(self, release: Release, text: str) -> Script:
        digest = release.dialogue_digest
        if digest in self._refused:
            raise self._refused[digest].with_traceback(None)
        # Taken out and put in again: what was used last stays longest.
        script = self._scripts.pop(digest, None) or self._parsed(release, text)
        self._scripts[digest] = script
        while len(self._scripts) > _KEPT_SCRIPTS:
            del self._scripts[next(iter(self._scripts))]
        return script

    def _parsed(self, release: Release, text: str) -> Script:
        try:
            script = Script.of(parse_bot(text, f"{release}, bot.yaml", taken_in=True))
        except ParleyError as error:
            self._refused[release.dialogue_digest] = error
            raise
        # Here too: a call whose voice is down asks for it at once, whether or not the release has been warmed up.
        script.prompts.render_last_resort()
        return script

    def _arms(self, c: sa.Connection, release: Release, experiments: Snapshot) -> Iterator[tuple[str, int]]:
        """The arms that may be served beside this release."""
        by_model = {ref.model: stage for stage, ref in release.stages.items()}
        live = [experiment for experiment in experiments.live if experiment.model in by_model]
        if not live:
            return
        others = {str(stage): manifest_of(c, ref.model, ref.version) for stage, ref in release.stages.items()}
        for experiment in live:
            for arm in experiment.arms:
                try:
                    self._check_arm(c, experiment, arm, others)
                except ParleyError as error:
                    _log.warning("an arm cannot be served, the release answers", extra={"reason": str(error)})
                else:
                    yield experiment.model, arm.version

    def _check_arm(self, c: sa.Connection, experiment: Experiment, arm: Arm, others: dict[str, Manifest]) -> None:
        row = version(c, experiment.model, arm.version)
        where = f"experiment {experiment.name}, {arm.name}"
        if row.state != PUBLISHED or not (self._repo / row.model / str(row.number)).is_dir():
            raise ParleyError(f"{row.model} {row.number} is not there", where=where)
        if row.digest != arm.digest:
            raise ParleyError(f"{row.model} {row.number} is not the version it was started with", where=where)
        check_fit({**others, experiment.stage: manifest_of(c, row.model, row.number)})
