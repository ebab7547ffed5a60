"""How long a bad release goes on answering new calls after somebody typed `parley rollback`.

Follower processes stand for replicas. Each notes, on the machine's monotonic clock, when it turned away from the
release that was champion. A rollback's time is from the start of the command's process to the last of them.
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.small_site import Publisher
from benchmarks.swap import serving_site
from parley.bundle import FAMILIES
from parley.errors import ParleyError
from parley.following import Follower
from parley.progress import ProgressHandle
from parley.secrets import VARIABLES
from parley.settings import Settings
from registry.catalogue import Catalogue
from registry.loading import SiteLoader
from registry.releasing import aliases
from registry.releasing.creating import create_release
from registry.releasing.promotion import promote, rollback
from registry.releasing.releases import champion
from registry.site import Registry

_WHO, _WHY = "benchmark", "measuring"
_LATE_S = 30.0


def _follow(site: Settings, bot: str, pipe: Connection) -> None:
    """A replica's follower; sends (release, when) for every release it turns to."""
    catalogue = Catalogue.at(site)

    def version() -> int:
        with catalogue.read() as c:
            return aliases.last_change_id(c, bot)

    def number() -> int:
        with catalogue.read() as c:
            return champion(c, bot).number

    def tell(found: int) -> None:
        pipe.send((found, time.monotonic()))

    with Follower(version, number, 0, "champion", on_change=tell):
        pipe.recv()


@contextmanager
def followers(site: Settings, bot: str, count: int) -> Iterator[list[Connection]]:
    """So many processes that follow the champion."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = [], []
    for _ in range(count):
        here, there = context.Pipe()
        process = context.Process(target=_follow, args=(site, bot, there), daemon=True)
        process.start()
        there.close()
        pipes.append(here)
        processes.append(process)
    try:
        yield pipes
        for pipe in pipes:
            pipe.send(None)
    finally:
        for process in processes:
            process.join(5)
            process.terminate()
            process.join()


def measure_rollbacks(
    registry: Registry, publisher: Publisher, bot: str, bar: ProgressHandle, *, runs: int, replicas: int
) -> dict[str, Any]:
    """Promote a second release and roll back, again and again, by the command and in this process in turn.

    Raises:
        ParleyError: a rollback failed, or a follower did not notice.
    """
    site = registry.site
    second = create_release(
        registry, bot, {f: publisher.publish(publisher.prepare(f)) for f in FAMILIES}, who=_WHO, why=_WHY
    ).number

    def by_command() -> None:
        command = [sys.executable, "-m", "cli.main", "rollback", "--bot", bot, "--why", _WHY]
        done = subprocess.run(
            command, env=_environment(site), capture_output=True, text=True, encoding="utf-8", check=False
        )
        if done.returncode:
            raise ParleyError("the rollback failed", where=" ".join(command[2:]), mend=done.stderr.strip()[-500:])

    def in_process() -> None:
        rollback(registry, bot, loader=SiteLoader(registry), who=_WHO, why=_WHY)

    took: dict[str, list[float]] = {"command": [], "in process": []}
    with serving_site(registry), followers(site, bot, replicas) as pipes:
        for _ in range(2 * runs + 2):
            way = by_command if len(took["command"]) <= len(took["in process"]) else in_process
            promote(registry, bot, second, loader=SiteLoader(registry), who=_WHO, why=_WHY, force=True)
            _wait_for(pipes, second)
            took["command" if way is by_command else "in process"].append(_time(way, pipes, second))
            bar.advance()
    figures = {name: _figures(values[1:]) for name, values in took.items()}  # the first of each warms the caches
    return figures["command"] | {"replicas": replicas, "in_process": figures["in process"]}


def _time(way: Callable[[], None], pipes: list[Connection], left: int) -> float:
    """Seconds from now until the last follower has turned away from release `left`."""
    began = time.monotonic()
    way()
    return max(_turned(pipe, lambda number: number != left) for pipe in pipes) - began


def _wait_for(pipes: list[Connection], number: int) -> None:
    for pipe in pipes:
        _turned(pipe, lambda found: found == number)


def _turned(pipe: Connection, to: Callable[[int], bool]) -> float:
    """When this follower turned to such a release."""
    while pipe.poll(_LATE_S):
        number, at = pipe.recv()
        if to(number):
            return float(at)
    raise ParleyError(f"a follower did not notice a change within {_LATE_S:g} s", where="rollback")


def _environment(site: Settings) -> dict[str, str]:
    """What the command needs to find the scratch site."""
    own = {
        "PARLEY_BOTS_DIR": site.bots_dir,
        "PARLEY_REPO_DIR": site.repo_dir,
        "PARLEY_STATE_DIR": site.state_dir,
        "PARLEY_TRUSTED_KEYS_DIR": site.trusted_keys_dir,
        "PARLEY_DATABASE_URL": site.database_url,
    }
    kept = {name: v for name, v in os.environ.items() if name in VARIABLES or not name.startswith("PARLEY_")}
    return kept | {name: str(value) for name, value in own.items() if str(value)}


def _figures(values: list[float]) -> dict[str, Any]:
    return {
        "runs": len(values),
        "p50": round(float(np.percentile(values, 50)), 3),
        "p95": round(float(np.percentile(values, 95)), 3),
        "max": round(max(values), 3),
    }
