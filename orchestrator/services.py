"""What the calls of one replica share, and what is measured of a turn."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Protocol

from calls.log import Row
from experiments.assignment import StageAssignment
from models.contracts import Clients
from orchestrator.dialogue import Dialogue
from orchestrator.prompts import Prompts
from orchestrator.turn_taking import TurnParams
from orchestrator.wall_clock import Clock, MonotonicClock
from parley.bot import Bot


class Line(Protocol):
    """The connection to a gateway: text messages both ways."""

    async def receive(self) -> str | bytes | None:
        """The next message, None when the gateway is gone."""
        ...

    async def send(self, message: str) -> None:
        """Send a message; sending to a gateway that is gone does nothing."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close the connection. Safe to call twice."""
        ...


@dataclass(frozen=True)
class CallParams:
    """How long a call waits for what, in seconds."""

    turn: TurnParams = field(default_factory=TurnParams)
    stage_timeout_s: float = 2.0
    start_timeout_s: float = 5.0
    """From the connection to the ``start`` message."""
    starved_s: float = 1.0
    """A turn ends, and what waits for the caller's silence goes on, when no audio has come for this long."""
    stall_timeout_s: float = 30.0
    """A gateway that sends nothing for this long is taken to be gone."""
    max_call_s: float = 900.0
    hold_ms: int = 500
    """How much longer to wait when what was heard is no whole sentence: callers pause to think."""
    resume_ms: int = 1500
    """Speech this soon after the last may be its continuation."""
    log_transcripts: bool = False


@dataclass(frozen=True, eq=False)
class Script:
    """How a release talks: its dialogue config, and the prompts that were rendered from it. Shared by its calls."""

    bot: Bot
    dialogue: Dialogue
    prompts: Prompts

    @classmethod
    def of(cls, bot: Bot) -> Script:
        """The script of a bot, nothing rendered yet.

        Raises:
            ParleyError: the bot's replies do not fit its tasks.
        """
        return cls(bot, Dialogue(bot), Prompts(bot))


@dataclass(frozen=True)
class CallAssignment:
    """What answers one call: decided at its start, kept to its end."""

    unit: str
    """The caller's pseudonym."""
    release: int
    stages: Mapping[str, StageAssignment]
    script: Script


@dataclass
class Services:
    """Shared by the calls of a replica; every field may be used by many calls at once."""

    pool: Clients
    assign: Callable[[str, str], CallAssignment]
    """(caller, call id) to what answers it."""
    record: Callable[[Iterable[Row]], None]
    """Takes what happened in calls, to be written behind their backs; returns at once."""
    call_over: Callable[[CallAssignment], None] = lambda _: None
    """Told when a call that was assigned is over, however it ended."""
    params: CallParams = field(default_factory=CallParams)
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(stage, reason) to how often, since the replica started."""
    clock: Clock = field(default_factory=MonotonicClock)
    """The wall clock that stands beside the samples."""


@dataclass
class TurnFigures:
    """Milliseconds of one turn; None where the turn had no such part."""

    turn: int
    stt_ms: float | None = None
    """From the end of the turn being known to the final transcript."""
    nlu_ms: float | None = None
    nlg_ms: float | None = None
    tts_first_ms: float | None = None
    """From the text to its first audio."""
    voice_to_voice_ms: float | None = None
    """From the caller's last speech sample received to the bot's first audio sent."""
    played_ms: float | None = None
    """How much of the bot's audio was sent and not taken back."""
    interrupted: bool = False

    def as_dict(self) -> dict[str, float | int | bool | None]:
        """For logs and traces, rounded to 0.1 ms."""
        return {name: round(value, 1) if isinstance(value, float) else value for name, value in asdict(self).items()}


class Arrivals:
    """When recent samples of the inbound clock were received, for the latency figures only."""

    def __init__(self, keep: int = 1000) -> None:
        self._known: deque[tuple[int, float]] = deque(maxlen=keep)

    def note(self, samples: int) -> None:
        """The clock stands at ``samples`` now."""
        self._known.append((samples, time.monotonic()))

    def of(self, sample: int) -> float | None:
        """Monotonic time at which the clock first stood at ``sample`` or later."""
        return next((at for samples, at in self._known if samples >= sample), None)
