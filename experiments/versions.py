"""Arms from published versions: what an experiment names must exist, and is bound by digest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from experiments.assignment import STAGES, Arm, ExperimentRefused, check_weights
from parley.bundle import MANIFEST, read_manifest
from parley.files import sha256_file

_BOT = re.compile(r"[a-z0-9][a-z0-9_-]*")


def published_versions(repo_dir: Path, model: str) -> list[int]:
    """Numbers of the versions of a model that hold a manifest, sorted; names that are no plain numbers are not
    versions."""
    folder = repo_dir / model
    if not folder.is_dir():
        return []
    return sorted(int(p.parent.name) for p in folder.glob(f"*/{MANIFEST}") if p.parent.name.isdecimal())


def arm_from_repo(repo_dir: Path, model: str, name: str, version: int, weight: float) -> Arm:
    """The arm that a published version makes, with the digest it has now.

    Raises:
        ExperimentRefused: there is no such version; says which there are.
        ParleyError: its manifest is damaged.
    """
    found = published_versions(repo_dir, model)
    if version not in found:
        have = ", ".join(map(str, found)) or "none"
        raise ExperimentRefused(
            f"version {version} is not published (there is: {have})",
            kind="version-missing",
            status=422,
            where=str(repo_dir / model),
            mend="publish it first, or name one that exists",
        )
    folder = repo_dir / model / str(version)
    read_manifest(folder)
    return Arm(name, version, weight, sha256_file(folder / MANIFEST))


def two_arms(repo_dir: Path, model: str, control: int, treatment: int, weights: tuple[float, ...]) -> tuple[Arm, ...]:
    """Control and treatment; the same version twice is an A/A test and allowed.

    Raises:
        ExperimentRefused: a weight is wrong or a version is missing.
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
    versions: Mapping[str, int] = {"control": control, "treatment": treatment}
    return tuple(
        arm_from_repo(repo_dir, model, name, version, weight)
        for (name, version), weight in zip(versions.items(), weights, strict=True)
    )


def model_of(repo_dir: Path, stage: str, bot: str | None, versions: tuple[int, ...]) -> str:
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
    if bot and not _BOT.fullmatch(bot):  # it becomes part of a path
        raise ExperimentRefused(
            f"{bot!r} is no bot's name",
            kind="invalid-bot",
            status=422,
            where="bot",
            mend="use a folder's name in bots/",
        )
    if bot:
        return f"{bot}_{stage}"
    models = sorted(p.name for p in repo_dir.glob(f"*_{stage}") if p.is_dir())
    fitting = [model for model in models if set(versions) <= set(published_versions(repo_dir, model))]
    if len(fitting) == 1:
        return fitting[0]
    wanted = " and ".join(map(str, sorted(set(versions))))
    raise ExperimentRefused(
        f"{len(fitting) or 'no'} bots have version {wanted} of this stage",
        kind="bot-unclear",
        status=422,
        where=stage,
        mend=f"name the bot (models here: {', '.join(models) or 'none'})",
    )
