"""One call, from the gateway's start to the hang-up. One task group owns everything the call does.

    reader   audio, keys and marks -> turns' events; interrupts the bot at once (:mod:`orchestrator.listening`)
    watcher  notices by the wall clock that no audio comes (there too)
    thinker  the turns' events, in order: feeds the STT, decides when a turn is over, starts the answer
    answer   NLU, dialogue, NLG and TTS of one turn; the only task that is ever cancelled, by an interruption

Whatever goes wrong in here ends this call with an apology and touches no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from calls.records import named_by_gateway
from models.contracts import Piece
from orchestrator import call_rows
from orchestrator.answer import Answering
from orchestrator.echo import EchoGuard, SentAudio
from orchestrator.farewell import hang_up, say_last
from orchestrator.hearing import Ear, Heard
from orchestrator.keys import Keyed
from orchestrator.listening import Listener, missing_samples
from orchestrator.logs import CALL_ID
from orchestrator.opening import await_start
from orchestrator.prompts import tones
from orchestrator.recent_audio import RecentAudio
from orchestrator.services import CallAssignment, Services
from orchestrator.speaker import Speaker
from orchestrator.stages import Stages
from orchestrator.turn_taking import NoInput
from orchestrator.wall_clock import Elapsed
from orchestrator.wires.contract import CallStarted, Ending, GatewayCall, WireError
from parley.audio import TELEPHONE_RATE

_log = logging.getLogger(__name__)

_ENDINGS = {"internal_error": Ending.FAILED, "wire_error": Ending.FAILED, "flooded": Ending.FLOODED}
"""Of a call that was answered; all others end well."""


class CallOver(Exception):
    """The call has ended; unwinds the task group."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def answer_call(
    call: GatewayCall,
    services: Services,
    welcome: Callable[[CallStarted], CallStarted | None] = lambda started: started,
) -> str:
    """Serve one call on a fresh connection and return why it ended. Raises nothing but cancellation.

    Args:
        call: the gateway.
        services: what the replica's calls share.
        welcome: asked when the call starts: its start as far as this caller may ask for it, None for no line free.
    """
    end = partial(hang_up, call, close_within_s=services.params.close_within_s)
    try:
        started = await await_start(call, services.params.start_timeout_s)
    except WireError as error:
        _log.warning("call refused", extra={"reason": str(error)[:200]})
        await end(Ending.BROKEN_PROTOCOL, str(error))
        return "wire_error"
    if started is None:
        return "never_started"
    started = welcome(started)
    if started is None:
        await end(Ending.BUSY, "all lines are busy")
        return "busy"
    call_id = uuid.uuid4().hex
    token = CALL_ID.set(call_id)
    try:
        return await _serve_call(call, services, started, call_id)
    except Exception:
        # Before the session ran, or after it: there is no script to apologise from.
        _log.exception("call failed")
        speaker, sorry = Speaker(call, services.clock, Elapsed(services.clock)), Piece(tones(), TELEPHONE_RATE)
        await say_last(call, speaker, sorry, close_within_s=services.params.close_within_s)
        await end(Ending.FAILED, "internal_error")
        return "internal_error"
    finally:
        CALL_ID.reset(token)


async def _serve_call(call: GatewayCall, services: Services, started: CallStarted, call_id: str) -> str:
    try:
        assignment = services.assign(started.caller, call_id)
    except Exception as error:
        # Whatever a gateway calls its caller: he is served, as one whose number is withheld.
        _log.warning("no assignment for this caller", extra={"reason": type(error).__name__})
        assignment = services.assign("", call_id)
    try:
        return await CallSession(call, services, started, call_id, assignment).run()
    finally:
        services.call_over(assignment)


class CallSession:
    """One call in progress. See :func:`answer_call`."""

    def __init__(
        self, call: GatewayCall, services: Services, started: CallStarted, call_id: str, assignment: CallAssignment
    ) -> None:
        self.call_id = call_id
        self._call = call
        self._services = services
        self._started = started
        self._assignment = assignment
        self._script = assignment.script
        clock = services.clock
        elapsed = Elapsed(clock)
        echo = EchoGuard(SentAudio(partial(missing_samples, call, clock)))
        self._speaker = Speaker(call, clock, elapsed, audio=echo.sent, tracing=started.traced)
        stages = Stages(
            self._script.bot,
            services.pool,
            assignment.stages,
            self._script.prompts,
            timeout_s=services.params.stage_timeout_s,
            retries=services.params.retries,
        )
        recent = RecentAudio()
        self._ear = Ear(stages, self._speaker, services.params, recent)
        self._answering = Answering(stages, self._speaker, services, assignment, call_id, greets=started.greeted)
        self._listener = Listener(call, services.params, clock, elapsed, self._speaker, echo, self._ear, recent, self)
        self._answer: asyncio.Task[None] | None = None

    async def run(self) -> str:
        """Serve the call, write down that it began and ended, and return why it ended."""
        began, services = time.monotonic(), self._services
        gateway_id = named_by_gateway(self._started.gateway_id, self._started.caller)
        _log.info("call started", extra={"call_sid": gateway_id[:64], "release": self._assignment.release})
        wire, replica = self._started.wire, services.replica
        services.record(call_rows.began(self.call_id, gateway_id, wire, replica, self._assignment))
        reason = "aborted"
        try:
            reason = await self._to_the_end()
        finally:
            services.record(call_rows.ended(self.call_id, reason, self._answering.state.done))
        duration_s = time.monotonic() - began
        await self._hang_up(reason)
        self._log_end(reason, duration_s)
        return reason

    async def _to_the_end(self) -> str:
        """The call and its last words; why it ended."""
        reason = "internal_error"
        try:
            async with asyncio.timeout(self._services.params.max_call_s):
                reason = await self._serve()
        except TimeoutError:
            reason = "too_long"
            await self._say_last(self._script.prompts.ready("goodbye"))
        except Exception:
            _log.exception("call failed")
            await self._say_last(self._script.prompts.apology())
        return reason

    async def _hang_up(self, reason: str) -> None:
        within_s = self._services.params.close_within_s
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._speaker.trace("end", reason=reason)
        await hang_up(self._call, _ENDINGS.get(reason, Ending.NORMAL), reason, close_within_s=within_s)

    def _log_end(self, reason: str, duration_s: float) -> None:
        figures = self._call.figures()
        figures |= {"early_marks": self._speaker.playout.early_echoes, "lost_events": self._listener.lost_events}
        figures |= {"turns": self._answering.turns}
        _log.info("call ended", extra={"reason": reason, "duration_s": round(duration_s, 2)} | figures)

    async def _serve(self) -> str:
        over: CallOver | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._until(self._listener.read()))
                group.create_task(self._until(self._listener.watch()))
                group.create_task(self._think(group))
        except* CallOver as ended:
            leaf: BaseException = ended
            while isinstance(leaf, BaseExceptionGroup):
                leaf = leaf.exceptions[0]
            over = leaf if isinstance(leaf, CallOver) else None
        finally:
            self._answering.close("call_over")
        assert over is not None, "the call's tasks end only by raising"
        if over.reason in ("wire_error", "flooded"):
            await self._say_last(self._script.prompts.apology())
        return over.reason

    async def _until(self, over: Awaitable[str]) -> None:
        raise CallOver(await over)

    @property
    def answering(self) -> bool:
        """See `orchestrator.listening.Conversation`."""
        return self._answer is not None and not self._answer.done()

    @property
    def most_digits(self) -> int | None:
        """See `Conversation`."""
        return self._script.dialogue.most_digits(self._answering.state)

    @property
    def asks_digits(self) -> bool:
        """See `Conversation`."""
        return self._script.dialogue.asks_digits(self._answering.state)

    async def settle(self) -> None:
        """See `Conversation`."""
        await self._answering.settle()

    async def interrupt(self) -> None:
        """The caller talks over the bot: stop making audio, and take back what has not been heard."""
        if self._answering.ending:
            return
        if self._answer is not None:
            self._answer.cancel()
        await self._answering.take_back("interrupted")

    async def _think(self, group: asyncio.TaskGroup) -> None:
        """Act on the turns' events, in order."""
        await self._speaker.trace(
            "call",
            call_id=self.call_id,
            bot=self._script.bot.name,
            release=self._assignment.release,
            versions={stage: assigned.version for stage, assigned in self._assignment.stages.items()},
        )
        if self._started.greeted:
            self._begin(group, None)
        while True:
            event = await self._listener.events.get()
            if self._answering.ending:
                continue  # the goodbye is being said: nothing the caller says now changes it
            if isinstance(event, NoInput):
                self._listener.asked()
                # What was heard meanwhile may have been something.
                if self._listener.may_ask():
                    self._begin(group, Heard.nothing(event.at))
            elif isinstance(event, Keyed):
                await self._stop_answer()
                at = self._listener.taker.samples
                self._begin(group, Heard.operator_key(at) if event.operator else Heard.keys(event.digits, at))
            else:
                heard = await self._ear.take(event)
                if heard is not None or self._ear.holding:
                    self._listener.patience.restart()
                if heard is not None:
                    await self._stop_answer()
                    self._begin(group, heard)

    def _begin(self, group: asyncio.TaskGroup, heard: Heard | None) -> None:
        async def answer() -> None:
            self._listener.patience.restart()
            ended = await self._answering.answer(heard)
            self._listener.patience.restart()
            if ended:
                raise CallOver(ended)

        self._answer = group.create_task(answer())

    async def _stop_answer(self) -> None:
        """At most one answer at a time. One still being made or said when the next turn is over is out of date."""
        making = self._answer is not None and not self._answer.done()
        if self._answer is not None and making:
            self._answer.cancel()
            await asyncio.wait([self._answer])
        if making or self._speaker.talking:
            await self._answering.take_back("replaced")

    async def _say_last(self, prompt: Piece) -> None:
        await say_last(self._call, self._speaker, prompt, close_within_s=self._services.params.close_within_s)
