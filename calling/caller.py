"""A caller for tests and demonstrations: streams recordings over a wire in real time and plays the answers.

    report = await place_call([speech_of_file(Path("order.wav"), 8000)], CallOptions("ws://127.0.0.1:8600/twilio"))

It behaves as the gateway does: 20 ms frames on a steady clock, silence while it waits, the bot's audio played on its
own clock, marks echoed when that audio has been played, everything dropped on ``clear``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import websockets
from websockets.asyncio.client import ClientConnection

from calling.playback import Playback
from calling.recorder import CallRecorder
from calling.report import CallEvent, CallReport, SaidReport, judge
from calling.speech import Speech
from calling.timeline import draw_timeline
from calling.wires.contract import BotAudio, BotClears, BotDoes, BotMark, BotTells, Message
from calling.wires.registered import CALLER_WIRES
from orchestrator.wires.contract import WireError
from parley.audio import Pcm
from parley.errors import ParleyError

FRAME_S = 0.02
QUIET_FRAMES = 15
"""So long (300 ms) the bot must be quiet before the caller takes it to have finished."""

_REFUSALS = {
    401: ("the site wants to know who calls", "set PARLEY_SITE_TOKEN as the site has it"),
}


class LinesBusy(ParleyError):
    """The site takes no more calls now."""

    def __init__(self, where: str) -> None:
        mend = "call later: one more call would make the others late (docs/doors.md)"
        super().__init__("all lines are busy", where=where, mend=mend)


OnEvent = Callable[[CallEvent], None]


@dataclass(frozen=True)
class CallOptions:
    """How to call."""

    url: str = "ws://127.0.0.1:8600/twilio"
    greeting: bool = True
    """Whether to hear the greeting; without it the caller speaks first."""
    caller: str = ""
    """The caller's number, for experiments; the server keeps its pseudonym only."""
    wait_s: float = 10.0
    """How long to wait for the bot to begin an answer."""
    gap_s: float = 0.4
    """Silence before each recording."""
    connect_timeout_s: float = 10.0
    wire: str = "twilio"
    """Name of the wire that is spoken at ``url`` (`calling.wires`)."""
    busy_wait_s: float = 1.0
    """Where all lines are busy, a call of many is tried again after this."""
    busy_tries: int = 60
    token: str = field(default="", repr=False)
    """The site's token, where it has one."""


async def place_call(
    recordings: Sequence[Speech],
    options: CallOptions,
    on_event: OnEvent | None = None,
    *,
    wav: Path | None = None,
    png: Path | None = None,
) -> CallReport:
    """Call, say the recordings one after the other, each after the bot's answer to the last, and hang up.

    Args:
        on_event: told of everything as it happens.
        wav: where to write the call as stereo audio.
        png: where to draw its timeline.

    Raises:
        ParleyError: nobody answers at the address, or all lines are busy.
    """
    async with _connected(options) as socket:
        caller = _Caller(socket, options, on_event)
        await caller.call(recordings)
    if wav is not None:
        caller.recorder.write(wav)
    if png is not None:
        title = f"{caller.report.call_id[:8]}  {', '.join(r.name for r in recordings)}"
        await asyncio.to_thread(draw_timeline, caller.recorder, caller.report.events, png, title)
    return caller.report


async def place_calls(
    recordings: Sequence[Speech],
    options: CallOptions,
    *,
    parallel: int = 1,
    on_call: Callable[[Speech, CallReport], None] | None = None,
) -> list[CallReport]:
    """A call for each recording, ``parallel`` at a time, in the recordings' order.

    While all lines are busy a call is tried again, as a gateway does: fewer may fit than were asked for.

    Raises:
        ParleyError: as :func:`place_call`, or all lines stay busy; the calls in progress are given up.
    """
    places = asyncio.Semaphore(max(1, parallel))

    async def one(recording: Speech) -> CallReport:
        async with places:
            report = await _until_taken([recording], options)
        if on_call is not None:
            on_call(recording, report)
        return report

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(recording)) for recording in recordings]
    except* ParleyError as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _until_taken(recordings: Sequence[Speech], options: CallOptions) -> CallReport:
    for _ in range(options.busy_tries - 1):
        with suppress(LinesBusy):
            return await place_call(recordings, options)
        await asyncio.sleep(options.busy_wait_s)
    return await place_call(recordings, options)


@asynccontextmanager
async def _connected(options: CallOptions) -> AsyncIterator[ClientConnection]:
    try:
        socket = await websockets.connect(
            options.url,
            max_size=None,
            open_timeout=options.connect_timeout_s,
            compression=None,
            proxy=None,
            additional_headers={"Authorization": f"Bearer {options.token}"} if options.token else None,
        )
    except websockets.InvalidStatus as error:
        status = error.response.status_code
        if status == 503:
            raise LinesBusy(where=options.url) from None
        what, mend = _REFUSALS.get(status, (f"the server answers {status}", "is it a Parley? parley serve --bot NAME"))
        raise ParleyError(what, where=options.url, mend=mend) from None
    except (OSError, TimeoutError, websockets.WebSocketException, ValueError) as error:
        raise ParleyError(
            f"nobody answers ({type(error).__name__})", where=options.url, mend="start it: parley serve --bot NAME"
        ) from None
    async with socket:
        yield socket


class _Over(Exception):
    """The bot ended the call."""


class _Caller:
    """One call in progress: a ticking sender and a receiver."""

    def __init__(self, socket: ClientConnection, options: CallOptions, on_event: OnEvent | None) -> None:
        wire = CALLER_WIRES[options.wire]
        self.report = CallReport()
        self.recorder = CallRecorder(wire.rate)
        self._socket = socket
        self._options = options
        self._on_event = on_event
        self._rate, self._frame = wire.rate, round(FRAME_S * wire.rate)
        self._leg = wire.call()
        self._playback = Playback(self._frame)
        self._silence = np.zeros(self._frame, dtype=np.int16)
        self._next_tick = 0.0
        self._late: list[float] = []
        self._quiet_frames = 0
        self._answers = 0
        self._ended = False
        self._speech_sent_at: float | None = None
        self._answer_at: float | None = None

    async def call(self, recordings: Sequence[Speech]) -> None:
        receiver = asyncio.create_task(self._receive())
        try:
            await self._open()
            if self._options.greeting:
                await self._until_bot_is_done()
            for recording in recordings:
                await self._say(recording)
            await self._hang_up()
        except (_Over, websockets.ConnectionClosed):
            self.report.end = self.report.end or "disconnected"
        finally:
            receiver.cancel()
            await asyncio.wait([receiver])
        self.report.late_ms = float(np.percentile(self._late, 99)) * 1000 if self._late else 0.0

    async def _open(self) -> None:
        for message in self._leg.begin(caller=self._options.caller, greeting=self._options.greeting):
            await self._socket.send(message)
        self._next_tick = time.monotonic()

    async def _say(self, recording: Speech) -> None:
        for _ in range(round(self._options.gap_s / FRAME_S)):
            await self._tick(None)
        since = len(self.report.events)
        said = SaidReport(recording.name)
        self.report.said.append(said)
        self._tell("caller_speaks", recording=recording.name, text=recording.recording.text or "")
        self._speech_sent_at, self._answer_at, self._answers = None, None, 0
        assert recording.rate == self._rate, "speech is read at the rate of the wire it is said on"
        pcm, size = recording.pcm, self._frame
        last_frame = max(0, (recording.speech_end - 1) // size)
        try:
            for index in range(-(-len(pcm) // size)):
                frame = pcm[index * size : (index + 1) * size]
                await self._tick(np.pad(frame, (0, size - len(frame))))
                if index == last_frame:
                    # By the schedule: a frame sent late must not shorten the wait (coordinated omission).
                    self._speech_sent_at = self._next_tick
            await self._until_bot_is_done()
        finally:
            if self._answer_at is not None and self._speech_sent_at is not None:
                said.voice_to_voice_ms = round((self._answer_at - self._speech_sent_at) * 1000, 1)
            judge(said, recording.recording, self.report.events[since:])

    async def _until_bot_is_done(self) -> None:
        """Send silence until the bot has answered and been quiet for a while, or does not answer in time."""
        deadline = time.monotonic() + self._options.wait_s
        while True:
            if self._ended and self._playback.empty:
                raise _Over
            if self._answers and self._quiet_frames >= QUIET_FRAMES:
                self._answers = 0
                return
            if not self._answers and time.monotonic() > deadline:
                self._tell("no_answer")
                return
            await self._tick(None)

    async def _hang_up(self) -> None:
        self.report.end = "hung_up"
        await self._socket.send(self._leg.hang_up())

    async def _tick(self, pcm: Pcm | None) -> None:
        """Send a frame (silence for None), play a frame of the bot's, and wait for the next 20 ms."""
        message, sent = self._leg.audio(self._silence if pcm is None else pcm)
        self._late.append(max(0.0, time.monotonic() - self._next_tick))
        await self._socket.send(message)
        self._quiet_frames = self._quiet_frames + 1 if self._playback.empty else 0
        heard, passed = self._playback.tick()
        self.recorder.add(sent, heard)
        await self._played(passed)
        self._next_tick += FRAME_S
        await asyncio.sleep(max(0.0, self._next_tick - time.monotonic()))

    async def _played(self, marks: Sequence[str]) -> None:
        for mark in marks:
            await self._socket.send(self._leg.played(mark))

    async def _receive(self) -> None:
        try:
            async for message in self._socket:
                await self._take(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            self._ended = True

    async def _take(self, message: Message) -> None:
        try:
            event = self._leg.read(message)
        except WireError as error:
            self._tell("broken_message", reason=str(error))
            return
        if isinstance(event, BotAudio):
            self._take_audio(event.pcm)
        elif isinstance(event, BotMark):
            self._playback.mark(event.name)
        elif isinstance(event, BotClears):
            self._answers = 0
            self._tell("clear")
            await self._played(self._playback.clear())
        elif isinstance(event, BotDoes):
            self._tell(event.kind, **event.data)
        elif isinstance(event, BotTells):
            if event.kind == "call":
                self.report.call_id = str(event.data.get("call_id", ""))
            elif event.kind == "end":
                self.report.end = str(event.data.get("reason", ""))
            self._tell(event.kind, **event.data)

    def _take_audio(self, pcm: Pcm) -> None:
        waiting = self._answer_at is None and self._playback.empty
        if waiting and self._speech_sent_at is not None and pcm.any():
            self._answer_at = time.monotonic()
            self._tell("answer", voice_to_voice_ms=round((self._answer_at - self._speech_sent_at) * 1000, 1))
        self._playback.add(pcm)
        self._quiet_frames = 0
        self._answers += 1

    def _tell(self, kind: str, **data: object) -> None:
        event = CallEvent(round(self.recorder.samples / self._rate, 3), kind, data)
        self.report.events.append(event)
        if self._on_event is not None:
            self._on_event(event)
