"""Recordings of people and the manifest that lists them: the one reader of manifests of the whole project.

    for recording in read_recordings(Path("recordings/manifest.jsonl")):
        recording.samples(rate=8000)          # int16 [n], whatever rate the file has

A manifest is a file of JSON lines, one object a recording, audio files beside it (docs/data.md):

    {"audio": "a.flac", "speaker": "ann", "text": "one latte", "intent": "orderDrink",
     "slots": {"coffeeDrink": "latte"}, "speech_start": 0.5, "speech_end": 1.4}
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from parley.audio import Pcm, read_audio_at
from parley.bot import Bot
from parley.bot.slots import is_value
from parley.errors import ParleyError
from parley.files import canonical_json, write_atomic
from parley.names import is_pseudonym
from parley.text_files import json_objects

Scalar = str | int | float | bool
Label = Literal["speaker", "intent", "slots"]
LABELLED: tuple[Label, ...] = ("speaker", "intent", "slots")
"""What a recording must say to be learned from or to be judged by."""
AROUND_S = 0.3
"""Seconds kept before and after marked speech: a call never begins within a word."""

_MEND = "see docs/data.md"
_TELEPHONE = re.compile(r"(?:tel:|sips?:)?\+[\d ().-]{7,}(?:@.*)?")


@dataclass(frozen=True)
class Recording:
    """One line of a manifest. Times are seconds from the file's first sample; no samples are held."""

    audio: str
    """The file as the manifest names it: the recording's name in reports, and the seed of noise drawn for it."""
    path: Path
    """The file: ``audio`` from the manifest's folder on."""
    where: str = ""
    """``manifest:line``, for messages."""
    speaker: str = ""
    """Who speaks. All recordings of a speaker fall into one split, and intervals are over speakers."""
    intent: str | None = None
    """What the bot must understand: empty is speech that asks for nothing, None is not known."""
    slots: Mapping[str, str] = field(default_factory=dict)
    """Slot to the bot's own value."""
    text: str | None = None
    """The words, where they are known."""
    speech_start_s: float | None = None
    speech_end_s: float | None = None
    """Where the speech lies, where that is marked."""
    subject: str = ""
    """The caller's pseudonym (64 hex digits), by which a person's recordings are found; never a number."""
    more: Mapping[str, Scalar] = field(default_factory=dict)
    """What else the line says (``accent``, ``handset``): a gate's slices may go by it."""

    @property
    def marks(self) -> tuple[float, float] | None:
        """Start and end of the speech, in seconds, where both are marked."""
        if self.speech_start_s is None or self.speech_end_s is None:
            return None
        return self.speech_start_s, self.speech_end_s

    def samples(self, rate: int) -> Pcm:
        """The audio: int16 ``[n]``, resampled to ``rate`` Hz where the file has another.

        Raises:
            ParleyError: the file is no audio of one channel.
        """
        return read_audio_at(self.path, rate)

    def speech(self, pcm: Pcm, rate: int) -> Pcm:
        """The marked speech in its samples at ``rate`` Hz, 300 ms around it; all of them where nothing is marked."""
        if self.marks is None:
            return pcm
        start, end = self.marks
        return pcm[int(max(0.0, start - AROUND_S) * rate) : int((end + AROUND_S) * rate)]

    def label(self, key: str) -> str:
        """What the line says under a key, as text; empty where it says nothing."""
        known = {"audio": self.audio, "speaker": self.speaker, "intent": self.intent, "text": self.text}
        value = known[key] if key in known else self.more.get(key)
        return "" if value is None else str(value)

    def entry(self) -> dict[str, object]:
        """The line that says it, as JSON holds it; what is not known is left out."""
        known: dict[str, object] = {
            "audio": self.audio, "speaker": self.speaker or None, "text": self.text, "intent": self.intent,
            "slots": dict(self.slots) if self.intent is not None else None, "speech_start": self.speech_start_s,
            "speech_end": self.speech_end_s, "subject": self.subject or None,
        }  # fmt: skip
        return {**{key: value for key, value in known.items() if value is not None}, **self.more}


def read_recordings(manifest: Path, needs: Collection[Label] = LABELLED, bot: Bot | None = None) -> list[Recording]:
    """The recordings of a manifest, in its order.

    Args:
        manifest: JSON lines.
        needs: what every line must say beside ``audio``.
        bot: whose intents, slots and values they must be; an empty intent is speech that asks for nothing.

    Raises:
        ParleyError: there is no such manifest or it is empty; or names the line and the key that is missing, of a
            wrong kind, unknown to the bot or a telephone number, the file that is not there or stands twice, or the
            person who goes by two names.
    """
    if not manifest.is_file():
        raise ParleyError("no such manifest", where=str(manifest), mend="give a JSON-lines file of recordings")
    found = [_recording(entry, manifest, where, needs) for where, entry in json_objects(manifest)]
    if not found:
        raise ParleyError("the manifest has no recordings", where=str(manifest), mend=_MEND)
    _check_files(found)
    _check_people(found)
    if bot is not None:
        for recording in found:
            _check_meaning(recording, bot)
    return found


def of_speakers(recordings: Sequence[Recording], speakers: Collection[str], manifest: Path) -> list[Recording]:
    """The recordings of some speakers; all where none are named.

    Raises:
        ParleyError: nobody of these speaks in them.
    """
    found = [one for one in recordings if not speakers or one.speaker in speakers]
    if not found:
        raise ParleyError("no recording of these speakers", where=str(manifest), mend="check --speakers")
    return found


def write_recordings(manifest: Path, recordings: Sequence[Recording]) -> None:
    """Write a manifest, whole or not at all."""
    write_atomic(manifest, "".join(canonical_json(recording.entry()) + "\n" for recording in recordings))


# --- one line ---------------------------------------------------------------------------------------------------


_KNOWN = ("audio", "speaker", "intent", "slots", "text", "speech_start", "speech_end", "subject")


def _recording(entry: Mapping[str, object], manifest: Path, where: str, needs: Collection[Label]) -> Recording:
    for key in ("audio", *needs):
        if entry.get(key) is None:
            kind = "dict" if key == "slots" else "str"
            raise ParleyError(f"{key}: expected {kind}", where=where, mend=_MEND)
    audio, speaker = _text(entry, "audio", where) or "", _text(entry, "speaker", where) or ""
    if not audio or ("speaker" in needs and not speaker):
        raise ParleyError(f"{'speaker' if audio else 'audio'}: is empty", where=where, mend=_MEND)
    if _TELEPHONE.fullmatch(speaker.strip()):
        mend = "name speakers by what says nothing of them: ann, spk07; a pseudonym belongs under subject"
        raise ParleyError("speaker: is a telephone number", where=where, mend=mend)
    start, end = _seconds(entry, "speech_start", where), _seconds(entry, "speech_end", where)
    if start is not None and end is not None and end < start:
        raise ParleyError(f"speech_end: {end:g} s is before speech_start", where=where, mend=_MEND)
    return Recording(
        audio, manifest.parent / audio, where, speaker, _text(entry, "intent", where), _slots(entry, where),
        _text(entry, "text", where), start, end, _subject(entry, where),
        {k: v for k, v in entry.items() if k not in _KNOWN and isinstance(v, str | int | float | bool)},
    )  # fmt: skip


def _text(entry: Mapping[str, object], key: str, where: str) -> str | None:
    value = entry.get(key)
    if value is not None and not isinstance(value, str):
        raise ParleyError(f"{key}: expected str", where=where, mend=_MEND)
    return value


def _seconds(entry: Mapping[str, object], key: str, where: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
        raise ParleyError(f"{key}: expected seconds from the beginning", where=where, mend=_MEND)
    return float(value)


def _slots(entry: Mapping[str, object], where: str) -> dict[str, str]:
    value = entry.get("slots")
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ParleyError("slots: expected dict", where=where, mend=_MEND)
    for slot, said in value.items():
        if not isinstance(said, str):
            raise ParleyError(f"slots.{slot}: {said!r} is no text", where=where, mend="write the bot's own value")
    return value


def _subject(entry: Mapping[str, object], where: str) -> str:
    """A number here would be copied into datasets: it is refused, not hidden."""
    subject = _text(entry, "subject", where) or ""
    if subject and not is_pseudonym(subject):
        raise ParleyError(
            "subject: expected a pseudonym, 64 hex digits; a caller's number may not stand in a manifest",
            where=where,
            mend="write the pseudonym under which the site knows the caller's calls",
        )
    return subject


# --- all lines --------------------------------------------------------------------------------------------------


def _check_files(recordings: Sequence[Recording]) -> None:
    """Every file is there, and once: what stands twice is learned from twice, or learned from and tested on."""
    seen: dict[str, str] = {}
    for one in recordings:
        if not one.path.is_file():
            raise ParleyError(f"audio: no file {one.path}", where=one.where, mend="check the path")
        first = seen.setdefault(os.path.realpath(one.path), one.where)
        if first != one.where:
            raise ParleyError(f"audio: {one.audio} stands in {first}, too", where=one.where, mend="remove one line")


def _check_people(recordings: Sequence[Recording]) -> None:
    """A speaker is one person and a person one speaker: splits are by speaker, and nobody may be in two of them."""
    subjects: dict[str, str] = {}
    speakers: dict[str, str] = {}
    for one in recordings:
        if one.speaker and subjects.setdefault(one.speaker, one.subject) != one.subject:
            mend = "name the subject in all of the speaker's lines, or in none"
            raise ParleyError(f"speaker: {one.speaker} has another subject before", where=one.where, mend=mend)
        if one.subject and speakers.setdefault(one.subject, one.speaker) != one.speaker:
            mend = "give one person one speaker's name"
            raise ParleyError(f"subject: was speaker {speakers[one.subject]} before", where=one.where, mend=mend)


def _check_meaning(recording: Recording, bot: Bot) -> None:
    where = recording.where
    if recording.intent and recording.intent not in bot.intents:
        known = ", ".join(sorted(bot.intents))
        what = f"intent: {bot.name} has no {recording.intent!r}; it has: {known}"
        raise ParleyError(what, where=where, mend="correct it, or leave it empty where nothing is asked for")
    for slot, value in recording.slots.items():
        if slot not in bot.slots:
            known = ", ".join(sorted(bot.slots)) or "none"
            raise ParleyError(f"slots: {bot.name} has no {slot!r}; it has: {known}", where=where, mend="correct it")
        if not is_value(bot.slots[slot], value):
            raise ParleyError(
                f"slots.{slot}: {value!r} is no value of it", where=where, mend="write the bot's own value"
            )
