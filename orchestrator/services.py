"""What the calls of one replica share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from experiments.assignment import StageAssignment
from models.contracts import Clients
from orchestrator.dialogue import Dialogue
from orchestrator.prompts import Prompts
from orchestrator.stages import RETRIES, Retries
from orchestrator.turn_taking import TurnParams
from orchestrator.wall_clock import Clock, MonotonicClock
from parley.bot import Bot
from parley.bundle import Family
from parley.row_log import Row


@dataclass(frozen=True)
class CallParams:
    """How long a call waits for what, in seconds."""

    turn: TurnParams = field(default_factory=TurnParams)
    stage_timeout_s: float = 2.0
    retries: Retries = RETRIES
    start_timeout_s: float = 5.0
    """From the connection to the ``start`` message."""
    starved_s: float = 1.0
    """A turn ends, and what waits for the caller's silence goes on, when no audio has come for this long."""
    stall_timeout_s: float = 30.0
    """A gateway that sends nothing for this long is taken to be gone."""
    max_call_s: float = 900.0
    close_within_s: float = 5.0
    """A gateway that reads nothing any more is not waited for beyond this."""
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
    stages: Mapping[Family, StageAssignment]
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
    replica: str = ""
    """The name of this process among the site's replicas."""
    params: CallParams = field(default_factory=CallParams)
    fallbacks: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(stage, reason) to how often, since the replica started."""
    clock: Clock = field(default_factory=MonotonicClock)
    """The wall clock that stands beside the samples."""
