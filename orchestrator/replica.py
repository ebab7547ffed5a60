"""What one replica holds for all its calls: engine, release, experiments, prompts, and how many it takes."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from calls.callers import check_region
from calls.pseudonyms import pseudonym_key, unit_of_call
from experiments.assignment import StageAssignment, assign_call
from models.contracts import Clients
from models.pool import ClientPool
from orchestrator.admission import Admission, MeteredEngine, first_limit, request_budget_s, usable_cores
from orchestrator.rehearsal import Proof
from orchestrator.routing import Routing, RoutingReader
from orchestrator.services import CallAssignment, CallParams, Services
from orchestrator.turn_taking import TurnParams
from orchestrator.waiting import Place, WaitingRoom
from orchestrator.warming import Warming
from parley.background import HealthNotes
from parley.following import Follower
from parley.ports import is_loopback
from parley.row_log import RowLog
from parley.serving.choice import open_engine
from parley.serving.engine import Engine
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.stand_in import StandIn
from parley.serving.trust import Trust
from parley.settings import Settings
from registry.catalogue import Catalogue
from registry.releasing.leases import CallLeases

_log = logging.getLogger(__name__)

WARM_UP_WITHIN_S = 20.0
"""How long a replica's start waits for release and arms to be tried once; what fails is tried again behind its back."""
WAKE_EVERY_S = 0.05
"""How often the event loop's lag is measured."""


class Replica:
    """Everything the calls of a replica share, and the admission of new ones.

    Args:
        bot_name: name of the bot's folder.
        settings: of the site.
        engine: left out, the one the settings name.
        pool: left out, the clients of the models in the repository.
        replicas: how many share the machine.

    Raises:
        ParleyError: the bot has no release, or the site's database cannot be opened.
    """

    def __init__(
        self,
        bot_name: str,
        settings: Settings,
        *,
        engine: Engine | None = None,
        pool: Clients | None = None,
        replicas: int = 1,
    ) -> None:
        self.bot_name = bot_name
        self.settings = settings
        self.calls = 0
        """Calls in progress."""
        self.waiting = WaitingRoom()
        """Connections whose call has not started."""
        self.engine = engine or _engine_of(settings)
        self.admission = Admission(
            settings.max_calls,
            request_budget_s(settings.answer_within_ms, settings.end_of_turn_ms),
            first_limit(usable_cores(), replicas),
        )
        metered = MeteredEngine(self.engine, lambda took: self.admission.note("request", took, time.monotonic()))
        pool = pool or ClientPool(settings.repo_dir, metered, Trust.of(settings))
        check_region(settings.region)
        self._key = pseudonym_key(settings)
        self._catalogue = Catalogue.at(settings)
        self.row_log = RowLog.at(settings)
        reader = RoutingReader(bot_name, self._catalogue, Path(settings.repo_dir), pool)
        self._follower: Follower[Routing] = Follower(
            reader.version, reader.read, reader.read(), f"routing of {bot_name}", on_change=self._routing_changed
        )
        self._proof = Proof(pool)
        self._warming = Warming(pool, lambda: self.routing)
        name = f"replica {uuid.uuid4().hex[:12]}"
        self.leases = CallLeases(self._catalogue, name)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self.services = Services(
            pool=pool,
            assign=self._assign,
            call_over=lambda assignment: self.leases.drop(_refs(assignment.stages.values())),
            record=self.row_log.put,
            params=_params_of(settings),
            replica=name,
        )

    @property
    def warm(self) -> bool:
        """Whether a synthetic turn has run through all four stages, of any release."""
        return self._warming.warm

    @property
    def routing(self) -> Routing:
        """What answers a call that starts now; the last known where the catalogue does not answer."""
        return self._follower.value

    async def open(self) -> None:
        """Follow releases and experiments, and warm up, so that the first caller is not the slow one."""
        self._loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._follower.start)
        self._tasks = [asyncio.create_task(self._warming.run()), asyncio.create_task(self._watch_loop())]
        for task in self._tasks:
            task.add_done_callback(_say_failure)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._warming.tried(), WARM_UP_WITHIN_S)

    async def close(self) -> None:
        """Let go of everything. Calls in progress must be over."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await asyncio.to_thread(self._follower.close)
        await asyncio.to_thread(self.leases.close)
        await asyncio.to_thread(self.row_log.close)
        await asyncio.to_thread(self._catalogue.close)
        await self.engine.close()

    def admit(self, peer: str, send_away: Callable[[], None]) -> Place | None:
        """A place for a connection, None when one more call does not fit. Give it back with :meth:`leave`.

        Args:
            peer: its address.
            send_away: told when its call does not start and another needs the place.
        """
        now = time.monotonic()
        if not self.admission.admits(self.calls + self.waiting.newcomers(now), now):
            return None
        return self.waiting.enter(peer, now, send_away, local=is_loopback(peer))

    def start(self, place: Place) -> bool:
        """Its call starts; False when it took so long that its line is another's."""
        now = time.monotonic()
        expected = self.waiting.is_new(place, now)
        if not expected and not self.admission.admits(self.calls + self.waiting.newcomers(now), now):
            return False
        self.waiting.leave(place)
        place.started = True
        self.calls += 1
        return True

    def leave(self, place: Place) -> None:
        """A connection is gone, and its call over."""
        self.waiting.leave(place)
        self.calls -= place.started

    async def readiness(self) -> dict[str, bool]:
        """Stage to whether the release's version answers now, proved by asking it."""
        return await self._proof.stages(self.routing)

    @property
    def standing_in_for(self) -> list[str]:
        """Versions that this process answers now because the server does not."""
        return self.engine.away if isinstance(self.engine, StandIn) else []

    @property
    def following(self) -> bool:
        """Whether new calls get what the aliases and experiments say now. While the catalogue does not answer, or
        names a release whose dialogue this Parley refuses, they get what was read last."""
        return not self._follower.stale

    def loops(self) -> dict[str, dict[str, object]]:
        """How what runs beside the calls does, by name: here, and where the site's models are looked after. Reads
        small files."""
        own = (self._follower.loop, self.leases.loop, self.row_log.loop)
        noted = HealthNotes.of(self.settings.state_dir).read()
        return noted | {loop.name: loop.health.figures() for loop in own}

    def _assign(self, caller: str, call_id: str) -> CallAssignment:
        routing = self.routing
        unit = unit_of_call(caller, call_id, self._key, self.settings.region)
        stages = assign_call(routing.experiments, routing.release, unit, self._warming.arm_available)
        self.leases.take(_refs(stages.values()))
        return CallAssignment(unit, routing.release.number, stages, routing.script)

    def _routing_changed(self, routing: Routing) -> None:
        """In the follower's thread: new calls have another release or other experiments."""
        _log.info(
            "new calls are answered by",
            extra={
                "release": routing.release.number,
                "alias_change": routing.seq,
                "config_version": routing.experiments.config_version,
            },
        )
        if self._loop is not None:
            with suppress(RuntimeError):  # the loop ends: nobody is left to warm anything for
                self._loop.call_soon_threadsafe(self._warming.look)

    async def _watch_loop(self) -> None:
        """Measure how late the event loop wakes up, and let the door learn."""
        due = time.monotonic()
        while True:
            due += WAKE_EVERY_S
            await asyncio.sleep(due - time.monotonic())
            now = time.monotonic()
            self.admission.note("loop", now - due, now)
            self.admission.look(self.calls, now)
            due = max(due, now - WAKE_EVERY_S)


def _engine_of(settings: Settings) -> Engine:
    """The site's engine. In Triton's place, while it is not there or does not answer, this process answers."""
    if settings.engine == "onnx":
        return open_engine(settings)
    return StandIn(lambda: open_engine(settings), OnnxEngine(settings.repo_dir, Trust.of(settings)))


def _params_of(settings: Settings) -> CallParams:
    """How long the site's calls wait for what."""
    return CallParams(
        turn=TurnParams(end_of_turn_ms=settings.end_of_turn_ms, no_input_s=settings.no_input_s),
        stage_timeout_s=settings.stage_timeout_s,
        max_call_s=settings.max_call_s,
        log_transcripts=settings.log_transcripts,
    )


def _say_failure(task: asyncio.Task[None]) -> None:
    """These tasks end when they are cancelled; one that ends before is a bug, and is to be seen when it happens."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a background task of this replica ended", exc_info=error)


def _refs(stages: Iterable[StageAssignment]) -> list[tuple[str, int]]:
    return [(stage.model, stage.version) for stage in stages]
