"""What a replica may serve: releases and the arms of experiments are tried here without a caller first.

A release answers calls at once, for nothing else could; one synthetic turn renders its prompts and opens its graphs. An
arm of an experiment waits: until its client has been read and its graph has answered, the release's version answers
its callers, and their exposures say so (`arm_unavailable`). Nothing is read on the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from models.contracts import Clients
from orchestrator.rehearsal import prove, synthetic_turn
from orchestrator.routing import Routing
from parley.bundle import Family
from registry.releasing.documents import StageVersion

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Attempts:
    """How long warming up waits. In seconds."""

    again_s: float = 2.0
    """Between two attempts at what did not answer."""
    arm_within_s: float = 20.0
    """So long an arm may take to answer; another one may wait for it meanwhile."""


@dataclass
class _Watch:
    """What one of the two loops waits for, and who waits for it."""

    news: asyncio.Event = field(default_factory=asyncio.Event)
    """The routing may be another."""
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    """What there was has been tried once, whether or not it answered."""


class Warming:
    """Follows a replica's routing and has what is new in it answer once. Belongs to one event loop.

    Args:
        clients: of the versions.
        routing: gives the routing as it is now.
        attempts: how long to wait for what.
    """

    def __init__(self, clients: Clients, routing: Callable[[], Routing], attempts: Attempts | None = None) -> None:
        self._clients, self._routing, self._attempts = clients, routing, attempts or Attempts()
        self.warm = False
        """Whether a synthetic turn has run through all four stages, of any release."""
        self._release = self._said_release = 0
        self._arms: set[tuple[str, int]] = set()
        self._said_arms: set[tuple[str, int]] = set()
        self._watches = (_Watch(), _Watch())

    def arm_available(self, model: str, number: int) -> bool:
        """Whether an experiment may serve this version to a call that starts now."""
        routing, ref = self._routing(), (model, number)
        # An arm that is the release's own version waits for nothing: its callers get it anyway.
        return routing.arm_available(model, number) and (ref in self._arms or ref in routing.release.refs)

    def look(self) -> None:
        """The routing may have changed. Called on the event loop."""
        for watch in self._watches:
            watch.news.set()

    async def tried(self) -> None:
        """Return when the release and the arms have been tried once, whether or not they answered."""
        for watch in self._watches:
            await watch.tried.wait()

    async def run(self) -> None:
        """Warm up what comes, until cancelled."""
        of_release, of_arms = self._watches
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._keep(self._try_release, of_release))
            loops.create_task(self._keep(self._try_arms, of_arms))

    async def _keep(self, attempt: Callable[[Routing], Awaitable[bool]], watch: _Watch) -> None:
        """Attempt whenever the routing changes, and again after a while as long as something did not answer."""
        while True:
            watch.news.clear()
            answered = await attempt(self._routing())
            watch.tried.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if answered else self._attempts.again_s):
                    await watch.news.wait()

    async def _try_release(self, routing: Routing) -> bool:
        """Render its prompts, and run one turn. A failure is said once."""
        number, began = routing.release.number, time.monotonic()
        if number == self._release:
            return True
        try:
            await synthetic_turn(routing, self._clients)
        except Exception as error:
            if number != self._said_release:
                self._said_release = number
                _log.warning("cannot warm up yet", extra={"reason": _reason(error)})
            return False
        self.warm, self._release = True, number
        _log.info("warm", extra={"release": number, "took_ms": round((time.monotonic() - began) * 1000)})
        return True

    async def _try_arms(self, routing: Routing) -> bool:
        """Have each arm answer that has not. A failure is said once."""
        arms = dict(_arms_of(routing))
        self._arms &= arms.keys()  # a version that comes back in another experiment may have been let go meanwhile
        self._said_arms &= arms.keys()
        for ref in arms.keys() - self._arms:
            where = {"version": f"{ref[0]} {ref[1]}"}
            try:
                async with asyncio.timeout(self._attempts.arm_within_s):
                    version, probe = StageVersion(model=ref[0], version=ref[1]), routing.script.bot.speech.probe
                    await prove(arms[ref], version, self._clients, probe)
            except Exception as error:
                if ref not in self._said_arms:
                    self._said_arms.add(ref)
                    _log.warning("an arm does not answer, the release does", extra={**where, "reason": _reason(error)})
            else:
                self._arms.add(ref)
                _log.info("an arm is warm", extra=where)
        return arms.keys() == self._arms


def _arms_of(routing: Routing) -> Iterator[tuple[tuple[str, int], Family]]:
    """The arms that may be served once they are warm: (model, version), and its family."""
    for family, ref in routing.release.stages.items():
        for model, number in routing.arms:
            if model == ref.model:
                yield (model, number), family


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]
