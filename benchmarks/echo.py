"""``python -m benchmarks.echo --manifest M --out DIR``: the bot's own voice on the line, with and without the defence.

The bot's release says its greeting and a question. First nobody answers, and its voice comes back: what interrupts it,
what is taken for words. Then recorded callers talk over it, at its level and below, with and without an echo: when the
bot is interrupted, and what is understood of them. Last, what a frame costs. ``--every 1`` takes every speaker's first
recording; the defence was tuned on every second speaker (the first, the third, ... by name), who are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from judging.slu import Listener, understood
from models.channel import active_rms
from models.pool import ClientPool
from models.run_directory import environment, git_lineage
from orchestrator.echo import EchoGuard
from orchestrator.services import Script
from orchestrator.stages import Stages
from parley.arguments import ArgumentParser
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm, ms_to_samples
from parley.bot import load_bot
from parley.bot.replies import realise
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.g711 import ulaw_decode, ulaw_encode
from parley.progress import progress
from parley.recordings import Recording, read_recordings
from parley.serving.onnx_engine import OnnxEngine
from parley.serving.trust import Trust
from parley.settings import settings
from parley.table import aligned
from registry.reading import release_of

LEVELS_DB, DELAYS_MS, NOISES_DBFS = (-10, -20, -30, -36), (0, 160, 400), (-100, -60)
CALLER_DB, OVER_DB = (0, -10, -20), (None, -20, -36)
SPEAKS_AT_S = 2.2
"""When the callers begin, in the middle of the greeting."""
_AFTER_S = 1.0


@dataclass(frozen=True)
class Echo:
    """How a line returns what is sent."""

    path: str
    """``line`` (a delay), ``hybrid`` (20 ms) or ``room`` (100 ms, half of it reverberation)."""
    db: float | None
    """Relative to what was sent; None returns nothing."""
    delay_ms: int
    noise_dbfs: float = -60

    def impulse(self) -> NDArray[np.float64]:
        """Its impulse response, ``[n]``."""
        count = {"line": 1, "hybrid": ms_to_samples(20), "room": ms_to_samples(100)}[self.path]
        path = np.random.default_rng(3).standard_normal(count) * np.exp(-np.arange(count) / (count / 5))
        path[0] = np.sqrt(np.sum(path[1:] ** 2)) or 1.0
        gain = 0.0 if self.db is None else 10 ** (self.db / 20)
        return np.asarray(path * gain / np.sqrt(np.sum(path**2)))


class Bot:
    """A bot that speaks, on a line that returns it; see :class:`judging.slu.TalkingBot`."""

    def __init__(self, said: Pcm, echo: Echo, *, guarded: bool) -> None:
        self.own_voice = False
        self.interrupted_at: int | None = None
        self.changed = 0
        """Samples that the defence changed."""
        self.seconds = 0.0
        """Time that it took."""
        self._guard = EchoGuard() if guarded else None
        self._until = len(said)
        self._said = ulaw_decode(ulaw_encode(said)).astype(np.float64)
        self._echo, self._path = echo, echo.impulse()
        self._rng = np.random.default_rng(7)
        self._now = 0
        if self._guard is not None:
            self._guard.sent.play(ulaw_decode(ulaw_encode(said)))

    @property
    def speaking(self) -> bool:
        """See :class:`judging.slu.TalkingBot`."""
        return self._now - FRAME_SAMPLES < self._until

    def line(self, frame: Pcm) -> Pcm:
        """See :class:`judging.slu.TalkingBot`."""
        first = self._now - ms_to_samples(self._echo.delay_ms) - len(self._path) + 1
        said = self._said[: self._until]
        heard = np.zeros(FRAME_SAMPLES + len(self._path) - 1)
        known = said[max(0, first) : max(0, first + len(heard))]
        heard[max(0, -first) : max(0, -first) + len(known)] = known
        wave = frame + np.convolve(heard, self._path, "valid")
        wave += self._rng.standard_normal(FRAME_SAMPLES) * 32768 * 10 ** (self._echo.noise_dbfs / 20)
        came = ulaw_decode(ulaw_encode(np.clip(np.round(wave), -32768, 32767).astype(np.int16)))
        self._now += FRAME_SAMPLES
        if self._guard is None:
            return came
        began = time.thread_time()
        clean = self._guard.clean(came)
        self.seconds += time.thread_time() - began
        self.own_voice = self._guard.revealed
        self.changed += int(np.count_nonzero(clean != came))
        return clean

    def interrupt(self) -> None:
        """See :class:`judging.slu.TalkingBot`."""
        self.interrupted_at = self._now if self.interrupted_at is None else self.interrupted_at
        self._until = min(self._until, self._now)
        if self._guard is not None:
            self._guard.sent.clear()


async def say(stages: Stages, texts: Sequence[str]) -> Pcm:
    """The bot's voice saying texts one after the other, int16 ``[n]``."""
    return np.concatenate([piece.value.pcm for text in texts async for piece in stages.speak(text)])


async def alone(listener: Listener, said: Pcm, quick: bool) -> list[dict[str, Any]]:
    """Nobody speaks: a row for each kind of line and level, with and without the defence."""
    paths = ("line", "room") if quick else ("line", "hybrid", "room")
    rows = []
    lines = list(product(paths, LEVELS_DB, (False, True)))
    with progress("nobody speaks", len(lines)) as bar:
        for path, db, guarded in lines:
            row: dict[str, Any] = {
                "path": path,
                "echo_db": db,
                "guarded": guarded,
                "calls": 0,
                "interrupted": 0,
                "with_words": 0,
            }
            for delay, noise in product(DELAYS_MS, NOISES_DBFS):
                bot = Bot(said, Echo(path, db, delay, noise), guarded=guarded)
                turns = await listener.listen(np.zeros(len(said) + int(_AFTER_S * TELEPHONE_RATE), np.int16), bot)
                row["calls"] += 1
                row["interrupted"] += bot.interrupted_at is not None
                row["with_words"] += bool(turns)
            rows.append(row)
            bar.advance()
    return rows


def caller(recording: Recording, marks: tuple[float, float], said: Pcm, db: float) -> Pcm:
    """One recording's speech, begun at ``SPEAKS_AT_S``, at a level relative to the bot's. int16 ``[n]``."""
    pcm = recording.samples(TELEPHONE_RATE).astype(np.float64)
    begin, end = (round(at_s * TELEPHONE_RATE) for at_s in marks)
    speech = pcm[begin : min(len(pcm), end + ms_to_samples(200))]
    speech *= active_rms(said) / active_rms(speech) * 10 ** (db / 20)
    return np.clip(np.concatenate([np.zeros(round(SPEAKS_AT_S * TELEPHONE_RATE)), speech]), -32768, 32767).astype(
        np.int16
    )


async def over(listener: Listener, said: Pcm, recordings: Sequence[Recording]) -> list[dict[str, Any]]:
    """Callers talk over the bot: a row a level and echo, with the defence beside the same line without either."""
    found = []
    marked = [(recording, marks) for recording in recordings if (marks := recording.marks)]
    with progress("callers", len(CALLER_DB) * len(marked)) as bar:
        for db in CALLER_DB:
            results: dict[tuple[int | None, bool], list[tuple[Bot, bool]]] = {}
            for recording, marks in marked:
                pcm = caller(recording, marks, said, db)
                for echo_db, guarded in ((None, False), *((level, True) for level in OVER_DB), (-20, False)):
                    bot = Bot(said, Echo("room", echo_db, 160), guarded=guarded)
                    heard = await listener.understand(await listener.listen(pcm, bot))
                    results.setdefault((echo_db, guarded), []).append((bot, understood(recording, heard)))
                bar.advance()
            plain = results[None, False]
            for (level, with_guard), calls in results.items():
                line = {"caller_db": db, "echo_db": level, "guarded": with_guard}
                found.append({**line, **_beside(calls, plain)})
    return found


def _beside(calls: Sequence[tuple[Bot, bool]], plain: Sequence[tuple[Bot, bool]]) -> dict[str, Any]:
    early = round(SPEAKS_AT_S * TELEPHONE_RATE)
    times = [(bot.interrupted_at, other.interrupted_at) for (bot, _), (other, _) in zip(calls, plain, strict=True)]
    later = [(a - b) * 1000 / TELEPHONE_RATE for a, b in times if a is not None and b is not None and a >= early]
    p50, p90 = (round(float(x)) for x in np.percentile(later, [50, 90])) if later else (None, None)
    return {
        "calls": len(calls), "commands": sum(right for _, right in calls),
        "false": sum(a is not None and a < early for a, _ in times),
        "missed": sum(a is None and b is not None for a, b in times),
        "later_p50_ms": p50, "later_p90_ms": p90,
        "samples_changed": sum(bot.changed for bot, _ in calls),
    }  # fmt: skip


def cost(said: Pcm) -> dict[str, float]:
    """Microseconds of a frame: with an echo, with a caller on a line without one, and with noise only."""
    rng = np.random.default_rng(1)
    voice = np.resize(np.roll(said, 4000)[::-1], len(said))
    silent = (rng.standard_normal(len(said)) * 30).astype(np.int16)
    lines = {"echo": (silent * 0, -20.0), "caller, no echo": (voice, None), "noise, no echo": (silent, None)}
    found = {}
    for name, (pcm, db) in lines.items():
        bot = Bot(said, Echo("room", db, 160), guarded=True)
        frames = pcm[: len(pcm) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
        for frame in frames:
            bot.line(frame)
        found[name] = round(bot.seconds / len(frames) * 1e6, 1)
    return found


def table(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text, under a title."""
    cells = [tuple(rows[0]), *(tuple("-" if value is None else str(value) for value in row.values()) for row in rows)]
    return f"{title}\n{aligned(cells)}"


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything, with the bot's champion."""
    site = settings()
    bot, release = load_bot(args.bot, site), release_of(site, args.bot)
    recorded = [recording for recording in read_recordings(args.manifest) if recording.marks and recording.intent]
    speakers = sorted({recording.speaker for recording in recorded})[1::2][:: args.every]
    recordings = [next(one for one in recorded if one.speaker == speaker) for speaker in speakers]
    if not recordings:
        raise ParleyError("no recordings of commands with their speech marked", where=str(args.manifest),
                          mend="speech_start, speech_end, intent, slots (docs/data.md)")  # fmt: skip
    async with OnnxEngine(site.repo_dir, Trust.of(site)) as engine:
        prompts = Script.of(bot).prompts
        stages = Stages(bot, ClientPool(site.repo_dir, engine), release.stages, prompts)
        said = await say(stages, [realise(bot, "greet", {})])
        listener = Listener(stages, site.end_of_turn_ms)
        report: dict[str, Any] = {
            "command": " ".join(["python -m benchmarks.echo", *sys.argv[1:]]), "environment": environment(),
            **git_lineage(), "speakers": speakers, "alone": await alone(listener, said, args.every > 1),
            "callers": await over(listener, said, recordings), "frame_us": cost(said),
        }  # fmt: skip
    return report


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, print and write."""
    parser = ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--manifest", type=Path, required=True, help="recordings, as JSON lines, with their speech marked"
    )
    parser.add_argument("--bot", default="barista")
    parser.add_argument("--every", type=int, default=3, help="take every n-th of the speakers that measure")
    parser.add_argument("--out", type=Path, help="folder of echo.json")
    args = parser.parse_args(argv)
    report = asyncio.run(measure(args))
    print(
        table("Nobody speaks: 6 calls each, delays 0, 160, 400 ms, silent line and noise of -60 dBFS", report["alone"])
    )
    print(table("Callers over the bot: 'later' is beside a line with neither echo nor defence", report["callers"]))
    print(f"Microseconds of a frame: {report['frame_us']}")
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        write_json(args.out / "echo.json", report)


if __name__ == "__main__":
    exit_with(main)
