"""Who is served by which version of each stage: pure functions over a snapshot, no I/O.

    snapshot = store.snapshot()
    served = assign_call(snapshot, release, unit)      # once, at the start of the call, for all its stages
    served["stt"].version

An experiment is frozen at its start: name, model, algorithm, salt, arms, their versions, digests and weights. Only its
coverage moves (a ramp) until it is stopped. Whether a unit is in is one draw and which arm it gets is another, so a
ramp changes who is in and never anybody's arm.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Protocol

from experiments.hashing import cumulative64, draw64, gb_bucket_ranges, gb_choose, gb_hash, share64
from parley.bundle import FAMILIES, Family, VersionRef
from parley.errors import ParleyError

STAGES = FAMILIES
Algorithm = Literal["sha256", "gb2"]
ALGORITHMS: tuple[Algorithm, ...] = ("sha256", "gb2")
State = Literal["live", "stopped"]
Reason = Literal["release", "experiment", "not_covered", "stopped", "arm_unavailable"]

FROZEN = ("name", "stage", "bot", "model", "algorithm", "salt", "arms", "control", "treatment", "weights")
"""What nobody changes after the start."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SALT_CHARS = 256
_WEIGHT_SUM_TOLERANCE = 1e-6


class ExperimentRefused(ParleyError):
    """A rule says no. ``status`` is the HTTP status an API answers with, ``kind`` a stable name of the rule."""

    def __init__(self, what: str, *, kind: str, status: int, where: str = "", mend: str = "") -> None:
        self.kind = kind
        self.status = status
        super().__init__(what, where=where, mend=mend)


@dataclass(frozen=True)
class Arm:
    """One side of an experiment: a published version, by number and by digest."""

    name: str
    version: int
    weight: float
    digest: str
    """SHA-256 of the version's manifest, which holds the SHA-256 of each of its files."""


@dataclass(frozen=True)
class Experiment:
    """One epoch of an experiment. Every change is a new epoch; only ``coverage`` and ``state`` differ between
    epochs."""

    name: str
    stage: str
    model: str
    algorithm: Algorithm
    salt: str
    arms: tuple[Arm, ...]
    coverage: float
    """Share of units that are in, 0 to 1."""
    state: State = "live"
    epoch: int = 1
    config_version: int = 0
    """The store's version at which this epoch began."""

    @property
    def bot(self) -> str:
        """The bot whose model this is."""
        return self.model.removesuffix(f"_{self.stage}")

    @property
    def weights(self) -> tuple[float, ...]:
        """The arms' weights, in their order."""
        return tuple(arm.weight for arm in self.arms)


@dataclass(frozen=True)
class Snapshot:
    """All experiments, each in its newest epoch, as they were at ``config_version``."""

    config_version: int = 0
    experiments: tuple[Experiment, ...] = ()

    @property
    def live(self) -> tuple[Experiment, ...]:
        """The experiments that have not been stopped."""
        return tuple(e for e in self.experiments if e.state == "live")

    @cached_property
    def by_model(self) -> Mapping[str, Experiment]:
        """The experiment that speaks for each model: its live one, else the one stopped last."""
        ranked = sorted(self.experiments, key=lambda e: (e.state == "live", e.config_version))
        return {experiment.model: experiment for experiment in ranked}


@dataclass(frozen=True)
class StageAssignment:
    """What answers one stage of one call, and why.

    ``arm`` is what the hash decided; with reason ``arm_unavailable`` it is still named, and ``version`` is the
    release's.
    """

    stage: str
    model: str
    version: int
    experiment: str | None
    arm: str | None
    reason: Reason
    config_version: int


class ReleaseLike(Protocol):
    """What this module needs of a release (``registry.releasing.releases.Release`` is one)."""

    @property
    def stages(self) -> Mapping[Family, VersionRef]: ...


def arm_of(experiment: Experiment, unit: str) -> Arm | None:
    """The arm this unit has in the experiment, None when it is not in. The state is not looked at."""
    if not unit:
        return None
    if experiment.algorithm == "gb2":
        draw = gb_hash(experiment.salt, unit, 2)
        ranges = gb_bucket_ranges(len(experiment.arms), experiment.coverage, experiment.weights)
        index = None if draw is None else gb_choose(draw, ranges)
        return None if index is None else experiment.arms[index]
    if draw64(experiment.salt, "alloc", unit) >= share64(experiment.coverage):
        return None
    position = draw64(experiment.salt, "arm", unit)
    ends = cumulative64(experiment.weights)
    return next(arm for arm, end in zip(experiment.arms, ends, strict=True) if position < end)


def assign_call(
    snapshot: Snapshot,
    release: ReleaseLike,
    unit: str,
    available: Callable[[str, int], bool] | None = None,
) -> dict[Family, StageAssignment]:
    """What answers each stage of a call that starts now.

    Args:
        snapshot: the experiments as this replica knows them.
        release: the versions that answer where no experiment says otherwise.
        unit: the caller's pseudonym; an empty one is in no experiment.
        available: says whether a (model, version) can serve now; left out, every arm can.
    """
    return {stage: _assign_stage(snapshot, stage, ref, unit, available) for stage, ref in release.stages.items()}


def _assign_stage(
    snapshot: Snapshot, stage: str, ref: VersionRef, unit: str, available: Callable[[str, int], bool] | None
) -> StageAssignment:
    def served(version: int, reason: Reason, name: str | None = None, arm: str | None = None) -> StageAssignment:
        return StageAssignment(stage, ref.model, version, name, arm, reason, snapshot.config_version)

    experiment = snapshot.by_model.get(ref.model)
    if experiment is None or experiment.stage != stage:
        return served(ref.version, "release")
    if experiment.state == "stopped":
        return served(ref.version, "stopped", experiment.name)
    arm = arm_of(experiment, unit)
    if arm is None:
        return served(ref.version, "not_covered", experiment.name)
    if available is not None and not available(experiment.model, arm.version):
        return served(ref.version, "arm_unavailable", experiment.name, arm.name)
    return served(arm.version, "experiment", experiment.name, arm.name)


def check_weights(weights: Sequence[float]) -> None:
    """See that these are the weights of arms; they are never mended silently.

    Raises:
        ExperimentRefused: fewer than two, not above 0, or the sum is not 1.
    """
    text = ", ".join(f"{w:g}" for w in weights)
    if len(weights) < 2:
        raise _invalid("weights", f"give a weight per arm, got {text or 'none'}", "give two, like 0.5,0.5")
    if any(not math.isfinite(w) or w <= 0 for w in weights):
        raise _invalid("weights", f"every weight must be above 0, got {text}", "keep traffic out with coverage instead")
    if abs(sum(weights) - 1) > _WEIGHT_SUM_TOLERANCE:
        raise _invalid("weights", f"weights must sum to 1, got {text} = {sum(weights):g}", "give shares, like 0.5,0.5")


def check_coverage(coverage: float) -> None:
    """See that this is a coverage.

    Raises:
        ExperimentRefused: it is not a share of 0 to 1.
    """
    if not 0 <= coverage <= 1:  # also refuses NaN
        raise _invalid("coverage", f"coverage must be a share from 0 to 1, got {coverage:g}", "10 percent is 0.1")


def start(
    name: str,
    stage: str,
    model: str,
    arms: Sequence[Arm],
    coverage: float,
    known: Iterable[Experiment],
    *,
    algorithm: str = "sha256",
    salt: str = "",
) -> Experiment:
    """A new experiment, frozen from here on.

    Args:
        name: lower-case letters, digits and ``. _ -``; never used before, so that a salt draws only once.
        model: name in the Triton repository.
        arms: two or more, with the digests of the published versions.
        known: all experiments of the store, stopped ones too.
        salt: empty makes ``<model>/<name>``; never used before by another experiment, whatever its stage.

    Raises:
        ExperimentRefused: names the rule.
    """
    if not _NAME.fullmatch(name):
        raise _invalid("name", f"{name!r} is no name", "use up to 64 lower-case letters, digits and . _ -")
    if stage not in STAGES:
        raise _invalid("stage", f"{stage!r} is no stage", f"use one of {', '.join(STAGES)}")
    if algorithm not in ALGORITHMS:
        raise _invalid("algorithm", f"{algorithm!r} is not known", f"use one of {', '.join(ALGORITHMS)}")
    if len(salt) > _SALT_CHARS:
        raise _invalid("salt", "the salt is too long", f"use at most {_SALT_CHARS} characters")
    check_weights([arm.weight for arm in arms])
    check_coverage(coverage)
    if len({arm.name for arm in arms}) < len(arms):
        raise _invalid("arms", "two arms have one name", "name each arm differently")
    used = salt or f"{model}/{name}"
    _check_free(name, used, stage, model, known)
    frozen = tuple(replace(arm, weight=float(arm.weight)) for arm in arms)
    known_algorithm: Algorithm = "gb2" if algorithm == "gb2" else "sha256"
    return Experiment(name, stage, model, known_algorithm, used, frozen, float(coverage))


def _check_free(name: str, salt: str, stage: str, model: str, known: Iterable[Experiment]) -> None:
    """Check that nobody has this name or salt, and that no other experiment is live on the model."""
    for other in known:
        if unicodedata.normalize("NFC", other.salt) == unicodedata.normalize("NFC", salt) and other.name != name:
            raise ExperimentRefused(
                f"its salt is that of {other.name!r}: both would draw the same callers into the same arms",
                kind="salt-taken", status=409, where=salt[:80], mend="leave the salt out, or choose a new one",
            )  # fmt: skip
        if other.name == name:
            raise ExperimentRefused(
                f"the name is taken by {'a live' if other.state == 'live' else 'a stopped'} experiment",
                kind="name-taken", status=409, where=name,
                mend="names stay on record with their exposures: choose a new one",
            )  # fmt: skip
        if other.state == "live" and other.model == model:
            raise ExperimentRefused(
                f"{other.name!r} is live on this stage; two at once could not be told apart",
                kind="stage-occupied", status=409, where=f"{model} ({stage})",
                mend=f"stop it first: parley experiment stop {other.name}",
            )  # fmt: skip


def ramp(experiment: Experiment, coverage: float) -> Experiment:
    """The next epoch, with another coverage and nothing else changed.

    Raises:
        ExperimentRefused: it is stopped, or the coverage is no share.
    """
    check_coverage(coverage)
    _check_live(experiment)
    return replace(experiment, coverage=float(coverage), epoch=experiment.epoch + 1)


def stop(experiment: Experiment) -> Experiment:
    """The last epoch: new calls are answered by the release; calls in progress keep their versions.

    Raises:
        ExperimentRefused: it is stopped already.
    """
    _check_live(experiment)
    return replace(experiment, state="stopped", epoch=experiment.epoch + 1)


def refuse_frozen(name: str, fields: Iterable[str]) -> None:
    """Refuse a change of anything that froze at the start.

    Raises:
        ExperimentRefused: says which field, why, and what to do instead.
    """
    if frozen := sorted(set(fields) & set(FROZEN)):
        raise ExperimentRefused(
            f"{', '.join(frozen)} froze at the start: a change would move callers between arms and spoil both",
            kind="frozen", status=409, where=name,
            mend="stop this experiment and start another, under a new name, with what you want",
        )  # fmt: skip


def find(name: str, known: Iterable[Experiment]) -> Experiment:
    """The experiment of that name.

    Raises:
        ExperimentRefused: there is none.
    """
    for experiment in known:
        if experiment.name == name:
            return experiment
    raise ExperimentRefused(
        "no such experiment", kind="not-found", status=404, where=name, mend="see them with: parley experiment list"
    )


def _check_live(experiment: Experiment) -> None:
    if experiment.state != "live":
        raise ExperimentRefused(
            "the experiment is stopped",
            kind="stopped", status=409, where=experiment.name,
            mend="start another under a new name",
        )  # fmt: skip


def _invalid(field: str, what: str, mend: str) -> ExperimentRefused:
    return ExperimentRefused(what, kind=f"invalid-{field}", status=422, where=field, mend=mend)
