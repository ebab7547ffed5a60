"""One turn of a call: its figures, what served each stage and why, and how it ended.

    turn = Turn(call_id, unit, number, assignment.stages, heard, since=sent)
    turn.reach("nlu");  turn.served("nlu", given.fallback)
    turn.end("heard", played_ms)
    record([*exposures(turn), row(turn)]);  log(log_fields(turn));  trace(figures(turn))

Whoever makes the answer owns the turn and alone changes it (`orchestrator.answer`); everything that is written down of
a turn is made of it here, once it is over. It is over when the caller has heard it out, talks over it, goes on before
it was said, or the call ends: only then is it known how much of it was heard.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from calls.records import Kind, StageServed, TurnEnd, TurnRow
from experiments.assignment import StageAssignment
from experiments.exposures import Exposure
from orchestrator.hearing import Heard
from parley.audio import samples_to_ms
from parley.bundle import Family

NO_VERSION = 0
"""The "version" of an exposure where a built-in fallback answered instead of a published version."""


@dataclass
class Turn:
    """A turn in hand. Milliseconds; None where the turn had no such part."""

    call_id: str
    unit: str
    """The caller's pseudonym."""
    number: int
    """The greeting is 0."""
    assigned: Mapping[Family, StageAssignment]
    heard: Heard | None
    """What is answered; None is the call's beginning."""
    since: int
    """Samples of the bot's audio that had been sent before it."""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))
    fallbacks: dict[Family, str] = field(default_factory=dict)
    """Each stage it reached, and why the assigned version did not answer there; empty where it did."""
    intent: str | None = None
    nlu_ms: float | None = None
    nlg_ms: float | None = None
    """Of all its acts together."""
    tts_first_ms: float | None = None
    """From the text to its first audio."""
    voice_to_voice_ms: float | None = None
    """From the caller's last speech sample received to the bot's first audio sent."""
    played_ms: float = 0.0
    """How much of the bot's audio the caller heard; known when it is over."""
    answered: bool = False
    """Whether the whole answer was made and sent."""
    ended: TurnEnd | None = None

    @property
    def kind(self) -> Kind:
        """What it answers."""
        return "greeting" if self.heard is None else self.heard.kind

    @property
    def stt_ms(self) -> float | None:
        """From the end of the turn being known to the final transcript."""
        return self.heard.stt_ms if self.heard else None

    def reach(self, stage: Family) -> None:
        """A stage is asked, whatever comes of it: an answer that never comes was served too."""
        self.fallbacks.setdefault(stage, "")

    def served(self, stage: Family, fallback: str) -> None:
        """How a stage answered. Of several answers in one turn the first fallback counts."""
        self.fallbacks[stage] = self.fallbacks.get(stage, "") or fallback

    def waited_until(self, sent: float | None) -> None:
        """When the first audio of its answer was sent (monotonic time), for who had spoken."""
        received = self.heard.received if self.heard else None
        if received is not None and sent is not None:
            self.voice_to_voice_ms = (sent - received) * 1000

    def end(self, how: TurnEnd, played_ms: float) -> None:
        """It is over; nothing changes any more."""
        assert self.ended is None, "a turn is over once"
        self.ended, self.played_ms = how, played_ms


def figures(turn: Turn) -> dict[str, float | int | bool | None]:
    """For logs and traces, rounded to 0.1 ms."""
    made: dict[str, float | int | bool | None] = {
        "turn": turn.number,
        "stt_ms": turn.stt_ms,
        "nlu_ms": turn.nlu_ms,
        "nlg_ms": turn.nlg_ms,
        "tts_first_ms": turn.tts_first_ms,
        "voice_to_voice_ms": turn.voice_to_voice_ms,
        "played_ms": turn.played_ms,
        "interrupted": turn.ended == "interrupted",
    }
    return {name: round(value, 1) if isinstance(value, float) else value for name, value in made.items()}


def fallbacks(turn: Turn) -> dict[Family, str]:
    """Stage to why its assigned version did not answer, where it did not."""
    return {stage: reason for stage, reason in turn.fallbacks.items() if reason}


def log_fields(turn: Turn) -> dict[str, object]:
    """The turn's line in the log. Nothing that was said is in it."""
    told = {"ended": turn.ended, "fallbacks": sorted(fallbacks(turn)), "reasons": fallbacks(turn)}
    return figures(turn) | told | {"not_again": turn.heard.not_again if turn.heard else ""}


def trace_fields(turn: Turn) -> dict[str, object]:
    """What a caller who asked for it is told of a turn that is over."""
    return figures(turn) | {"ended": turn.ended, "fallbacks": fallbacks(turn)}


def exposures(turn: Turn) -> list[Exposure]:
    """What was really served: a row for each stage it reached (a caller who hangs up hears no TTS)."""
    now = datetime.now(UTC)
    return [
        Exposure(
            call_id=turn.call_id,
            turn=turn.number,
            unit=turn.unit,
            stage=stage,
            model=assigned.model,
            version=NO_VERSION if reason else assigned.version,
            reason="fallback" if reason else assigned.reason,
            experiment=assigned.experiment,
            arm=assigned.arm,
            config_version=assigned.config_version,
            at=now,
        )
        for stage, assigned, reason in _reached(turn)
    ]


def row(turn: Turn, *, with_text: bool) -> TurnRow:
    """Its row in `turns`.

    Args:
        with_text: whether what the caller said may be kept.
    """
    assert turn.ended is not None, "a turn that goes on has no row"
    heard = turn.heard
    spoken = heard is not None and heard.start is not None
    return TurnRow(
        call_id=turn.call_id,
        turn=turn.number,
        at=turn.at,
        kind=turn.kind,
        caller_began_ms=samples_to_ms(heard.start) if heard and heard.start is not None else None,
        caller_ended_ms=samples_to_ms(heard.at) if heard and spoken else None,
        stt_ms=turn.stt_ms,
        nlu_ms=turn.nlu_ms,
        nlg_ms=turn.nlg_ms,
        tts_first_ms=turn.tts_first_ms,
        voice_to_voice_ms=turn.voice_to_voice_ms,
        played_ms=turn.played_ms,
        ended=turn.ended,
        resumed=heard is not None and heard.resumed,
        intent=turn.intent,
        text=heard.text if with_text and heard else None,
        served={
            stage: StageServed(
                assigned.model,
                assigned.version,
                NO_VERSION if reason else assigned.version,
                assigned.reason,
                reason or None,
                assigned.experiment,
                assigned.arm,
            )
            for stage, assigned, reason in _reached(turn)
        },
    )


def _reached(turn: Turn) -> list[tuple[Family, StageAssignment, str]]:
    """(stage, what it was assigned, why that did not answer) of the stages it reached."""
    known = turn.assigned
    return [(stage, known[stage], reason) for stage, reason in turn.fallbacks.items() if stage in known]
