"""Arms from published versions: what an experiment names must be in the catalogue, is bound by digest, and must fit."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from experiments.assignment import STAGES, Arm, Experiment, ExperimentRefused, check_weights
from parley import names
from parley.bundle import Manifest
from registry.catalogue import PUBLISHED, VersionRow, manifest_of, versions
from registry.releasing import aliases, releases
from registry.releasing.fit import DoesNotFit, check_pairs


def two_arms(c: sa.Connection, model: str, control: int, treatment: int, weights: tuple[float, ...]) -> tuple[Arm, ...]:
    """Control and treatment, each with its digest; the same version twice is an A/A test and allowed.

    Raises:
        ExperimentRefused: a weight is wrong or a version is not published; says which are.
    """
    check_weights(weights)
    if len(weights) != 2:
        raise ExperimentRefused(
            f"two arms need two weights, got {len(weights)}",
            kind="invalid-weights",
            status=422,
            where="weights",
            mend="give two, like 0.5,0.5",
        )
    rows = _published(c, model)
    return tuple(
        Arm(name, number, weight, _row(rows, model, number).digest)
        for name, number, weight in zip(("control", "treatment"), (control, treatment), weights, strict=True)
    )


def check_start(c: sa.Connection, new: Experiment, known: Sequence[Experiment]) -> None:
    """Check in the transaction of a start that its arms are still there and fit what they will be drawn with.

    Args:
        known: every experiment in its newest epoch.

    Raises:
        ExperimentRefused: an arm is gone, or does not fit the champion's other stages or a live experiment's arms.
    """
    rows = _published(c, new.model)
    for arm in new.arms:
        if _row(rows, new.model, arm.version).digest != arm.digest:
            raise ExperimentRefused(
                f"version {arm.version} is not the one it was started with",
                kind="version-missing", status=409, where=new.model, mend="start it again",
            )  # fmt: skip
    champion = aliases.current_aliases(c, new.bot).champion
    if champion is None:
        return
    refs = releases.read_release(c, new.bot, champion).stages
    drawn: dict[str, list[Manifest]] = {}
    for stage, ref in refs.items():
        numbers = {ref.version} if stage != new.stage else set()
        for live in (e for e in (*known, new) if e.state == "live" and e.model == ref.model):
            numbers |= {arm.version for arm in live.arms}
        drawn[str(stage)] = [manifest_of(c, ref.model, number) for number in sorted(numbers)]
    try:
        check_pairs(drawn)
    except DoesNotFit as error:
        raise ExperimentRefused(
            f"an arm does not fit what it would be served with: {error.what}",
            kind="does-not-fit", status=409, where=error.where, mend=error.mend or "choose another version",
        ) from None  # fmt: skip


def model_of(c: sa.Connection, stage: str, bot: str | None, numbers: tuple[int, ...]) -> str:
    """Name of the model of a stage; without a bot, of the only one that has all these versions published.

    Raises:
        ExperimentRefused: no bot is named and none or several have them, or the stage is unknown.
    """
    if stage not in STAGES:
        raise ExperimentRefused(
            f"{stage!r} is no stage",
            kind="invalid-stage",
            status=422,
            where="stage",
            mend=f"use one of {', '.join(STAGES)}",
        )
    if bot and not names.is_bot(bot):
        raise ExperimentRefused(
            f"{bot!r} is no bot's name",
            kind="invalid-bot",
            status=422,
            where="bot",
            mend="use a folder's name in bots/",
        )
    if bot:
        return f"{bot}_{stage}"
    have: dict[str, set[int]] = {}
    for row in versions(c, state=PUBLISHED):
        if row.family == stage:
            have.setdefault(row.model, set()).add(row.number)
    fitting = [model for model, published in have.items() if set(numbers) <= published]
    if len(fitting) == 1:
        return fitting[0]
    wanted = " and ".join(map(str, sorted(set(numbers))))
    raise ExperimentRefused(
        f"{len(fitting) or 'no'} bots have version {wanted} of this stage",
        kind="bot-unclear",
        status=422,
        where=stage,
        mend=f"name the bot (models here: {', '.join(have) or 'none'})",
    )


def _published(c: sa.Connection, model: str) -> dict[int, VersionRow]:
    return {row.number: row for row in versions(c, model=model, state=PUBLISHED)}


def _row(rows: dict[int, VersionRow], model: str, number: int) -> VersionRow:
    if number not in rows:
        raise ExperimentRefused(
            f"version {number} is not published (there is: {', '.join(map(str, rows)) or 'none'})",
            kind="version-missing",
            status=422,
            where=model,
            mend="publish it first, or name one that exists",
        )
    return rows[number]
