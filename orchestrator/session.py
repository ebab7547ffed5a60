"""One call, from the gateway's ``start`` to the hang-up. One task group owns everything the call does.

    reader   messages -> samples -> voice activity and turns; interrupts the bot at once
    thinker  the turns' events, in order: feeds the STT, decides when a turn is over, starts the answer
    answer   NLU, dialogue, NLG and TTS of one turn; the only task that is ever cancelled, by an interruption

Whatever goes wrong in here ends this call with an apology and touches no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid

import numpy as np

from orchestrator.dialogue import State
from orchestrator.exchange import Answering
from orchestrator.hearing import Ear, Heard, HoldOver
from orchestrator.keys import Keyed, KeyPad
from orchestrator.logs import CALL_ID
from orchestrator.prompts import Prompt
from orchestrator.services import CallAssignment, Line, Services
from orchestrator.speaker import Speaker
from orchestrator.stages import Fallback, Stages
from orchestrator.turn import BargeIn, NoInput, TurnEvent, TurnTaker
from orchestrator.wires import WireError
from orchestrator.wires.inbound import InboundAudio
from orchestrator.wires.twilio import (
    CALLER_PARAMETER,
    SKIP_GREETING_PARAMETER,
    TRACE_PARAMETER,
    Connected,
    Dtmf,
    Mark,
    Media,
    Start,
    Stop,
    Unknown,
    parse,
)
from parley.audio import SAMPLE_RATE, samples_to_ms
from parley.g711 import ulaw_decode

_log = logging.getLogger(__name__)

MAX_WIRE_ERRORS = 20
"""Broken messages after which a call ends with an apology."""
PROTOCOL_ERROR, INTERNAL_ERROR, NORMAL = 1002, 1011, 1000
"""Codes of RFC 6455 with which the connection is closed."""


class CallOver(Exception):
    """The call has ended; unwinds the task group."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def answer_call(line: Line, services: Services) -> str:
    """Serve one call on a fresh connection and return why it ended. Raises nothing but cancellation."""
    try:
        start = await _await_start(line, services.params.start_timeout_s)
    except WireError as error:
        _log.warning("call refused", extra={"reason": str(error)})
        await line.close(PROTOCOL_ERROR, str(error)[:120])
        return "wire_error"
    if start is None:
        return "never_started"
    call_id = uuid.uuid4().hex
    token = CALL_ID.set(call_id)
    try:
        assignment = services.assign(start.parameters.get(CALLER_PARAMETER, ""), call_id)
        try:
            return await CallSession(line, services, start, call_id, assignment).run()
        finally:
            services.call_over(assignment)
    finally:
        CALL_ID.reset(token)


async def _await_start(line: Line, timeout_s: float) -> Start | None:
    """The ``start`` message; None when the gateway goes away before it.

    Raises:
        WireError: something else came first, nothing came in time, or the message is wrong.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while (message := await line.receive()) is not None:
                event = parse(message)
                if isinstance(event, Start):
                    return event
                if not isinstance(event, Connected | Unknown):
                    raise WireError(f"{type(event).__name__.lower()} before start", mend="send connected, then start")
    except TimeoutError:
        raise WireError(f"no start within {timeout_s:g} s", mend="send connected, then start") from None
    return None


class CallSession:
    """One call in progress. See :func:`answer_call`."""

    def __init__(self, line: Line, services: Services, start: Start, call_id: str, assignment: CallAssignment) -> None:
        self.call_id = call_id
        self._line = line
        self._services = services
        self._start = start
        self._inbound = InboundAudio()
        self._taker = TurnTaker(services.params.turn)
        trace = start.parameters.get(TRACE_PARAMETER) == "1"
        self._greets = not (trace and start.parameters.get(SKIP_GREETING_PARAMETER) == "1")
        self._speaker = Speaker(line, start.stream_sid, lambda: self._taker.samples, trace=trace)
        self._assignment = assignment
        self._script = assignment.script
        stages = Stages(
            self._script.bot,
            services.pool,
            assignment.stages,
            self._script.prompts,
            timeout_s=services.params.stage_timeout_s,
            counts=services.fallbacks,
            on_fallback=self._on_fallback,
        )
        self._fallen: set[str] = set()
        self._ear = Ear(stages, self._speaker, services.params)
        self._answering = Answering(stages, self._speaker, services, self._assignment, call_id, self._fallen)
        self._keys = KeyPad()
        self._events: asyncio.Queue[TurnEvent | HoldOver | Keyed] = asyncio.Queue()
        self._answer: asyncio.Task[None] | None = None
        self._state = State()
        self._wire_errors = 0
        self._unknown = 0

    async def run(self) -> str:
        """Serve the call and return why it ended."""
        began = time.monotonic()
        _log.info("call started", extra={"call_sid": self._start.call_sid[:64], "release": self._assignment.release})
        reason = "internal_error"
        try:
            async with asyncio.timeout(self._services.params.max_call_s):
                reason = await self._serve()
        except TimeoutError:
            reason = "too_long"
            await self._last_words(self._prompt("goodbye"))
        except Exception:
            _log.exception("call failed")
            await self._last_words(self._script.prompts.apology())
        await self._speaker.trace("end", reason=reason)
        await self._line.close(INTERNAL_ERROR if reason in ("internal_error", "wire_error") else NORMAL, reason)
        _log.info(
            "call ended",
            extra={
                "reason": reason,
                "duration_s": round(time.monotonic() - began, 2),
                "turns": self._answering.turn,
                "unknown_events": self._unknown,
                "wire_errors": self._wire_errors,
                "lost_ms": samples_to_ms(self._inbound.counts.concealed_samples),
                "reordered": self._inbound.counts.reordered,
            },
        )
        return reason

    async def _serve(self) -> str:
        over: CallOver | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._think(group))
        except* CallOver as ended:
            over = next(error for error in _leaves(ended) if isinstance(error, CallOver))
        if over is None:  # both tasks end only by raising
            raise RuntimeError("the call's tasks ended")
        if over.reason == "wire_error":
            await self._last_words(self._script.prompts.apology())
        return over.reason

    async def _read(self) -> None:
        """Everything the gateway sends, until the call is over."""
        while True:
            try:
                async with asyncio.timeout(self._services.params.stall_timeout_s):
                    message = await self._line.receive()
            except TimeoutError:
                raise CallOver("stalled") from None
            if message is None:
                raise CallOver("disconnected")
            try:
                await self._take(message)
            except WireError as error:
                self._wire_errors += 1
                _log.warning("broken message", extra={"reason": str(error)[:200], "count": self._wire_errors})
                if self._wire_errors >= MAX_WIRE_ERRORS:
                    raise CallOver("wire_error") from None

    async def _take(self, message: str | bytes) -> None:
        event = parse(message)
        if isinstance(event, Media):
            audio = self._inbound.push(event)
            if audio:
                await self._hear(audio)
        elif isinstance(event, Mark):
            self._speaker.playout.echoed(event.name, self._taker.samples)
            self._speaker.progressed()
        elif isinstance(event, Stop):
            raise CallOver("caller_hung_up")
        elif isinstance(event, Dtmf):
            await self._press(event.digit)
        elif isinstance(event, Start):
            raise WireError("a second start on one connection", mend="open a connection per call")
        elif isinstance(event, Unknown):
            self._unknown += 1

    async def _hear(self, mulaw: bytes) -> None:
        pcm = ulaw_decode(np.frombuffer(mulaw, dtype=np.uint8))
        events = self._taker.push(pcm, bot_speaking=self._speaker.talking)
        self._ear.note(pcm, self._taker.samples)
        self._speaker.progressed()
        for event in events:
            if isinstance(event, BargeIn):
                await self._interrupt()
            else:
                self._events.put_nowait(event)
        if (keyed := self._keys.expired(self._taker.samples)) is not None:
            self._events.put_nowait(keyed)
        if (expired := self._ear.hold_expired(self._taker)) is not None:
            self._events.put_nowait(expired)

    async def _press(self, key: str) -> None:
        dialogue, state = self._script.dialogue, self._state
        self._taker.restart_no_input()
        most, asked = dialogue.most_digits(state), dialogue.asks_digits(state)
        keyed = self._keys.press(key, self._taker.samples, most=most, asked=asked)
        if self._keys.collecting and self._speaker.talking:
            await self._interrupt()
        if keyed is not None:
            self._events.put_nowait(keyed)

    async def _interrupt(self) -> None:
        """The caller talks over the bot: stop making audio, and take back what has not been heard."""
        if self._answering.ending:
            return
        if self._answer is not None:
            self._answer.cancel()
        dropped = await self._speaker.clear()
        heard = self._answering.interrupted()
        await self._speaker.trace("interrupted", dropped_ms=round(samples_to_ms(dropped)), heard=" ".join(heard))

    async def _think(self, group: asyncio.TaskGroup) -> None:
        """Act on the turns' events, in order."""
        await self._speaker.trace(
            "call",
            call_id=self.call_id,
            bot=self._script.bot.name,
            release=self._assignment.release,
            versions={stage: assigned.version for stage, assigned in self._assignment.stages.items()},
        )
        first = self._script.dialogue.start(greet=self._greets)
        self._state = first.state
        if first.acts:
            self._begin(group, first.state, None)
        while True:
            event = await self._events.get()
            if self._answering.ending:
                continue  # the goodbye is being said: nothing the caller says now changes it
            if isinstance(event, NoInput):
                if (self._answer is None or self._answer.done()) and not self._keys.collecting:
                    self._begin(group, self._state, Heard.nothing(event.at))
            elif isinstance(event, Keyed):
                await self._stop_answer()
                at = self._taker.samples
                self._begin(
                    group, self._state, Heard.operator_key(at) if event.operator else Heard.keys(event.digits, at)
                )
            else:
                heard = await self._ear.take(event)
                if heard is not None:
                    await self._stop_answer()
                    # A continuation is answered from the state before its first half was.
                    state = self._answering.state_before if heard.resumed else self._state
                    self._begin(group, state, heard)

    def _begin(self, group: asyncio.TaskGroup, state: State, heard: Heard | None) -> None:
        async def answer() -> None:
            ended = await self._answering.answer(state, heard, self._commit, self._ear.arrivals)
            self._taker.restart_no_input()
            if ended:
                raise CallOver(ended)

        self._answer = group.create_task(answer())

    def _commit(self, state: State) -> None:
        self._state = state

    async def _stop_answer(self) -> None:
        """At most one answer at a time. An answer still being made when the next turn is over is out of date."""
        if self._answer is not None and not self._answer.done():
            self._answer.cancel()
            await asyncio.wait([self._answer])
            if self._speaker.talking:
                await self._speaker.clear()

    def _on_fallback(self, fallback: Fallback) -> None:
        self._fallen.add(fallback.stage)

    def _prompt(self, act: str) -> Prompt:
        prompts = self._script.prompts
        return prompts.find(prompts.texts[act]) or prompts.last_resort()

    async def _last_words(self, prompt: Prompt) -> None:
        """Say something fixed when nothing else runs any more, and let it be heard."""
        try:
            async with asyncio.timeout(len(prompt.pcm) / SAMPLE_RATE + 2.0):
                await self._speaker.clear()
                await self._speaker.send(prompt)
                while (message := await self._line.receive()) is not None:
                    try:
                        event = parse(message)
                    except WireError:
                        continue
                    if isinstance(event, Stop) or (isinstance(event, Mark) and event.name == self._speaker.last_mark):
                        return
        except TimeoutError:
            return
        except Exception as error:
            _log.warning("could not say the last words", extra={"reason": type(error).__name__})


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The errors of a group, its groups opened."""
    return [
        leaf
        for error in group.exceptions
        for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    ]
