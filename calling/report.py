"""Test calls as values: what happened, what was understood, and what a set of calls adds up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parley.recordings import Recording


@dataclass(frozen=True)
class CallEvent:
    """Something that happened in a call, at a time on the recording's clock."""

    at_s: float
    kind: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class SaidReport:
    """What came of one recording."""

    recording: str
    voice_to_voice_ms: float | None = None
    """From the scheduled end of the last speech frame to the first sample of the answer received that is no silence."""
    transcript: str = ""
    intent: str | None = None
    slots: Mapping[str, str] = field(default_factory=dict)
    replies: list[str] = field(default_factory=list)
    accepted: bool | None = None
    """Whether intent and every slot are exactly right; None where it is not known what is right."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """The server's own milliseconds of the turn."""


@dataclass
class CallReport:
    """What came of one call."""

    said: list[SaidReport] = field(default_factory=list)
    events: list[CallEvent] = field(default_factory=list)
    end: str = ""
    """Why it ended; ``hung_up`` is the caller's own doing."""
    call_id: str = ""
    late_ms: float = 0.0
    """How late this caller sent its frames, 99th percentile: above 5 ms its figures are worth nothing."""


def judge(said: SaidReport, recording: Recording, events: Sequence[CallEvent]) -> None:
    """Fill in what the bot understood of a recording from the events since it was begun."""
    for event in events:
        if event.kind == "transcript" and (not said.transcript or event.data.get("resumed")):
            said.transcript = event.data.get("text", "")
        elif event.kind == "understanding" and (said.intent is None or event.data.get("resumed")):
            said.intent, said.slots = event.data.get("intent"), dict(event.data.get("slots", {}))
        elif event.kind == "reply":
            said.replies.append(event.data.get("text", ""))
        elif event.kind == "turn" and (not said.figures or event.data.get("voice_to_voice_ms") is not None):
            said.figures = dict(event.data)
    if recording.intent is not None:
        said.accepted = said.intent == recording.intent and dict(said.slots) == dict(recording.slots)


def summarise(reports: Sequence[CallReport]) -> dict[str, Any]:
    """The figures of a set of calls, ready for JSON."""
    said = [one for report in reports for one in report.said]
    judged = [one.accepted for one in said if one.accepted is not None]
    waits = [one.voice_to_voice_ms for one in said if one.voice_to_voice_ms is not None]
    stages: dict[str, dict[str, float]] = {}
    for name in ("stt_ms", "nlu_ms", "nlg_ms", "tts_first_ms", "voice_to_voice_ms"):
        values = [float(one.figures[name]) for one in said if one.figures.get(name) is not None]
        stages[name] = _percentiles(values)
    ends: dict[str, int] = {}
    for report in reports:
        ends[report.end] = ends.get(report.end, 0) + 1
    return {
        "calls": len(reports),
        "utterances": len(said),
        "answered": len(waits),
        "command_acceptance": round(sum(judged) / len(judged), 4) if judged else None,
        "voice_to_voice_ms": _percentiles(waits),
        "server": stages,
        "ends": ends,
        "caller_late_ms": round(max((report.late_ms for report in reports), default=0.0), 1),
        "rows": [
            {
                "audio": one.recording,
                "accepted": one.accepted,
                "transcript": one.transcript,
                "intent": one.intent,
                "slots": dict(one.slots),
                "voice_to_voice_ms": one.voice_to_voice_ms,
            }
            for one in said
        ],
    }


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {}
    return {f"p{p}": round(float(np.percentile(values, p)), 1) for p in (50, 95)}
