"""What a test caller exchanges with a bot over any wire: the gateway's side of `orchestrator.wires.contract`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from parley.audio import Pcm

Message = str | bytes


@dataclass(frozen=True, slots=True)
class BotAudio:
    """A piece of the bot's audio. int16 ``[n]`` at the wire's rate."""

    pcm: Pcm


@dataclass(frozen=True, slots=True)
class BotMark:
    """A point behind the audio so far, to be told when it has been played."""

    name: str


@dataclass(frozen=True, slots=True)
class BotClears:
    """Audio that has not been played is dropped."""


@dataclass(frozen=True, slots=True)
class BotDoes:
    """The bot presses a key, or puts the caller through (``key``, ``transfer``)."""

    kind: str
    data: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BotTells:
    """What the bot heard, meant and measured: a trace."""

    kind: str
    data: Mapping[str, object]


BotEvent = BotAudio | BotMark | BotClears | BotDoes | BotTells


class CallerLeg(Protocol):
    """One call's messages. Pure: it reads and writes, and waits for nothing."""

    def begin(self, *, caller: str, greeting: bool) -> Sequence[Message]:
        """The first messages. The call asks for traces.

        Args:
            caller: the caller's number; empty for none.
            greeting: whether the bot speaks first.
        """
        ...

    def audio(self, pcm: Pcm) -> tuple[Message, Pcm]:
        """The message of the next frame, int16 ``[n]`` at the wire's rate, and what is heard of it ``[n]``."""
        ...

    def played(self, mark: str) -> Message:
        """Everything before a mark has been played, or dropped."""
        ...

    def hang_up(self) -> Message:
        """The caller hangs up."""
        ...

    def read(self, message: Message) -> BotEvent | None:
        """What the bot says; None for nothing.

        Raises:
            WireError: the message cannot be read.
        """
        ...


class CallerWire(Protocol):
    """A wire that a test caller speaks."""

    @property
    def name(self) -> str:
        """As ``--wire`` takes it."""
        ...

    @property
    def path(self) -> str:
        """Where a site takes its calls."""
        ...

    @property
    def rate(self) -> int:
        """Samples a second both ways, in Hz."""
        ...

    def call(self) -> CallerLeg:
        """A new call."""
        ...
