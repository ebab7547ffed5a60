"""Test calls as values: what is said, how, what happened, and what a set of calls adds up to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.vad import Vad
from parley.audio import FRAME_SAMPLES, SAMPLE_RATE, Pcm, read_audio
from parley.errors import ParleyError
from parley.text_files import json_objects


@dataclass(frozen=True)
class Recording:
    """Something a caller says."""

    path: Path
    pcm: Pcm
    speech_end: int
    """One past the last sample that holds speech."""
    text: str = ""
    intent: str | None = None
    """What the bot must understand, where that is known."""
    slots: Mapping[str, str] = field(default_factory=dict)


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


def load_recording(path: Path) -> Recording:
    """A recording whose speech is found by voice activity.

    Raises:
        ParleyError: no audio, not 8 kHz mono, or nobody speaks in it.
    """
    pcm = read_audio(path)
    return Recording(path, pcm, _speech_end(pcm, path))


def read_recordings(manifest: Path, limit: int | None = None) -> list[Recording]:
    """The recordings of a manifest: JSON lines with ``audio`` beside the manifest, and where known ``speech_end`` (s),
    ``text``, ``intent``, ``slots``.

    Raises:
        ParleyError: no manifest, a bad line, or bad audio; names file and line.
    """
    found = [_recording_of(row, manifest, where) for where, row in islice(json_objects(manifest), limit)]
    if not found:
        raise ParleyError("the manifest has no recordings", where=str(manifest))
    return found


def _recording_of(row: dict[str, Any], manifest: Path, where: str) -> Recording:
    try:
        path = manifest.parent / str(row["audio"])
        end, slots = row.get("speech_end"), {str(k): str(v) for k, v in (row.get("slots") or {}).items()}
        end = None if end is None else round(float(end) * SAMPLE_RATE)
        if end is not None and end < 0:
            raise ValueError(end)
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ParleyError("not a row of a manifest", where=where, mend='give {"audio": "FILE", ...}') from None
    pcm = read_audio(path)
    speech_end = _speech_end(pcm, path) if end is None else min(len(pcm), end)
    return Recording(path, pcm, speech_end, str(row.get("text") or ""), row.get("intent"), slots)


def _speech_end(pcm: Pcm, path: Path) -> int:
    whole = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES]
    # Some silence first, for the detector to know the floor from.
    quiet = np.zeros(25 * FRAME_SAMPLES, dtype=np.int16)
    active = Vad().push(np.concatenate([quiet, whole]))[25:]
    if not any(active):
        raise ParleyError("nobody speaks in it", where=str(path), mend="give a recording with speech")
    return (max(i for i, speech in enumerate(active) if speech) + 1) * FRAME_SAMPLES


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
