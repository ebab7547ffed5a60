"""One call, from the gateway's ``start`` to the hang-up. One task group owns everything the call does.

    reader   messages -> samples -> voice activity and turns; interrupts the bot at once
    watcher  notices by the wall clock that no audio comes: ends the turn, asks again, gives up
    thinker  the turns' events, in order: feeds the STT, decides when a turn is over, starts the answer
    answer   NLU, dialogue, NLG and TTS of one turn; the only task that is ever cancelled, by an interruption

Whatever goes wrong in here ends this call with an apology and touches no other.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from calls.records import named_by_gateway
from models.contracts import Piece
from orchestrator import call_rows
from orchestrator.answer import Answering
from orchestrator.echo import EchoGuard, SentAudio
from orchestrator.farewell import CLOSE_WITHIN_S, hang_up, say_last
from orchestrator.hearing import Ear, Heard, HoldOver
from orchestrator.keys import Keyed, KeyPad
from orchestrator.logs import CALL_ID
from orchestrator.opening import await_start
from orchestrator.prompts import tones
from orchestrator.services import CallAssignment, Line, Services
from orchestrator.speaker import Speaker
from orchestrator.stages import Stages
from orchestrator.turn_taking import BargeIn, NoInput, TurnEvent, TurnTaker
from orchestrator.wall_clock import Elapsed, Patience
from orchestrator.wires import WireError
from orchestrator.wires.budget import Budget
from orchestrator.wires.inbound import InboundAudio
from orchestrator.wires.twilio import (
    CALLER_PARAMETER,
    SKIP_GREETING_PARAMETER,
    TRACE_PARAMETER,
    Dtmf,
    Mark,
    Media,
    Start,
    Stop,
    Unknown,
    parse,
)
from parley.audio import FRAME_SAMPLES, SAMPLE_RATE
from parley.g711 import ulaw_decode

_log = logging.getLogger(__name__)

SLICE_SAMPLES = 5 * FRAME_SAMPLES
"""Audio that is listened to before other calls get their turn: half a millisecond of a core."""
DROP_PAUSE_S = 0.001
"""Wait after a message that is dropped unread: so long the gateway's connection is not read."""
WATCH_S = 0.2
MAX_EVENTS = 2000
"""Events that may wait for the thinker, 40 s of speech: more come only while a stage hangs."""
PROTOCOL_ERROR, INTERNAL_ERROR, NORMAL, POLICY_VIOLATION, TRY_AGAIN_LATER = 1002, 1011, 1000, 1008, 1013
"""Codes of RFC 6455 and of the IANA registry with which the connection is closed."""
_CLOSE_CODES = {"internal_error": INTERNAL_ERROR, "wire_error": INTERNAL_ERROR, "flooded": POLICY_VIOLATION}


class CallOver(Exception):
    """The call has ended; unwinds the task group."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def answer_call(
    line: Line, services: Services, welcome: Callable[[Start], Start | None] = lambda start: start
) -> str:
    """Serve one call on a fresh connection and return why it ended. Raises nothing but cancellation.

    Args:
        welcome: asked when the call starts: its start as far as this caller may ask for it, None for no line free.
    """
    try:
        start = await await_start(line, services.params.start_timeout_s)
    except WireError as error:
        _log.warning("call refused", extra={"reason": str(error)[:200]})
        await hang_up(line, PROTOCOL_ERROR, str(error))
        return "wire_error"
    if start is None:
        return "never_started"
    start = welcome(start)
    if start is None:
        await hang_up(line, TRY_AGAIN_LATER, "all lines are busy")
        return "busy"
    call_id = uuid.uuid4().hex
    token = CALL_ID.set(call_id)
    try:
        return await _serve_call(line, services, start, call_id)
    except Exception:
        # Before the session ran, or after it: there is no script to apologise from.
        _log.exception("call failed")
        speaker, sorry = Speaker(line, start.stream_sid, services.clock), Piece(tones(), SAMPLE_RATE)
        await say_last(line, speaker, sorry, Budget(services.clock))
        await hang_up(line, INTERNAL_ERROR, "internal_error")
        return "internal_error"
    finally:
        CALL_ID.reset(token)


async def _serve_call(line: Line, services: Services, start: Start, call_id: str) -> str:
    try:
        assignment = services.assign(start.parameters.get(CALLER_PARAMETER, ""), call_id)
    except Exception as error:
        # Whatever a gateway calls its caller: he is served, as one whose number is withheld.
        _log.warning("no assignment for this caller", extra={"reason": type(error).__name__})
        assignment = services.assign("", call_id)
    session = CallSession(line, services, start, call_id, assignment)
    why = "aborted"
    named = named_by_gateway(start.call_sid, start.parameters.get(CALLER_PARAMETER, ""))
    services.record(call_rows.began(call_id, named, "twilio", services.replica, assignment))
    try:
        why = await session.run()
        return why
    finally:
        services.record(call_rows.ended(call_id, why, session.tasks_done))
        services.call_over(assignment)


class CallSession:
    """One call in progress. See :func:`answer_call`."""

    def __init__(self, line: Line, services: Services, start: Start, call_id: str, assignment: CallAssignment) -> None:
        self.call_id = call_id
        self._line = line
        self._services = services
        self._start = start
        self._clock = services.clock
        self._elapsed = Elapsed(self._clock)
        self._patience = Patience(self._elapsed, services.params.turn.no_input_s)
        self._budget = Budget(self._clock)
        self._inbound = InboundAudio(self._budget)
        self._listening = asyncio.Lock()
        self._gathered = b""
        self._message_at = self._audio_at = self._clock.now()
        self._taker = TurnTaker(services.params.turn)
        trace = start.parameters.get(TRACE_PARAMETER) == "1"
        self._greets = not (trace and start.parameters.get(SKIP_GREETING_PARAMETER) == "1")
        self._echo = EchoGuard(SentAudio(self._missing))
        self._speaker = Speaker(line, start.stream_sid, self._clock, self._elapsed, sent=self._echo.sent, trace=trace)
        self._assignment = assignment
        self._script = assignment.script
        stages = Stages(
            self._script.bot,
            services.pool,
            assignment.stages,
            self._script.prompts,
            timeout_s=services.params.stage_timeout_s,
        )
        self._ear = Ear(stages, self._speaker, services.params)
        self._answering = Answering(stages, self._speaker, services, assignment, call_id, greets=self._greets)
        self._keys = KeyPad()
        self._events: asyncio.Queue[TurnEvent | NoInput | HoldOver | Keyed] = asyncio.Queue()
        self._answer: asyncio.Task[None] | None = None
        self._asking = False
        """Whether a `NoInput` waits for the thinker."""
        self._lost_events = 0
        self._unknown = 0

    @property
    def tasks_done(self) -> tuple[str, ...]:
        """The bot's tasks that were finished, in order."""
        return self._answering.state.done

    async def run(self) -> str:
        """Serve the call and return why it ended."""
        began = time.monotonic()
        named = named_by_gateway(self._start.call_sid, self._start.parameters.get(CALLER_PARAMETER, ""))
        _log.info("call started", extra={"call_sid": named[:64], "release": self._assignment.release})
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
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await self._speaker.trace("end", reason=reason)
        await hang_up(self._line, _CLOSE_CODES.get(reason, NORMAL), reason)
        self._log_end(reason, time.monotonic() - began)
        return reason

    def _log_end(self, reason: str, duration_s: float) -> None:
        figures = self._inbound.figures() | self._budget.figures()
        figures |= {"early_marks": self._speaker.playout.early_echoes, "lost_events": self._lost_events}
        figures |= {"turns": self._answering.turns, "unknown_events": self._unknown}
        _log.info("call ended", extra={"reason": reason, "duration_s": round(duration_s, 2)} | figures)

    async def _serve(self) -> str:
        over: CallOver | None = None
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read())
                group.create_task(self._watch())
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

    async def _read(self) -> None:
        """Everything the gateway sends, until the call is over."""
        while True:
            message = await self._line.receive()
            if message is None:
                raise CallOver("disconnected")
            self._message_at = self._clock.now()
            if not self._budget.message(len(message)):
                await asyncio.sleep(DROP_PAUSE_S)
            else:
                try:
                    await self._take(message)
                except WireError as error:
                    self._budget.broken()
                    _log.warning("broken message", extra={"reason": str(error)[:200]})
                # Where messages wait already, receiving one does not let others run.
                await asyncio.sleep(0)
            if self._budget.spent:
                raise CallOver(self._budget.spent)

    async def _take(self, message: str | bytes) -> None:
        event = parse(message)
        if isinstance(event, Media):
            audio = self._inbound.push(event)
            if audio:
                self._audio_at = self._message_at
                async with self._listening:
                    await self._hear(audio)
        elif isinstance(event, Mark):
            self._speaker.echoed(event.name)
        elif isinstance(event, Stop):
            raise CallOver("caller_hung_up")
        elif isinstance(event, Dtmf):
            await self._press(event.digit)
        elif isinstance(event, Start):
            raise WireError("a second start on one connection", mend="open a connection per call")
        elif isinstance(event, Unknown):
            self._unknown += 1

    async def _watch(self) -> None:
        """The wall clock beside the samples: what must go on when none come."""
        params = self._services.params
        starved_s = max(params.starved_s, params.turn.end_of_turn_ms / 1000)
        while True:
            quiet_s = self._clock.now() - self._audio_at
            await self._clock.sleep(max(WATCH_S, starved_s - quiet_s))
            if self._clock.now() - self._message_at >= params.stall_timeout_s:
                raise CallOver("stalled")
            if self._clock.now() - self._audio_at >= starved_s:
                async with self._listening:
                    await self._starve()

    async def _starve(self) -> None:
        """No audio comes. Its time passes all the same; if it comes after all, it is heard then, and counted once."""
        await self._hear(self._inbound.flush())
        for event in self._taker.cut():
            self._post(event)
        self._wait(self._missing())

    def _missing(self) -> int:
        """Samples' worth of time since audio came last."""
        return round((self._clock.now() - self._audio_at) * SAMPLE_RATE)

    async def _hear(self, mulaw: bytes) -> None:
        """Listen to whole frames; less waits for more. Other calls get their turn in between."""
        audio = self._gathered + mulaw
        whole = len(audio) // FRAME_SAMPLES * FRAME_SAMPLES
        self._gathered = audio[whole:]
        for at in range(0, whole, SLICE_SAMPLES):
            if at:
                await asyncio.sleep(0)
            await self._hear_frames(audio[at : min(whole, at + SLICE_SAMPLES)])
        await self._answering.settle()

    async def _hear_frames(self, mulaw: bytes) -> None:
        pcm = self._echo.clean(ulaw_decode(np.frombuffer(mulaw, dtype=np.uint8)))
        events = self._taker.push(pcm, bot_speaking=self._speaker.talking, own_voice=self._echo.revealed)
        self._ear.note(pcm, self._taker.samples)
        for event in events:
            if isinstance(event, BargeIn):
                await self._interrupt()
            else:
                self._post(event)
        self._wait()

    def _wait(self, missing: int = 0) -> None:
        """What happens when nothing does, for long enough. ``missing``: samples that should have come by now."""
        if (expired := self._ear.hold_expired(self._taker, missing)) is not None:
            self._post(expired)
        if (keyed := self._keys.expired(self._elapsed.samples())) is not None:
            self._post(keyed)
        if not self._asking and not self._taker.speaking and self._may_ask():
            self._asking = self._post(NoInput(self._taker.samples))

    def _may_ask(self) -> bool:
        """Whether the caller has said nothing that counts for so long that he is to be asked again."""
        busy = self._ear.holding or self._keys.collecting or (self._answer is not None and not self._answer.done())
        return not busy and self._patience.over(self._speaker.playout.until)

    def _post(self, event: TurnEvent | NoInput | HoldOver | Keyed) -> bool:
        """Give the thinker something to act on; whether there was room for it."""
        if self._events.qsize() >= MAX_EVENTS:
            self._lost_events += 1
            return False
        self._events.put_nowait(event)
        return True

    async def _press(self, key: str) -> None:
        self._patience.restart()
        dialogue, state = self._script.dialogue, self._answering.state
        most, asked = dialogue.most_digits(state), dialogue.asks_digits(state)
        keyed = self._keys.press(key, self._elapsed.samples(), most=most, asked=asked)
        if self._keys.collecting and self._speaker.talking:
            await self._interrupt()
        if keyed is not None:
            self._post(keyed)

    async def _interrupt(self) -> None:
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
        if self._greets:
            self._begin(group, None)
        while True:
            event = await self._events.get()
            if self._answering.ending:
                continue  # the goodbye is being said: nothing the caller says now changes it
            if isinstance(event, NoInput):
                self._asking = False
                # What was heard meanwhile may have been something.
                if self._may_ask():
                    self._begin(group, Heard.nothing(event.at))
            elif isinstance(event, Keyed):
                await self._stop_answer()
                at = self._taker.samples
                self._begin(group, Heard.operator_key(at) if event.operator else Heard.keys(event.digits, at))
            else:
                heard = await self._ear.take(event)
                if heard is not None or self._ear.holding:
                    self._patience.restart()
                if heard is not None:
                    await self._stop_answer()
                    self._begin(group, heard)

    def _begin(self, group: asyncio.TaskGroup, heard: Heard | None) -> None:
        async def answer() -> None:
            self._patience.restart()
            ended = await self._answering.answer(heard)
            self._patience.restart()
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
        await say_last(self._line, self._speaker, prompt, self._budget)
