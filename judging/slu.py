"""``parley evaluate slu --manifest M.jsonl [--codec ulaw] [--release champion] --json OUT``: STT and NLU on recordings.

Each recording goes through what a call goes through, without the wire: voice activity, turn taking, streaming STT,
NLU. A command is accepted when its intent and every slot are exactly right. Intervals are 95 % bootstrap intervals
over speakers, because one speaker's recordings succeed and fail together. ``--noise FILE --snr DB``, ``--loss`` and
``--gain`` disturb the recordings first. Recordings whose intent is empty are of no order at all: understanding
anything there is a false acceptance.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from judging.conditions import Condition, read_noise
from models.contracts import Clients, Understanding
from models.pool import ClientPool
from models.stored_audio import recording_digests
from models.stt.evaluate import edit_distance
from orchestrator.hearing import Ear, HoldOver
from orchestrator.recent_audio import RecentAudio
from orchestrator.services import CallParams
from orchestrator.stages import Stages
from orchestrator.turn_taking import BargeIn, TurnEvent, TurnParams, TurnTaker
from orchestrator.wall_clock import CALL_RATE
from parley.arguments import ArgumentParser
from parley.audio import FRAME_SAMPLES, Pcm
from parley.bot import load_bot
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.recordings import Recording, of_speakers, read_recordings
from parley.serving.engine import Engine
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import settings
from parley.utterances import read_utterances
from registry.gating.statistics import cluster_bootstrap
from registry.reading import release_of
from registry.releasing.documents import StageVersion
from registry.releasing.releases import Release

FIGURES = ("command_acceptance", "wer", "intent_accuracy", "slot_f1")
_OUTSIDE = ("outside", "false_accepts", "false_orders")
_TAIL_S = 1.5
"""Silence after a recording, so that its last turn ends."""


@dataclass(frozen=True)
class Heard:
    """What was understood of one recording: its turns, merged as the dialogue merges them."""

    text: str
    intent: str
    slots: dict[str, str]
    turns: int


class _NoBot:
    """Stands where the bot of a call stands: it says nothing, and nobody is told what happens."""

    sent = unheard = 0
    talking = tracing = False

    async def trace(self, kind: str, **data: object) -> None:
        """See `orchestrator.hearing.Mouth`."""


@dataclass(frozen=True)
class Turn:
    """A turn of the caller's, as the STT heard it."""

    text: str
    confidence: float
    stt_ms: float
    """From the end of the turn to the transcript."""


class TalkingBot(Protocol):
    """A bot that speaks while a recording is heard."""

    @property
    def speaking(self) -> bool:
        """Whether the caller hears it now."""
        ...

    @property
    def own_voice(self) -> bool:
        """Whether what came before the last frame turned out to be its own voice."""
        ...

    def line(self, frame: Pcm) -> Pcm:
        """What the call hears of the caller's next frame, int16 ``[160]``."""
        ...

    def interrupt(self) -> None:
        """The caller has spoken over it for long enough."""
        ...


class Listener:
    """The ear of a call (turn taking, STT, NLU of one release) without a wire."""

    def __init__(self, stages: Stages, end_of_turn_ms: int) -> None:
        self.stages = stages
        self.faults: list[str] = []
        """``stt: IndexError``: each time a stage could not answer."""
        self._params = CallParams(turn=TurnParams(end_of_turn_ms=end_of_turn_ms))

    async def hear(self, pcm: Pcm) -> Heard:
        """Understand int16 samples ``[n]`` of one recording."""
        return await self.understand(await self.listen(pcm))

    async def listen(self, pcm: Pcm, bot: TalkingBot | None = None) -> list[Turn]:
        """The turns of one recording, int16 ``[n]``, perhaps said over a bot: everything before the NLU."""
        taker = TurnTaker(self._params.turn)
        recent = RecentAudio()
        ear = Ear(self.stages, _NoBot(), self._params, recent)
        turns: list[Turn] = []
        audio = np.concatenate([pcm, np.zeros(int(_TAIL_S * CALL_RATE), np.int16)])
        for start in range(0, len(audio) // FRAME_SAMPLES * FRAME_SAMPLES, FRAME_SAMPLES):
            frame = audio[start : start + FRAME_SAMPLES]
            frame = bot.line(frame) if bot else frame
            speaking, own = (bot.speaking, bot.own_voice) if bot else (False, False)
            events: list[TurnEvent | HoldOver] = [*taker.push(frame, bot_speaking=speaking, own_voice=own)]
            recent.add(frame)
            if (expired := ear.hold_expired(taker)) is not None:
                events.append(expired)
            for event in events:
                if bot and isinstance(event, BargeIn):
                    bot.interrupt()
                heard = await ear.take(event)
                if heard is not None:
                    self._note("stt", heard.fallback or heard.not_again)
                if heard is None or not heard.accepted:
                    continue
                if heard.resumed and turns:
                    turns.pop()
                turns.append(Turn(heard.text, heard.confidence, heard.stt_ms or 0.0))
        return turns

    async def understand(self, turns: Sequence[Turn]) -> Heard:
        """What the turns of one recording mean together."""
        return _merged([(turn.text, await self.meaning(turn.text)) for turn in turns])

    async def meaning(self, text: str) -> Understanding | None:
        """What one sentence means; None when the NLU could not say."""
        given = await self.stages.understand(text)
        self._note("nlu", given.fallback)
        return given.value

    def _note(self, stage: str, fallback: str) -> None:
        if fallback:
            self.faults.append(f"{stage}: {fallback}")


def _merged(turns: Sequence[tuple[str, Understanding | None]]) -> Heard:
    meant = [u for _, u in turns if u is not None and not u.out_of_scope]
    slots = {k: v for u in meant for k, v in u.slots.items()}
    return Heard(" ".join(text for text, _ in turns), meant[0].intent if meant else "", slots, len(turns))


def understood(recording: Recording, heard: Heard) -> bool:
    """Whether intent and every slot are exactly right."""
    return recording.intent == heard.intent and dict(recording.slots) == heard.slots


def slot_counts(said: Mapping[str, str], heard: Mapping[str, str]) -> tuple[int, int]:
    """Twice the (slot, value) pairs that agree, and all pairs of both sides: their ratio is F1."""
    return 2 * len(said.items() & heard.items()), len(said) + len(heard)


def clustered(
    counts: Sequence[tuple[int, int]], speakers: Sequence[str], *, empty: float
) -> tuple[float, tuple[float, float]]:
    """A ratio of sums and its 95 % interval, by resampling speakers (cluster bootstrap; Field & Welsh 2007).

    Speakers of whom nothing counts (nobody's slots, no word) are left out; ``empty`` is the ratio where all are.
    """
    by_speaker: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for count, speaker in zip(counts, speakers, strict=True):
        by_speaker[speaker].append(count)
    sums = np.array([np.sum(found, axis=0) for found in by_speaker.values()]).reshape(-1, 2)
    sums = sums[sums[:, 1] > 0]
    if not len(sums):
        return empty, (empty, empty)
    low, high = cluster_bootstrap(sums[:, 0], sums[:, 1])
    return round(float(sums[:, 0].sum() / sums[:, 1].sum()), 4), (round(low, 4), round(high, 4))


def figures(recordings: Sequence[Recording], heard: Sequence[Heard]) -> dict[str, Any]:
    """The figures of a set: acceptance with its interval, WER, intent accuracy, slot F1; false acceptance.

    ``recordings`` and ``speakers`` are those of commands. Of those outside the bot's domain, ``outside`` in number,
    ``false_accepts`` is the share in which any intent was understood, ``false_orders`` that in which a slot was filled.
    """
    outside = [h for r, h in zip(recordings, heard, strict=True) if not r.intent]
    pairs = [(r, h) for r, h in zip(recordings, heard, strict=True) if r.intent]
    report: dict[str, Any] = {"recordings": len(pairs), "speakers": len({r.speaker for r, _ in pairs})}
    if outside:
        report |= {
            "outside": len(outside),
            "false_accepts": round(float(np.mean([bool(h.intent) for h in outside])), 4),
            "false_orders": round(float(np.mean([bool(h.slots) for h in outside])), 4),
        }
    return {**_command_figures([r for r, _ in pairs], [h for _, h in pairs]), **report} if pairs else report


def _command_figures(recordings: Sequence[Recording], heard: Sequence[Heard]) -> dict[str, Any]:
    pairs = list(zip(recordings, heard, strict=True))
    texts = [(r.text.split(), h.text.split()) if r.text else ([], []) for r, h in pairs]
    counts = {
        "command_acceptance": ([(int(understood(r, h)), 1) for r, h in pairs], 0.0),
        "wer": ([(edit_distance(said, got), len(said)) for said, got in texts], 0.0),
        "intent_accuracy": ([(int(r.intent == h.intent), 1) for r, h in pairs], 0.0),
        "slot_f1": ([slot_counts(r.slots, h.slots) for r, h in pairs], 1.0),
    }
    found: dict[str, Any] = {}
    for name, (counted, empty) in counts.items():
        found[name], found[f"{name}_interval"] = clustered(counted, [r.speaker for r in recordings], empty=empty)
    return {**found, "one_turn": round(float(np.mean([h.turns == 1 for h in heard])), 4)}


def listener_of(bot_name: str, engine: Engine, release: Release, clients: Clients | None = None) -> Listener:
    """The ear of a bot's release; ``clients`` may be others than the repository's."""
    site = settings()
    clients = clients or ClientPool(site.repo_dir, engine)
    stages = Stages(load_bot(bot_name, site), clients, release.stages, None)
    return Listener(stages, site.end_of_turn_ms)


async def evaluate(args: argparse.Namespace) -> dict[str, Any]:
    """Score a manifest with the bot's release."""
    site = settings()
    speakers = [name for name in args.speakers.split(",") if name]
    recordings = of_speakers(read_recordings(args.manifest), speakers, args.manifest)
    release = release_of(site, args.bot, args.release)
    condition, noise = Condition(args.snr, args.loss, args.gain, args.codec), read_noise(args.noise)
    async with OnnxEngine(site.repo_dir, Trust.of(site)) as engine:
        listener = listener_of(args.bot, engine, release)
        heard = []
        with progress("slu", len(recordings)) as bar:
            for recording in recordings:
                pcm = condition.apply(recording.samples(CALL_RATE), noise, recording.audio)
                heard.append(await listener.hear(pcm))
                bar.advance()
    return {
        **figures(recordings, heard),
        "bot": args.bot, "codec": args.codec, "condition": condition.name,
        "release": {"number": release.number, **{s: f"{v.model}/{v.version}" for s, v in release.stages.items()}},
        "learned_from": sum(learned_from(site.repo_dir, release.stages["stt"], recordings)),
        "misses": misses(recordings, heard),
    }  # fmt: skip


def learned_from(repo: Path, ref: StageVersion, recordings: Sequence[Recording]) -> list[bool]:
    """Which recordings a version learned from, or chose its weights by: all that it knows but its own test rows."""
    known = read_utterances(repo / ref.model / str(ref.version))
    learned = {row.sha256 for row in known.rows if row.split != "test"} if known else set()
    return [not learned.isdisjoint(recording_digests(recording.path)) for recording in recordings]


def misses(recordings: Sequence[Recording], heard: Sequence[Heard]) -> list[dict[str, Any]]:
    """What was not understood as it was meant."""
    return [
        {
            "audio": r.audio, "speaker": r.speaker, "said": r.text, "meant": dict(r.slots),
            "heard": h.text, "intent": h.intent, "slots": h.slots, "turns": h.turns,
        }
        for r, h in zip(recordings, heard, strict=True)
        if not understood(r, h)
    ]  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, score, print and write."""
    parser = ArgumentParser(prog="parley evaluate slu", description=__doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="recordings, as JSON lines")
    parser.add_argument("--bot", default="barista")
    parser.add_argument("--release", default="champion", help="champion, candidate, previous, or a release's number")
    parser.add_argument("--codec", choices=("ulaw", "alaw", "none"), default="ulaw")
    parser.add_argument("--noise", type=Path, help="a recording of noise, needed with --snr")
    parser.add_argument("--snr", type=float, help="active speech over the noise, dB")
    parser.add_argument("--loss", type=float, default=0.0, help="share of packets lost and concealed, 0 to 1")
    parser.add_argument("--gain", type=float, default=0.0, help="dB")
    parser.add_argument("--speakers", default="", help="only these, separated by commas")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if (args.snr is None) != (args.noise is None):
        raise ParleyError("--noise and --snr belong together", where="parley evaluate slu", mend="give both or neither")
    report = asyncio.run(evaluate(args))
    for name in (*FIGURES, "one_turn", "recordings", "speakers", *_OUTSIDE):
        if name in report:
            low, high = report.get(f"{name}_interval", (None, None))
            print(f"{name} {report[name]}" + (f" (95 % by speaker: {low} to {high})" if low is not None else ""))
    if known := report["learned_from"]:
        print(f"The STT learned from {known} of these recordings: how it does with other callers, these cannot tell.")
    if args.json:
        write_json(args.json, report)
    return 0
