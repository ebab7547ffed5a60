"""The rows of a call and of its turns. docs/calls.md says what each column is.

A call is written when it begins, and again when it ends: a row without an end is a call in progress, or one whose
replica died.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import ClassVar, Literal

import sqlalchemy as sa

from calls import tables as t
from calls.callers import digits_of

Kind = Literal["greeting", "speech", "nothing", "deaf", "keys", "operator_key"]
"""What a turn answers; ``deaf`` is speech that the STT was down for."""
TurnEnd = Literal["heard", "interrupted", "replaced", "call_over"]
"""The caller heard all of it; talked over it; went on before it was said; or the call was over first."""
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
_GATEWAY_CHARS = 128
_TELLING_DIGITS = (5, 8)
"""Fewer digits are nobody's number; so many at its end tell it."""


@dataclass(frozen=True)
class CallBegan:
    """A call that was assigned, and is being answered."""

    call_id: str
    gateway_id: str
    """The gateway's name of the call (Twilio: CallSid), as :func:`named_by_gateway` gives it."""
    unit: str
    """The caller's pseudonym; never the number."""
    bot: str
    release: int
    wire: str
    replica: str
    """The process that answers, by its name in `leases`."""
    began: datetime

    statement: ClassVar[sa.Insert] = t.calls.insert()

    def values(self) -> Mapping[str, object]:
        """See `parley.row_log.Row`."""
        return asdict(self)


@dataclass(frozen=True)
class CallEnded:
    """A call is over, however it ended."""

    call_id: str
    ended: datetime
    why: str
    tasks: tuple[str, ...]
    """Names of the bot's tasks that were finished in it, in order."""

    statement: ClassVar[sa.Update] = t.calls.update().where(t.calls.c.call_id == sa.bindparam("of_call"))

    def values(self) -> Mapping[str, object]:
        """See `parley.row_log.Row`."""
        return {"of_call": self.call_id, "ended": self.ended, "why": self.why[:32], "tasks": list(self.tasks)}


@dataclass(frozen=True)
class StageServed:
    """What a turn was given at one stage."""

    model: str
    assigned: int
    """The version the call is pinned to."""
    served: int
    """The version that answered; 0 for a built-in fallback."""
    reason: str
    """Why it was assigned (`experiments.assignment.Reason`)."""
    fallback: str | None = None
    """Why the assigned version did not answer: the name of an error, ``slot_missing``."""
    experiment: str | None = None
    arm: str | None = None


@dataclass(frozen=True)
class TurnRow:
    """A turn that is over. Times in milliseconds, None where it had no such part."""

    call_id: str
    turn: int
    at: datetime
    kind: Kind
    caller_began_ms: float | None
    """On the call's clock of received audio, as is the next."""
    caller_ended_ms: float | None
    stt_ms: float | None
    nlu_ms: float | None
    nlg_ms: float | None
    tts_first_ms: float | None
    voice_to_voice_ms: float | None
    played_ms: float
    ended: TurnEnd
    resumed: bool
    """Whether it includes, and so replaces, the utterance answered before."""
    intent: str | None
    text: str | None
    """What was said; None unless the site logs transcripts."""
    served: Mapping[str, StageServed]
    """Stage to what it gave, of those the turn reached."""

    statement: ClassVar[sa.Insert] = t.turns.insert()

    def values(self) -> Mapping[str, object]:
        """See `parley.row_log.Row`."""
        row = {field.name: getattr(self, field.name) for field in fields(self)}
        return row | {"served": {stage: asdict(given) for stage, given in self.served.items()}}


@dataclass(frozen=True)
class Call:
    """A row of `calls`."""

    call_id: str
    gateway_id: str
    unit: str
    bot: str
    release: int
    wire: str
    replica: str
    began: datetime
    ended: datetime | None
    why: str | None
    tasks: tuple[str, ...] | None


def named_by_gateway(gateway_id: str, caller: str) -> str:
    """A gateway's name of a call, as it may be kept: empty where it holds the caller's number.

    Args:
        caller: as the gateway gives it.
    """
    known = re.sub(r"[^0-9]", "", unicodedata.normalize("NFKC", gateway_id))
    for digits in digits_of(caller):
        # The end of it: one may write the number with its country, the other without.
        number = digits.lstrip("0")[-_TELLING_DIGITS[1] :]
        if len(number) >= _TELLING_DIGITS[0] and number in known:
            return ""
    return _UNSTORABLE.sub("\ufffd", gateway_id)[:_GATEWAY_CHARS]


def call(c: sa.Connection, call_id: str) -> Call | None:
    """The row of a call."""
    row = c.execute(sa.select(t.calls).where(t.calls.c.call_id == call_id)).mappings().first()
    if row is None:
        return None
    tasks = row["tasks"]
    return Call(**{**row, "tasks": None if tasks is None else tuple(tasks)})


def turns(c: sa.Connection, call_id: str) -> list[TurnRow]:
    """The turns of a call that are over, in their order."""
    query = sa.select(t.turns).where(t.turns.c.call_id == call_id).order_by(t.turns.c.turn)
    return [
        TurnRow(**{**row, "served": {stage: StageServed(**given) for stage, given in row["served"].items()}})
        for row in c.execute(query).mappings()
    ]
