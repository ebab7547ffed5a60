"""Two releases on the same utterances, in one process, in turns: what each heard and meant, how sure, how fast.

    async with two_sides(champion, candidate, site) as sides:
        measured = await on_recordings(sides, recordings, conditions)
        measured.pairs, measured.costs()

Only stages that differ run twice: where both releases have the same STT, both NLUs read the same transcripts, as they
would in a call. Which side goes first changes from one utterance to the next, so that neither always finds the caches
warm.
"""

from __future__ import annotations

import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from judging.slu import Heard, Listener, Turn
from models.channel import mix_at_snr, through_codec
from models.pool import ClientPool
from orchestrator.stages import Stages
from orchestrator.wall_clock import CALL_RATE
from parley.audio import Pcm, read_audio
from parley.bot import Bot
from parley.errors import ParleyError
from parley.progress import progress
from parley.recordings import Recording
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import Settings
from registry.gating.comparison import Measure, Pair
from registry.gating.gate import StageCost
from registry.releasing.documents import Release

_T = TypeVar("_T")
TIMEOUT_S = 30.0
"""A stage that is slow is judged by its budget, not cut off by the clock of a busy machine."""
MAX_FAULTS = 3
"""Failures of the candidate after which nothing more is measured: it is refused for them."""
CLEAN = "clean"


@dataclass
class Side:
    """One release, ready to answer."""

    release: Release
    bot: Bot
    pool: ClientPool
    stages: Stages
    listener: Listener

    @property
    def faults(self) -> list[str]:
        """``stt: IndexError``: each time a stage could not answer."""
        return self.listener.faults

    def version(self, stage: str) -> tuple[str, int] | None:
        """(model, version) of a stage."""
        ref = self.release.stages.get(stage)  # type: ignore[call-overload]  # stages are families
        return (ref.model, ref.version) if ref else None

    def name(self, stage: str) -> str:
        """The version, for people."""
        found = self.version(stage)
        return f"{found[0]} {found[1]}" if found else "none"


@dataclass
class Sides:
    """Champion and candidate."""

    champion: Side
    candidate: Side
    _turn: int = 0

    def changed(self) -> dict[str, tuple[str, str]]:
        """Stage to both versions, where they differ."""
        stages = dict.fromkeys([*self.champion.release.stages, *self.candidate.release.stages])
        names = {str(s): (self.champion.name(s), self.candidate.name(s)) for s in stages}
        return {stage: pair for stage, pair in names.items() if pair[0] != pair[1]}

    def broken(self) -> bool:
        """Whether the candidate fails so often that measuring on would tell nothing more.

        Raises:
            ParleyError: the champion fails: it is the machine or the site that is broken then.
        """
        if self.champion.faults:
            raise ParleyError(
                f"the champion itself cannot answer ({self.champion.faults[0]}), so nothing can be compared with it",
                where=str(self.champion.release),
                mend="parley verify; then try again",
            )
        return len(self.candidate.faults) >= MAX_FAULTS

    def differ(self, stage: str) -> bool:
        """Whether a stage has another version."""
        return self.champion.version(stage) != self.candidate.version(stage)

    async def both(self, ask: Callable[[Side], Awaitable[_T]]) -> tuple[tuple[_T, float], tuple[_T, float]]:
        """Ask both, alternating who is first: (answer, milliseconds) of champion and candidate."""
        self._turn += 1
        order = (self.champion, self.candidate) if self._turn % 2 else (self.candidate, self.champion)
        found: dict[int, tuple[_T, float]] = {}
        for side in order:
            begun = time.perf_counter()
            answer = await ask(side)
            found[id(side)] = (answer, (time.perf_counter() - begun) * 1000)
        return found[id(self.champion)], found[id(self.candidate)]


@asynccontextmanager
async def two_sides(
    champion: tuple[Release, Bot], candidate: tuple[Release, Bot], site: Settings
) -> AsyncIterator[Sides]:
    """Both releases in one engine of this process."""
    async with OnnxEngine(site.repo_dir, Trust.of(site)) as engine:
        pool = ClientPool(site.repo_dir, engine)
        sides = []
        for release, bot in (champion, candidate):
            stages = Stages(bot, pool, release.stages, None, timeout_s=TIMEOUT_S)
            sides.append(Side(release, bot, pool, stages, Listener(stages, site.end_of_turn_ms)))
        yield Sides(sides[0], sides[1])


@dataclass
class Measured:
    """Pairs and the milliseconds of each changed stage."""

    pairs: list[Pair] = field(default_factory=list)
    ms: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Stage to (champion, candidate), an entry an utterance."""
    rows: list[dict[str, Any]] = field(default_factory=list)
    """What was heard and meant, for the report."""

    def add(self, other: Measured) -> None:
        """Take over what another measurement found."""
        self.pairs += other.pairs
        self.rows += other.rows
        for stage, pairs in other.ms.items():
            self.ms[stage] += pairs

    def costs(self, memory: Mapping[str, tuple[float, float]]) -> list[StageCost]:
        """With (champion, candidate) megabytes of each changed stage."""
        stages = dict.fromkeys([*self.ms, *memory])
        found = []
        for stage in stages:
            times = self.ms.get(stage, [])
            mb = memory.get(stage, (None, None))
            found.append(StageCost(stage, tuple(a for a, _ in times), tuple(b for _, b in times), *mb))
        return found


def conditions(noise: Path | None, snrs: Iterable[float]) -> dict[str, Callable[[Pcm, str], Pcm]]:
    """Name of a condition to what it makes of a recording (int16 ``[n]``) and its id. Clean comes first."""
    made: dict[str, Callable[[Pcm, str], Pcm]] = {CLEAN: lambda pcm, _: pcm}
    if noise is not None:
        sound = read_audio(noise)
        for snr in snrs:

            def noisy(pcm: Pcm, key: str, snr: float = snr) -> Pcm:
                # The same stretch of noise for both releases, and in every run.
                return mix_at_snr(pcm, sound, snr, np.random.default_rng(zlib.crc32(f"{key}|{snr}".encode())))

            made[f"{snr:g} dB"] = noisy
    return made


async def on_recordings(
    sides: Sides,
    recordings: Sequence[Recording],
    under: Mapping[str, Callable[[Pcm, str], Pcm]],
    slices: Iterable[str] = (),
    codec: str = "ulaw",
) -> Measured:
    """Hear recordings under each condition; ``slices`` are keys of the manifest to judge by as well."""
    measured = Measured()
    fields = list(slices)
    with progress("both releases listen", len(recordings) * len(under)) as bar:
        for recording in recordings:
            dry = recording.samples(CALL_RATE)
            for condition, spoil in under.items():
                pcm = through_codec(spoil(dry, recording.audio), codec)
                _judge(measured, recording, await _hear(measured, sides, pcm), condition, fields)
                bar.advance()
                if sides.broken():
                    return measured
    return measured


async def _hear(measured: Measured, sides: Sides, pcm: Pcm) -> tuple[_Answer, _Answer]:
    if sides.differ("stt"):
        (mine, _), (theirs, _) = await sides.both(lambda side: side.listener.listen(pcm))
        if mine and theirs:
            measured.ms["stt"].append((mine[-1].stt_ms, theirs[-1].stt_ms))
    else:
        mine = theirs = await sides.champion.listener.listen(pcm)
    if mine is theirs and not sides.differ("nlu"):
        shared = _Answer(mine, await sides.champion.listener.understand(mine))
        return shared, shared
    turns = {id(sides.champion): mine, id(sides.candidate): theirs}
    first, second = await sides.both(lambda side: side.listener.understand(turns[id(side)]))
    if sides.differ("nlu") and mine and theirs:
        measured.ms["nlu"].append((first[1], second[1]))
    return _Answer(mine, first[0]), _Answer(theirs, second[0])


@dataclass(frozen=True)
class _Answer:
    turns: list[Turn]
    heard: Heard

    @property
    def score(self) -> float:
        """How sure it is that the bot was spoken to."""
        return min(turn.confidence for turn in self.turns) if self.turns and self.heard.intent else 0.0


def _judge(
    measured: Measured, recording: Recording, answers: tuple[_Answer, _Answer], condition: str, fields: Sequence[str]
) -> None:  # fmt: skip
    """A command is right when its intent and every slot are."""
    wanted = (recording.intent, dict(recording.slots))
    right = [(a.heard.intent, a.heard.slots) == wanted for a in answers]
    name = f"{recording.audio}|{condition}"
    known = {"condition": condition, "intent": recording.intent or "none"}
    known |= {key: recording.label(key) for key in fields if key not in known and recording.label(key)}
    measured.pairs.append(
        Pair(
            name, recording.speaker, int(right[0]), int(right[1]), slices=known,
            in_domain=bool(recording.intent), champion_score=answers[0].score, candidate_score=answers[1].score,
        )
    )  # fmt: skip
    measured.rows.append(
        {"id": name, "said": recording.text, "wanted": [*wanted],
         **{side: {"text": a.heard.text, "intent": a.heard.intent, "slots": a.heard.slots, "right": ok,
                   "score": round(a.score, 3)}
            for side, a, ok in zip(("champion", "candidate"), answers, right, strict=True)}}
    )  # fmt: skip


@dataclass(frozen=True)
class Sentence:
    """A text to understand."""

    id: str
    text: str
    intent: str
    """Empty for what the bot has no answer to."""
    slots: Mapping[str, str]
    slices: Mapping[str, str] = field(default_factory=dict)


async def meaning(side: Side, text: str) -> tuple[str, dict[str, str], float]:
    """Intent (empty: none), slots, and how sure it is that the bot was spoken to."""
    meant = await side.listener.meaning(text)
    if meant is None:
        return "", {}, 0.0
    return ("", {}, 1 - meant.confidence) if meant.out_of_scope else (meant.intent, dict(meant.slots), meant.confidence)


async def on_sentences(sides: Sides, sentences: Sequence[Sentence]) -> Measured:
    """Understand texts with both NLUs. Drawn sentences are independent of each other: each is its own speaker."""
    measured = Measured()
    with progress("both releases read", len(sentences)) as bar:
        for one in sentences:
            answers = await sides.both(lambda side, text=one.text: meaning(side, text))  # type: ignore[misc]
            right = [answer[:2] == (one.intent, dict(one.slots)) for answer, _ in answers]
            (mine, mine_ms), (theirs, theirs_ms) = answers
            measured.pairs.append(
                Pair(
                    one.id, one.id, int(right[0]), int(right[1]), slices=one.slices, in_domain=bool(one.intent),
                    champion_score=mine[2], candidate_score=theirs[2],
                )
            )  # fmt: skip
            measured.rows.append(row(one.id, one.text, [one.intent, dict(one.slots)], (mine, theirs), right))
            measured.ms["nlu"].append((mine_ms, theirs_ms))
            bar.advance()
            if sides.broken():
                break
    return measured


def row(
    name: str,
    said: str,
    wanted: Any,
    answers: tuple[Any, Any],
    right: Sequence[Any],
    measure: Measure = "understanding",
) -> dict[str, Any]:
    """One line of the report's details."""
    return {"id": name, "measure": measure, "said": said, "wanted": wanted,
            "champion": {"got": answers[0], "right": right[0]},
            "candidate": {"got": answers[1], "right": right[1]}}  # fmt: skip
