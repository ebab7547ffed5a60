"""The bot's mouth in one call: audio to messages, with a mark after each piece, and taking it all back."""

from __future__ import annotations

import asyncio

from models.contracts import Piece
from orchestrator.echo import SentAudio
from orchestrator.playout import Playout, SpokenWord
from orchestrator.services import Line
from orchestrator.wall_clock import Clock, Elapsed, MonotonicClock
from orchestrator.wires.twilio import Clear, Mark, Media, Trace, render
from parley.audio import SAMPLE_RATE
from parley.g711 import ulaw_decode, ulaw_encode

MAX_MEDIA_SAMPLES = 40_000
"""Audio in one message, 5 s: gateways have limits too, such as Asterisk's of 65,500 bytes."""
HANGUP_SLACK_S = 1.0
"""How much longer than the audio's length to wait for its last mark before hanging up."""


class Speaker:
    """Sends the bot's audio.

    Args:
        line: the connection.
        stream_sid: the gateway's name of the stream.
        clock: the wall clock; playing takes time whatever comes in.
        elapsed: the call's time by it (None: from now).
        sent: where what is sent is kept, to know it again when it comes back.
        trace: whether this caller asked for trace events.
    """

    def __init__(
        self,
        line: Line,
        stream_sid: str,
        clock: Clock | None = None,
        elapsed: Elapsed | None = None,
        *,
        sent: SentAudio | None = None,
        trace: bool = False,
    ) -> None:
        self.playout = Playout()
        self._line = line
        self._sid = stream_sid
        self._wall = clock or MonotonicClock()
        self._clock = (elapsed or Elapsed(self._wall)).samples
        self._sent = sent or SentAudio()
        self._trace = trace
        self._marks = 0
        self._changed = asyncio.Event()
        self._sending = asyncio.Lock()

    @property
    def last_mark(self) -> str:
        """Name of the mark after the audio sent last."""
        return f"p{self._marks}"

    @property
    def talking(self) -> bool:
        """Whether the caller hears the bot now."""
        return self.playout.speaking(self._clock())

    @property
    def unheard(self) -> int:
        """Samples sent that the caller has yet to hear."""
        return self.playout.sent - self.playout.played(self._clock())

    async def send(self, piece: Piece, begin: int | None = None) -> None:
        """Send a piece of audio and a mark. ``begin``: the sample, of all sent, where its text began (None: here)."""
        origin = self.playout.sent if begin is None else begin
        words = [SpokenWord(word.word, origin + round(word.end_s * SAMPLE_RATE)) for word in piece.words]
        for at in range(0, len(piece.pcm), MAX_MEDIA_SAMPLES):
            part = ulaw_encode(piece.pcm[at : at + MAX_MEDIA_SAMPLES])
            self._marks += 1
            mark = self.last_mark
            async with self._sending:
                await self._line.send(render(Media(self._sid, part.tobytes())))
                self._sent.play(ulaw_decode(part))
                self.playout.send(len(part), words, mark, self._clock())
                await self._line.send(render(Mark(self._sid, mark)))
            words = []

    async def clear(self) -> int:
        """Take back what the caller has not heard. Returns the samples taken back."""
        dropped = self.playout.clear(self._clock())
        self._sent.clear()
        await self._line.send(render(Clear(self._sid)))
        return dropped

    async def trace(self, kind: str, **data: object) -> None:
        """Tell a caller who asked for it what happens."""
        if self._trace:
            async with self._sending:
                await self._line.send(render(Trace(self._sid, kind, data)))

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
        left = (self.playout.until - self._clock()) / SAMPLE_RATE
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
