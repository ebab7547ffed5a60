"""The bot's mouth in one call: texts to audio to messages, with a mark after each piece, and taking it all back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing

from orchestrator.playout import Playout, SpokenWord
from orchestrator.prompts import Prompt
from orchestrator.services import Line
from orchestrator.stages import Piece, Stages
from orchestrator.wires.twilio import Clear, Mark, Media, Trace, render
from parley.audio import SAMPLE_RATE, samples_to_ms
from parley.g711 import ulaw_encode

HANGUP_SLACK_S = 1.0
"""How much longer than the audio's length to wait for its last mark before hanging up."""


class Speaker:
    """Sends the bot's audio.

    Args:
        line: the connection.
        stream_sid: the gateway's name of the stream.
        clock: the inbound sample clock.
        trace: whether this caller asked for trace events.
    """

    def __init__(self, line: Line, stream_sid: str, clock: Callable[[], int], *, trace: bool = False) -> None:
        self.playout = Playout()
        self._line = line
        self._sid = stream_sid
        self._clock = clock
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

    async def say(self, stages: Stages, text: str, on_first: Callable[[], None] | None = None) -> None:
        """Send a text's audio as it is made.

        Raises:
            SpeechDown: there is no voice for it.
        """
        begin = self.playout.sent
        # An interruption cancels in here; the voice's requests must end then too, not when the garbage is collected.
        async with aclosing(stages.speak(text)) as pieces:
            async for piece in pieces:
                await self.send(piece, begin)
                if on_first is not None:
                    on_first()
                    on_first = None

    async def send(self, piece: Piece | Prompt, begin: int | None = None) -> None:
        """Send a piece of audio and a mark. ``begin``: the sample, of all sent, where its text began (None: here)."""
        if not len(piece.pcm):
            return
        self._marks += 1
        mark = self.last_mark
        origin = self.playout.sent if begin is None else begin
        words = [SpokenWord(word.word, origin + round(word.end_s * SAMPLE_RATE)) for word in piece.words]
        async with self._sending:
            await self._line.send(render(Media(self._sid, ulaw_encode(piece.pcm).tobytes())))
            self.playout.send(len(piece.pcm), words, mark, self._clock())
            await self._line.send(render(Mark(self._sid, mark)))

    async def clear(self) -> int:
        """Take back what the caller has not heard. Returns the samples taken back."""
        dropped = self.playout.clear(self._clock())
        await self._line.send(render(Clear(self._sid)))
        return dropped

    async def trace(self, kind: str, **data: object) -> None:
        """Tell a caller who asked for it what happens."""
        if self._trace:
            async with self._sending:
                await self._line.send(render(Trace(self._sid, kind, data)))

    def progressed(self) -> None:
        """The inbound clock moved or a mark came back: whoever waits for the end looks again."""
        self._changed.set()

    async def heard_out(self) -> None:
        """Return when the caller has heard everything, by marks or the sample clock, or the wall clock."""
        left_s = samples_to_ms(self.unheard) / 1000
        deadline = time.monotonic() + left_s + HANGUP_SLACK_S
        slack = round(HANGUP_SLACK_S * SAMPLE_RATE)
        while not self.playout.settled() and self.playout.speaking(self._clock() - slack):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return
            self._changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await self._changed.wait()
            except TimeoutError:
                return
