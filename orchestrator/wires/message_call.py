"""A call on a wire of messages: all of the contract that is no wire's own.

A wire of this kind is a :class:`Dialect`: messages to what they mean and back, no more. Here are the connection, the
budget, the order and the rate of the audio, its slices, and what a call's end is called on a websocket. A wire that is
no messages (RTP) implements the contract by itself, on :mod:`.budget`, :mod:`.inbound`, :mod:`parley.resampling` and
:mod:`.slices`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.wall_clock import CALL_RATE, Clock
from orchestrator.wires.budget import Budget
from orchestrator.wires.contract import (
    Audio,
    CallStarted,
    Capabilities,
    Ending,
    Event,
    HungUp,
    Key,
    Played,
    WireError,
)
from orchestrator.wires.inbound import InboundAudio
from orchestrator.wires.line import Line
from orchestrator.wires.order import Packet
from orchestrator.wires.slices import Slices
from parley.audio import Pcm
from parley.resampling import Resampler

_log = logging.getLogger(__name__)

MAX_EARLY_MESSAGES = 20
"""Messages before the call's start that are borne."""
_CLOSE_CODES = {
    Ending.NORMAL: 1000,
    Ending.BROKEN_PROTOCOL: 1002,
    Ending.FLOODED: 1008,
    Ending.FAILED: 1011,
    Ending.BUSY: 1013,
}
"""Of RFC 6455 and of the IANA registry."""
_LONGEST_REASON = 120
"""A close frame has room for 123 bytes (RFC 6455, 5.5)."""


@dataclass(frozen=True)
class Pauses:
    """For how long a gateway's connection is not read, in seconds."""

    dropped_s: float = 0.001
    """After a message that is dropped unread."""
    last_s: float = 0.002
    """After any, while last words are said: one who floods is listened to slowly."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A message that means nothing to a call."""

    known: bool = True
    """Whether the wire has a name for it; those without are counted."""


Meaning = CallStarted | Packet | Key | Played | HungUp | Ignored


class Dialect(Protocol):
    """The grammar of one call on a wire of messages. Pure: it reads and writes, and waits for nothing."""

    capabilities: Capabilities
    begins_with: str
    """What a gateway has to send first, for people."""

    def read(self, message: str | bytes) -> Meaning:
        """What a message means.

        Raises:
            WireError: it breaks the wire's rules, or comes before the call has started. Nothing else is ever raised.
        """
        ...

    def audio(self, pcm: Pcm) -> tuple[str | bytes, Pcm]:
        """The message of int16 samples ``[n]`` at the wire's rate, and what will be heard of them ``[n]``."""
        ...

    def mark(self, name: str) -> str | bytes:
        """The message of a mark behind all audio so far. Asked only of wires that have marks."""
        ...

    def clear(self) -> str | bytes | None:
        """The message that takes back what is not played; None where the wire has none."""
        ...

    def key(self, key: str) -> str | bytes:
        """The message of a key.

        Raises:
            NotOnThisWire: it has none.
        """
        ...

    def transfer(self, to: str) -> str | bytes:
        """The message that puts the caller through.

        Raises:
            NotOnThisWire: it has none.
        """
        ...

    def trace(self, kind: str, data: Mapping[str, object]) -> str | bytes:
        """The message of a trace."""
        ...


class MessageCall:
    """See `orchestrator.wires.contract.GatewayCall`."""

    def __init__(self, line: Line, clock: Clock, dialect: Dialect, pauses: Pauses | None = None) -> None:
        self._pauses = pauses or Pauses()
        self._line = line
        self._clock = clock
        self._dialect = dialect
        self.capabilities = dialect.capabilities
        self.begins_with = dialect.begins_with
        self.heard_at = self.audio_at = clock.now()
        """See `GatewayCall`."""
        self._begin()
        self._started = False
        self._over: HungUp | None = None
        self._pause_s: float | None = None
        """What to wait before the next message is looked at: others get their turn."""
        self._unknown = 0
        self._outbound: Resampler | None = None

    def _begin(self) -> None:
        rate = self.capabilities.rate_in
        self._budget = Budget(self._clock, rate)
        self._inbound = InboundAudio(rate, self._budget)
        self._resampler = None if rate == CALL_RATE else Resampler(rate, CALL_RATE)
        self._slices = Slices()

    # Events in

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        if not self._started:
            return await self._first()
        while self._over is None:
            if self._pause_s is not None:
                # Where messages wait already, receiving one does not let others run.
                await asyncio.sleep(self._pause_s)
            event: Event | None = self._slices.pop()
            if event is None:
                if self._budget.spent:
                    return self._end(HungUp(self._budget.spent))
                message = await self._receive()
                event = self._end(HungUp("disconnected")) if message is None else self._take(message)
            if event is not None:
                self._pause_s = 0.0
                return event
        return self._over

    async def _receive(self) -> str | bytes | None:
        """The next message, for all who read; None when the gateway is gone, or the connection breaks."""
        try:
            message = await self._line.receive()
        except (RuntimeError, OSError, ValueError) as error:
            _log.warning("the connection broke", extra={"reason": type(error).__name__})
            return None
        if message is not None:
            self.heard_at = self._clock.now()
        return message

    async def _first(self) -> Event:
        """The call's start, or that the gateway went away before it."""
        mend = f"send {self.begins_with}"
        for _ in range(MAX_EARLY_MESSAGES):
            message = await self._receive()
            if message is None:
                return self._end(HungUp("disconnected"))
            meaning = self._dialect.read(message)
            if isinstance(meaning, CallStarted):
                self.capabilities = self._dialect.capabilities
                self.audio_at = self.heard_at
                self._begin()
                self._started = True
                return meaning
            if not isinstance(meaning, Ignored):
                raise WireError("the call has not started", mend=mend)
        raise WireError(f"no start among {MAX_EARLY_MESSAGES} messages", mend=mend)

    def _take(self, message: str | bytes) -> Event | None:
        """What one message says to the call, if anything yet."""
        self._pause_s = 0.0
        if not self._budget.message(len(message)):
            self._pause_s = self._pauses.dropped_s
            return None
        try:
            meaning = self._dialect.read(message)
        except WireError as error:
            self._budget.broken()
            _log.warning("broken message", extra={"reason": str(error)[:200]})
            return None
        if isinstance(meaning, Packet):
            pcm = self._inbound.push(meaning)
            if len(pcm):
                self.audio_at = self.heard_at
                self._slices.add(self._at_call_rate(pcm))
            return self._slices.pop()
        if isinstance(meaning, Ignored):
            self._unknown += not meaning.known
            return None
        return self._end(meaning) if isinstance(meaning, HungUp) else meaning

    def _end(self, over: HungUp) -> HungUp:
        self._over = over
        return over

    def flush(self) -> list[Audio]:
        """See `GatewayCall`."""
        self._slices.add(self._at_call_rate(self._inbound.flush()))
        return self._slices.drain()

    def _at_call_rate(self, pcm: Pcm) -> Pcm:
        return pcm if self._resampler is None or not len(pcm) else self._resampler.push(pcm)

    async def last_marks(self) -> AsyncIterator[Played]:
        """See `GatewayCall`."""
        while (message := await self._receive()) is not None:
            await asyncio.sleep(self._pauses.last_s)
            if not self._budget.message(len(message)):
                continue
            try:
                meaning = self._dialect.read(message)
            except WireError:
                continue
            if isinstance(meaning, HungUp):
                return
            if isinstance(meaning, Played):
                yield meaning

    def figures(self) -> dict[str, float]:
        """See `GatewayCall`."""
        return self._inbound.figures() | self._budget.figures() | {"unknown_events": self._unknown}

    # Actions out

    async def play(self, pcm: Pcm, rate: int, *, mark: str | None = None, last: bool = True) -> Pcm:
        """See `GatewayCall`."""
        wire_rate = self.capabilities.rate_out
        ours = pcm if rate == wire_rate else self._resampled(pcm, rate, last)
        heard = ours
        if len(ours):
            message, heard = self._dialect.audio(ours)
            await self._line.send(message)
        if mark is not None:
            await self._line.send(self._dialect.mark(mark))
        if wire_rate == CALL_RATE:
            return heard
        return pcm if rate == CALL_RATE else Resampler(rate, CALL_RATE).push(pcm, last=True)

    def _resampled(self, pcm: Pcm, rate: int, last: bool) -> Pcm:
        if self._outbound is None or self._outbound.rate_in != rate:
            self._outbound = Resampler(rate, self.capabilities.rate_out)
        return self._outbound.push(pcm, last=last)

    async def clear(self) -> None:
        """See `GatewayCall`."""
        if self._outbound is not None:
            self._outbound.restart()
        if (message := self._dialect.clear()) is not None:
            await self._line.send(message)

    async def send_key(self, key: str) -> None:
        """See `GatewayCall`."""
        await self._line.send(self._dialect.key(key))

    async def transfer(self, to: str) -> None:
        """See `GatewayCall`."""
        await self._line.send(self._dialect.transfer(to))

    async def hang_up(self, ending: Ending, reason: str) -> None:
        """See `GatewayCall`."""
        short = reason.encode("ascii", "backslashreplace")[:_LONGEST_REASON].decode("ascii")
        await self._line.close(_CLOSE_CODES[ending], short)

    async def trace(self, kind: str, data: Mapping[str, object]) -> None:
        """See `GatewayCall`."""
        await self._line.send(self._dialect.trace(kind, data))
