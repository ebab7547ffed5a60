"""The bot's mouth in one call: audio to the gateway, with a mark after each piece, and taking it all back.

What a gateway cannot do is done without. One without marks has played what the clock says. One that takes nothing back,
or plays at once what it gets, is given its audio in step with time and only a little ahead of it, so that little is
left to be said when the caller interrupts.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from models.contracts import Piece
from orchestrator.echo import SentAudio
from orchestrator.playout import Playout, SpokenWord
from orchestrator.wall_clock import CALL_RATE, Clock, Elapsed
from orchestrator.wires.contract import GatewayCall

STEP_S, AHEAD_S = 0.02, 0.1
"""Audio given at once, and audio that waits at the gateway at most, where it must be sent in step with time."""
HANGUP_SLACK_S = 1.0
"""How much longer than the audio's length to wait for its last mark before hanging up."""
_KEPT_PIECES = 1024
"""More than any answer has."""


class Speaker:
    """Sends the bot's audio.

    Args:
        call: the gateway.
        clock: the wall clock; playing takes time whatever comes in.
        elapsed: the call's time by it.
        audio: where what is sent is kept, to know it again when it comes back.
        tracing: whether this caller asked for trace events.
    """

    def __init__(
        self,
        call: GatewayCall,
        clock: Clock,
        elapsed: Elapsed,
        *,
        audio: SentAudio | None = None,
        tracing: bool = False,
    ) -> None:
        self.playout = Playout()
        self.tracing = tracing
        self._call = call
        self._can = call.capabilities
        self._in_step = self._can.paced_by_us or not self._can.clear
        self._wall = clock
        self._clock = elapsed.samples
        self._audio = audio or SentAudio()
        self._marks = 0
        self._sent_at: deque[tuple[int, float]] = deque(maxlen=_KEPT_PIECES)
        """Samples sent with a piece's beginning, and when (monotonic)."""
        self._changed = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def talking(self) -> bool:
        """Whether the caller hears the bot now."""
        return self.playout.speaking(self._clock())

    @property
    def sent(self) -> int:
        """Samples sent since the call began and not taken back."""
        return self.playout.sent

    def sent_after(self, since: int) -> float | None:
        """Monotonic time at which the first audio after sample ``since`` of all sent was given to the gateway."""
        return next((at for sent, at in self._sent_at if sent > since), None)

    @property
    def unheard(self) -> int:
        """Samples sent that the caller has yet to hear."""
        return self.playout.sent - self.playout.played(self._clock())

    async def send(self, piece: Piece, begin: int | None = None) -> None:
        """Send a piece of audio and a mark. ``begin``: the sample, of all sent, where its text began (None: here)."""
        origin = self.playout.sent if begin is None else begin
        words = [SpokenWord(word.word, origin + round(word.end_s * CALL_RATE)) for word in piece.words]
        rate = piece.sample_rate
        step = round((STEP_S if self._in_step else self._can.at_once_s) * rate)
        for at in range(0, len(piece.pcm), step):
            part, ends = piece.pcm[at : at + step], at + step >= len(piece.pcm)
            if self._in_step:
                await self._until_little_waits()
            mark = self._next_mark() if self._can.marks and (ends or not self._in_step) else None
            async with self._sending:
                self.playout.send(len(part) * CALL_RATE // rate, words, mark, self._clock())
                self._audio.play(await self._call.play(part, rate, mark=mark, last=ends and piece.last))
            if not at:
                self._sent_at.append((self.playout.sent, time.monotonic()))
            words = []

    async def _until_little_waits(self) -> None:
        most = round(AHEAD_S * CALL_RATE)
        while (early := self.playout.until - self._clock() - most) > 0:
            await self._wall.sleep(early / CALL_RATE)

    def _next_mark(self) -> str:
        self._marks += 1
        return f"p{self._marks}"

    async def clear(self) -> int:
        """Take back what the caller has not heard, as far as the gateway lets us. Returns the samples taken back."""
        if self._can.clear:
            dropped = self.playout.clear(self._clock())
            self._audio.clear()
            self._sent_at = deque((each for each in self._sent_at if each[0] <= self.playout.sent), _KEPT_PIECES)
        else:
            dropped = self.playout.stop()
        await self._call.clear()
        return dropped

    async def trace(self, kind: str, **data: object) -> None:
        """Tell a caller who asked for it what happens."""
        if self.tracing:
            async with self._sending:
                await self._call.trace(kind, data)

    def echoed(self, mark: str) -> None:
        """The gateway says that it has played everything up to this mark."""
        self.playout.echoed(mark, self._clock())
        self._changed.set()

    def heard_words(self, since: int) -> list[str]:
        """Words heard in full, of the audio sent after sample ``since`` of all sent."""
        return self.playout.heard_words(since, self._clock())

    @property
    def left_s(self) -> float:
        """Seconds until the caller has heard everything: until the last mark came back, or its audio is long over."""
        left = (self.playout.until - self._clock()) / CALL_RATE
        return left if self.playout.settled() else left + HANGUP_SLACK_S

    async def heard_out(self) -> None:
        """Return when the caller has heard everything."""
        while (left := self.left_s) > 0:
            self._changed.clear()
            await self._changed_within(left)

    async def _changed_within(self, seconds: float) -> None:
        tasks = [asyncio.ensure_future(self._changed.wait()), asyncio.ensure_future(self._wall.sleep(seconds))]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
