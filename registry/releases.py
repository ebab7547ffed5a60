"""A release: the four versions that answer a call together, and loading them into a running server.

`bots/<bot>/release.json` names them:

    {"number": 1, "stages": {"stt": {"model": "barista_stt", "version": 1}, …}}
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from parley.bundle import FAMILIES, Family
from parley.errors import ParleyError
from parley.serving.engine import EngineRejected, EngineTimeout
from parley.serving.triton_engine import TritonEngine
from parley.settings import Settings
from registry.model_config import model_directories, version_numbers, write_model_config

RELEASE = "release.json"


class StageVersion(BaseModel):
    """One published version, as a router names it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1)
    version: int = Field(ge=1)


class Release(BaseModel):
    """What `release.json` holds: a number and a version per stage."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    number: int = Field(ge=1)
    stages: dict[Family, StageVersion]


def read_release(bot_name: str, settings: Settings) -> Release:
    """The release that answers this bot's new calls.

    Raises:
        ParleyError: the file is missing or is not a release.
    """
    path = settings.bots_dir / bot_name / RELEASE
    try:
        return Release.model_validate_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ParleyError("the bot has no release", where=str(path), mend="publish its models and write one") from None
    except (ValidationError, UnicodeDecodeError) as error:
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            detail = f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
        else:
            detail = "not text"
        raise ParleyError(
            f"not a release: {detail}",
            where=str(path),
            mend=f"give a number and, for stages among {', '.join(FAMILIES)}, a model and a version each",
        ) from None


def published(repo: Path) -> list[tuple[str, int]]:
    """Every (model, version) in the repository, sorted."""
    return [(directory.name, number) for directory in model_directories(repo) for number in version_numbers(directory)]


async def load_into(engine: TritonEngine, repo: Path, model: str, *, deadline_s: float = 60.0) -> list[int]:
    """Make a running server serve every version of `model` in `repo`. Versions that were loaded before go on answering.

    Triton loads every version of the model anew beside the old ones and then swaps them, so nothing stops answering,
    but for a moment the model takes its memory twice.

    Returns:
        The versions that answer now.

    Raises:
        EngineError: the server refused a version (the text says why), was not ready by the deadline, or a version's
            files are damaged; the sound versions answer nevertheless.
    """
    problems: list[ParleyError] = []
    if not write_model_config(repo / model, problems) and not problems:
        raise EngineRejected("there is no such model", where=str(repo / model), mend="publish it")
    await engine.load(model, timeout_s=deadline_s)
    sound = [
        n
        for n in version_numbers(repo / model)
        if not any(_inside(problem.where, repo / model / str(n)) for problem in problems)
    ]
    answering = await wait_ready(engine, model, sound, deadline_s=deadline_s)
    for problem in problems:
        raise EngineRejected(problem.what, where=problem.where, mend=problem.mend)
    return answering


def _inside(where: str, directory: Path) -> bool:
    return Path(where).is_relative_to(directory)


async def wait_ready(engine: TritonEngine, model: str, versions: Iterable[int], *, deadline_s: float) -> list[int]:
    """Wait until each version answers.

    Raises:
        EngineTimeout: names the version that did not get ready.
    """
    wanted = list(versions)
    for version in wanted:
        try:
            async with asyncio.timeout(deadline_s):
                while not await engine.ready(model, version):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise EngineTimeout(
                f"not ready after {deadline_s:g} s",
                where=f"{model} version {version}",
                mend="read the server's log",
            ) from None
    return wanted
