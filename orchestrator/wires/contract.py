"""What a call exchanges with any gateway: events in, actions out, and what a wire can do.

    call = wire.open(line, clock)
    async for event in call:            # CallStarted first, then Audio, Key and Played, HungUp last
        ...
    await call.play(pcm, 8000, mark="p1")

Below this door lie a wire's grammar, the order of its messages, what fills in for lost audio, its codec and its sample
rate. Above it audio is int16 at the rate of the call's clock, whole 20 ms frames, gapless and in order. A wire is one
module beside this one, registered in :mod:`orchestrator.wires.registered`; nothing else of Parley imports it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Protocol

from orchestrator.wall_clock import Clock
from orchestrator.wires.line import Line
from parley.audio import Pcm
from parley.errors import ParleyError
from parley.settings import Settings


class WireError(ParleyError):
    """A peer broke the wire's rules. The call is answered with an apology or ended; nothing else is touched."""


class NotOnThisWire(ParleyError):
    """The wire has no such action: its `Capabilities` say so."""


# Events in


@dataclass(frozen=True, slots=True)
class CallStarted:
    """A call begins. Texts are what can be written down anywhere: no halves of surrogate pairs."""

    wire: str
    """The wire's name."""
    gateway_id: str
    """The gateway's name of the call."""
    caller: str = ""
    """The caller's number as the gateway writes it; empty where it is withheld. Only its pseudonym is ever kept."""
    traced: bool = False
    """Whether it asks to be told what the bot hears and means."""
    greeted: bool = True
    """Whether the bot speaks first. A traced caller may ask to."""

    def untraced(self) -> CallStarted:
        """The same call, which asks for nothing that only the site's own callers may have."""
        return replace(self, traced=False, greeted=True)


@dataclass(frozen=True, slots=True)
class Audio:
    """What came from the caller, with silence for what was lost."""

    samples: Pcm
    """int16 ``[n]``, mono, a whole number of 20 ms frames, 100 ms at most."""
    rate: int
    """Samples of a second, in Hz: the call's (:data:`orchestrator.wall_clock.CALL_RATE`), whatever the gateway's."""
    at: int
    """Place of the first sample on the call's clock: samples that came before it."""


@dataclass(frozen=True, slots=True)
class Key:
    """The caller pressed a key: ``0`` to ``9``, ``*``, ``#``, ``A`` to ``D``."""

    key: str


@dataclass(frozen=True, slots=True)
class Played:
    """The gateway says that it has played everything up to this mark. It may say so early, late, twice, or never."""

    mark: str


@dataclass(frozen=True, slots=True)
class HungUp:
    """The call is over; the last event. ``reason``: ``caller_hung_up``, ``disconnected``, ``flooded``,
    ``wire_error``."""

    reason: str


Event = CallStarted | Audio | Key | Played | HungUp


# Actions out


class Ending(Enum):
    """How a call is ended, whatever a wire's word for it is (a close code, a SIP status, a cause)."""

    NORMAL = "normal"
    BROKEN_PROTOCOL = "broken protocol"
    """The peer does not speak the wire."""
    FLOODED = "flooded"
    FAILED = "failed"
    """Our fault."""
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a wire can do. What it cannot is done without: see :mod:`orchestrator.speaker`."""

    marks: bool
    """Whether the gateway says when it has played what; else that is told by the clock."""
    clear: bool
    """Whether it takes back what it has not played; else it is never given more than a little ahead of time."""
    paced_by_us: bool
    """Whether it plays what it gets at once, so that audio must be sent in step with time. Else it keeps a queue."""
    rate_in: int
    """Of the caller's audio, in Hz."""
    rate_out: int
    """Of the bot's, in Hz."""
    keys_out: bool
    """Whether it can press keys for the bot."""
    transfer: bool
    """Whether it can put the caller through. Else ending the call does: the gateway's next instruction follows."""
    at_once_s: float = 5.0
    """Seconds of audio that it takes in one piece: messages have limits, such as Asterisk's of 65,500 bytes."""


class GatewayCall(Protocol):
    """One call on a wire. Events are for one reader at a time, who may stop and go on; actions for anybody."""

    @property
    def capabilities(self) -> Capabilities:
        """What the gateway can do; final once the call has started."""
        ...

    @property
    def begins_with(self) -> str:
        """What the gateway has to send first, for people."""
        ...

    @property
    def heard_at(self) -> float:
        """When the gateway last sent anything at all, by the clock that the call was opened with."""
        ...

    @property
    def audio_at(self) -> float:
        """The same of audio of the caller's."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """Itself."""
        ...

    async def __anext__(self) -> Event:
        """The next event. Never ends: who reads on after `HungUp` gets it again.

        Raises:
            WireError: what came is no beginning of a call; never once it has started.
        """
        ...

    def flush(self) -> Sequence[Audio]:
        """What still waits for something before it: nothing more comes for now."""
        ...

    def last_marks(self) -> AsyncIterator[Played]:
        """Marks only, until the caller is gone: for last words, when the call's other events are over."""
        ...

    async def play(self, pcm: Pcm, rate: int, *, mark: str | None = None, last: bool = True) -> Pcm:
        """Give the gateway audio, and a mark behind it.

        Args:
            pcm: int16 ``[n]``.
            rate: its samples a second, in Hz.
            mark: None for none; only where the wire has marks.
            last: whether what is played next does not go on from it.

        Returns:
            What will be heard of it, through the wire's codec: int16 ``[m]`` at the call's rate.
        """
        ...

    async def clear(self) -> None:
        """What was played and is not heard yet is taken back, where the wire can."""
        ...

    async def send_key(self, key: str) -> None:
        """Press a key for the other end.

        Raises:
            NotOnThisWire: it cannot.
        """
        ...

    async def transfer(self, to: str) -> None:
        """Put the caller through to a number or address.

        Raises:
            NotOnThisWire: it cannot.
        """
        ...

    async def hang_up(self, ending: Ending, reason: str) -> None:
        """End the call. ``reason`` may hold anything that a peer sent. Safe to call twice."""
        ...

    async def trace(self, kind: str, data: Mapping[str, object]) -> None:
        """Tell a caller who asked for it what happens."""
        ...

    def figures(self) -> dict[str, float]:
        """What was wrong with what came in, for the log."""
        ...


# Registration


class Proof(Protocol):
    """A wire's own way to prove who opens a call."""

    @property
    def mend(self) -> str:
        """What a gateway has to do whose request does not hold it, as an imperative."""
        ...

    def proves(self, headers: Mapping[str, str], target: str) -> bool:
        """Whether a request of these headers (names in lower case) and this target (raw path and query) holds it."""
        ...


class Wire(Protocol):
    """A wire whose gateways open a websocket for each call."""

    @property
    def name(self) -> str:
        """As logs and the table of calls have it."""
        ...

    @property
    def paths(self) -> Sequence[str]:
        """Where its gateways connect. Each is also taken with the site's token as a last part."""
        ...

    def proof(self, site: Settings) -> Proof | None:
        """What opens a call beside the site's token: None for nothing."""
        ...

    def open(self, line: Line, clock: Clock) -> GatewayCall:
        """The call on a connection that was let in."""
        ...
