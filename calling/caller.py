"""A caller for tests and demonstrations: streams recordings over the Twilio wire in real time and plays the answers.

    report = await place_call([speech_of_file(Path("order.wav"))], CallOptions("ws://127.0.0.1:8600/twilio"))

It behaves as the gateway does: 20 ms frames on a steady clock, silence while it waits, the bot's audio played on its
own clock, marks echoed when that audio has been played, everything dropped on ``clear``.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import websockets
from websockets.asyncio.client import ClientConnection

from calling.recorder import CallRecorder
from calling.report import CallEvent, CallReport, SaidReport, judge
from calling.speech import Speech
from calling.timeline import draw_timeline
from orchestrator.wires.contract import WireError
from orchestrator.wires.twilio.messages import (
    CALLER_PARAMETER,
    SKIP_GREETING_PARAMETER,
    TRACE_PARAMETER,
    Clear,
    Connected,
    Mark,
    Media,
    Start,
    Stop,
    Trace,
    parse,
    render,
)
from parley.audio import FRAME_SAMPLES, SAMPLE_RATE, Pcm
from parley.errors import ParleyError
from parley.g711 import ULAW_SILENCE, ulaw_decode, ulaw_encode

FRAME_S = FRAME_SAMPLES / SAMPLE_RATE
_SILENCE = bytes([ULAW_SILENCE]) * FRAME_SAMPLES
_SILENT_CODES = np.array([0xFF, 0x7F], dtype=np.uint8)
QUIET_FRAMES = 15
"""So long (300 ms) the bot must be quiet before the caller takes it to have finished."""

_REFUSALS = {
    401: ("the site wants to know who calls", "set PARLEY_SITE_TOKEN as the site has it"),
}

BUSY_WAIT_S, BUSY_TRIES = 1.0, 60


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
    token: str = field(default="", repr=False)
    """The site's token, where it has one."""


class Playback:
    """The gateway's buffer of the bot's audio, played a frame a tick."""

    def __init__(self) -> None:
        self._audio = bytearray()
        self._played = 0
        self._marks: deque[tuple[int, str]] = deque()

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be played."""
        return not self._audio

    def add(self, payload: bytes) -> None:
        """Audio from the bot, mu-law."""
        self._audio += payload

    def mark(self, name: str) -> None:
        """A mark behind the audio so far."""
        self._marks.append((self._played + len(self._audio), name))

    def clear(self) -> list[str]:
        """Drop what is not played; the marks to echo."""
        self._audio.clear()
        names = [name for _, name in self._marks]
        self._marks.clear()
        return names

    def tick(self) -> tuple[bytes, list[str]]:
        """Play 20 ms: the mu-law frame, and the marks that were passed."""
        frame = bytes(self._audio[:FRAME_SAMPLES])
        del self._audio[:FRAME_SAMPLES]
        self._played += len(frame)
        passed = []
        while self._marks and self._marks[0][0] <= self._played:
            passed.append(self._marks.popleft()[1])
        return frame + _SILENCE[len(frame) :], passed


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
        await asyncio.to_thread(draw_timeline, caller.recorder.stereo(), caller.report.events, png, title)
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
    for _ in range(BUSY_TRIES - 1):
        with suppress(LinesBusy):
            return await place_call(recordings, options)
        await asyncio.sleep(BUSY_WAIT_S)
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
        self.report = CallReport()
        self.recorder = CallRecorder()
        self._socket = socket
        self._options = options
        self._on_event = on_event
        self._sid = f"MZ{uuid.uuid4().hex}"
        self._call_sid = f"CA{uuid.uuid4().hex}"
        self._playback = Playback()
        self._chunk = 0
        self._sequence = 1
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
        parameters = {TRACE_PARAMETER: "1"}
        if not self._options.greeting:
            parameters[SKIP_GREETING_PARAMETER] = "1"
        if self._options.caller:
            parameters[CALLER_PARAMETER] = self._options.caller
        await self._socket.send(render(Connected()))
        await self._socket.send(render(Start(self._sid, self._call_sid, "", 1, parameters)))
        self._next_tick = time.monotonic()

    async def _say(self, recording: Speech) -> None:
        for _ in range(round(self._options.gap_s / FRAME_S)):
            await self._tick(None)
        since = len(self.report.events)
        said = SaidReport(recording.name)
        self.report.said.append(said)
        self._tell("caller_speaks", recording=recording.name, text=recording.recording.text or "")
        self._speech_sent_at, self._answer_at, self._answers = None, None, 0
        last_frame = max(0, (recording.speech_end - 1) // FRAME_SAMPLES)
        try:
            for index in range(-(-len(recording.pcm) // FRAME_SAMPLES)):
                frame = recording.pcm[index * FRAME_SAMPLES : (index + 1) * FRAME_SAMPLES]
                await self._tick(np.pad(frame, (0, FRAME_SAMPLES - len(frame))))
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
        await self._socket.send(render(Stop(self._sid, self._call_sid, self._sequence + 1)))

    async def _tick(self, pcm: Pcm | None) -> None:
        """Send a frame (silence for None), play a frame of the bot's, and wait for the next 20 ms."""
        code = _SILENCE if pcm is None else ulaw_encode(pcm.astype(np.int16)).tobytes()
        self._chunk += 1
        self._sequence += 1
        self._late.append(max(0.0, time.monotonic() - self._next_tick))
        await self._socket.send(
            render(Media(self._sid, code, self._chunk, (self._chunk - 1) * 20, self._sequence, "inbound"))
        )
        self._quiet_frames = self._quiet_frames + 1 if self._playback.empty else 0
        bot, passed = self._playback.tick()
        sent, heard = (ulaw_decode(np.frombuffer(part, dtype=np.uint8)) for part in (code, bot))
        self.recorder.add(sent, heard)
        await self._echo(passed)
        self._next_tick += FRAME_S
        await asyncio.sleep(max(0.0, self._next_tick - time.monotonic()))

    async def _echo(self, names: Sequence[str]) -> None:
        for name in names:
            self._sequence += 1
            await self._socket.send(render(Mark(self._sid, name, self._sequence)))

    async def _receive(self) -> None:
        try:
            async for message in self._socket:
                await self._take(message)
        except websockets.ConnectionClosed:
            pass
        finally:
            self._ended = True

    async def _take(self, message: str | bytes) -> None:
        try:
            event = parse(message)
        except WireError as error:
            self._tell("broken_message", reason=str(error))
            return
        if isinstance(event, Media):
            self._take_audio(event.payload)
        elif isinstance(event, Mark):
            self._playback.mark(event.name)
        elif isinstance(event, Clear):
            self._answers = 0
            self._tell("clear")
            await self._echo(self._playback.clear())
        elif isinstance(event, Trace):
            if event.kind == "call":
                self.report.call_id = str(event.data.get("call_id", ""))
            elif event.kind == "end":
                self.report.end = str(event.data.get("reason", ""))
            self._tell(event.kind, **event.data)

    def _take_audio(self, payload: bytes) -> None:
        silent = bool(np.isin(np.frombuffer(payload, dtype=np.uint8), _SILENT_CODES).all())
        if not silent and self._speech_sent_at is not None and self._answer_at is None and self._playback.empty:
            self._answer_at = time.monotonic()
            self._tell("answer", voice_to_voice_ms=round((self._answer_at - self._speech_sent_at) * 1000, 1))
        self._playback.add(payload)
        self._quiet_frames = 0
        self._answers += 1

    def _tell(self, kind: str, **data: object) -> None:
        event = CallEvent(round(self.recorder.samples / SAMPLE_RATE, 3), kind, data)
        self.report.events.append(event)
        if self._on_event is not None:
            self._on_event(event)
