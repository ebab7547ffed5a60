"""Turns of real callers: ``python -m benchmarks.quality.turns --manifest M --noise FILE [--silero FILE] --out DIR``.

Voice activity and turn taking alone, on recordings whose speech is marked: what is missed, what is taken for speech
beside it, utterances cut in two, starts that are cut off and how far the end is from the mark. Three detectors feed the
same turn taking: ``both`` is what answers calls (:mod:`orchestrator.vad`), ``energy`` its half without the network, and
``silero``, where a file is given, the network that Pipecat and LiveKit Agents listen by (``silero_vad.onnx`` of the
package pipecat-ai), at its usual thresholds 0.5 and 0.35.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from judging.conditions import CLEAN, NOISY, Condition, read_noise
from models.run_directory import environment, git_lineage
from models.vad.client import power
from orchestrator.energy import EnergyDetector, frame_levels
from orchestrator.turn_taking import EndOfTurn, TurnTaker
from orchestrator.vad import Vad, VoiceActivity
from parley.arguments import ArgumentParser
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE, Pcm, ms_to_samples
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_atomic, write_json
from parley.progress import progress
from parley.recordings import Recording, read_recordings

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_TAIL_S = 1.5
_COLUMNS = {
    "missed": "missed", "cut": "cut in two", "beside": "turns beside speech", "clipped": "starts cut off",
    "early": "ends > 250 ms early", "end_p50_ms": "end, ms p50", "end_p90_ms": "p90",
}  # fmt: skip


class ByEnergy:
    """The detector by energy alone."""

    def __init__(self) -> None:
        self._detector = EnergyDetector()

    def push(self, pcm: Pcm) -> list[bool]:
        """See :class:`orchestrator.vad.VoiceActivity`."""
        spectrum = power(pcm.reshape(-1, FRAME_SAMPLES))
        return [self._detector.decide(db, row) for db, row in zip(frame_levels(spectrum), spectrum, strict=True)]


class Silero:
    """Silero VAD (v5 and v6 graphs): windows of 32 ms with 4 ms before them; a frame has the last window's answer."""

    _WINDOW, _BEFORE = 256, 32
    _BEGIN, _END = 0.5, 0.35

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session
        self._state = np.zeros((2, 1, 128), dtype=np.float32)
        self._before = np.zeros(self._BEFORE, dtype=np.float32)
        self._waiting = np.zeros(0, dtype=np.float32)
        self._active = False

    def push(self, pcm: Pcm) -> list[bool]:
        """See :class:`orchestrator.vad.VoiceActivity`."""
        decided = []
        for frame in pcm.reshape(-1, FRAME_SAMPLES):
            self._waiting = np.concatenate([self._waiting, frame.astype(np.float32) / 32768])
            while len(self._waiting) >= self._WINDOW:
                window, self._waiting = self._waiting[: self._WINDOW], self._waiting[self._WINDOW :]
                self._active = self._probability(window) >= (self._END if self._active else self._BEGIN)
            decided.append(self._active)
        return decided

    def _probability(self, window: np.ndarray[Any, np.dtype[np.float32]]) -> float:
        feed = {"input": np.concatenate([self._before, window])[None], "state": self._state,
                "sr": np.array(TELEPHONE_RATE, dtype=np.int64)}  # fmt: skip
        self._before = window[-self._BEFORE :]
        out, self._state = self._session.run(None, feed)[:2]
        return float(np.ravel(out)[0])


def turns_of(pcm: Pcm, detector: VoiceActivity) -> list[tuple[float, float]]:
    """Beginning of speech (pre-roll taken off) and end of each turn, in seconds."""
    taker = TurnTaker(vad=detector)
    audio = np.concatenate([pcm, np.zeros(int(_TAIL_S * TELEPHONE_RATE), np.int16)])
    ends = [e for e in taker.push(audio, bot_speaking=False) if isinstance(e, EndOfTurn)]
    before = ms_to_samples(taker.params.preroll_ms)
    return [((e.start + before) / TELEPHONE_RATE, e.speech_end / TELEPHONE_RATE) for e in ends]


def figures(
    marks: Sequence[tuple[float, float]], found: Sequence[Sequence[tuple[float, float]]], preroll_s: float
) -> dict[str, Any]:
    """Counts over recordings, of their marked speech and the turns found (seconds), and the last turn's end."""
    counts = dict.fromkeys(("missed", "cut", "beside", "clipped", "early"), 0)
    late: list[float] = []
    for (begin, end), turns in zip(marks, found, strict=True):
        on = [turn for turn in turns if turn[1] > begin and turn[0] < end]
        counts["beside"] += len(turns) - len(on)
        counts["cut"] += len(on) > 1
        if not on:
            counts["missed"] += 1
            continue
        counts["clipped"] += on[0][0] - preroll_s > begin + 0.02
        late.append(1000 * (on[-1][1] - end))
        counts["early"] += late[-1] < -250
    p50, p90 = np.percentile(late, [50, 90]) if late else (float("nan"), float("nan"))
    return {"recordings": len(marks), **counts, "end_p50_ms": round(float(p50)), "end_p90_ms": round(float(p90))}


def measure(
    recordings: Sequence[Recording],
    condition: Condition,
    noise: NDArray[np.float32] | None,
    make: Callable[[], VoiceActivity],
) -> dict[str, Any]:
    """One detector under one condition."""
    marked = [(recording, marks) for recording in recordings if (marks := recording.marks)]
    heard = [condition.apply(recording.samples(TELEPHONE_RATE), noise, recording.audio) for recording, _ in marked]
    preroll_s = TurnTaker().params.preroll_ms / 1000
    return figures([marks for _, marks in marked], [turns_of(pcm, make()) for pcm in heard], preroll_s)


def markdown(report: dict[str, Any]) -> str:
    """The table, with the command above it."""
    lines = ["# Turns of real callers", "", f"`{report['command']}`  ", f"commit {report.get('git_commit')}", ""]
    lines += ["| condition | detector | " + " | ".join(_COLUMNS.values()) + " |", "|---" * (len(_COLUMNS) + 2) + "|"]
    for condition, systems in report["results"].items():
        for system, row in systems.items():
            lines.append(f"| {condition} | {system} | " + " | ".join(str(row[key]) for key in _COLUMNS) + " |")
    return "\n".join([*lines, "", f"{report['recordings']} recordings of {report['speakers']} people.", ""])


def _plot(report: dict[str, Any], path: Path) -> None:
    """Four figures over the SNR, a line a detector; the clean line is the point at the right."""
    shown = ("beside", "cut", "early", "end_p50_ms")
    figure, axes = plt.subplots(1, len(shown), figsize=(14, 3.5))
    rows = [(float(c.split()[1]) if c != CLEAN.name else 30.0, found) for c, found in report["results"].items()]
    rows.sort(key=lambda row: row[0])
    for key, panel in zip(shown, axes, strict=True):
        for system in rows[0][1]:
            panel.plot([x for x, _ in rows], [found[system][key] for _, found in rows], marker="o", label=system)
        panel.set(title=_COLUMNS[key], xlabel="SNR, dB (30: clean)")
        panel.grid(alpha=0.3)
    axes[0].legend()
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, write and print the table."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument(
        "--manifest", type=Path, required=True, help="recordings, as JSON lines, with their speech marked"
    )
    parser.add_argument("--noise", type=Path, help="a place's noise; its second half is used")
    parser.add_argument("--silero", type=Path, help="silero_vad.onnx")
    parser.add_argument("--out", type=Path, required=True, help="folder of turns.json, turns.md, turns.png")
    args = parser.parse_args(argv)
    recordings = [recording for recording in read_recordings(args.manifest) if recording.marks]
    if not recordings:
        raise ParleyError("no recording says where its speech is", where=str(args.manifest),
                          mend="speech_start and speech_end, in seconds (docs/data.md)")  # fmt: skip
    makers: dict[str, Callable[[], VoiceActivity]] = {"both": Vad, "energy": ByEnergy}
    if args.silero:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(str(args.silero), options, providers=["CPUExecutionProvider"])
        makers["silero"] = lambda: Silero(session)
    conditions, noise = [CLEAN, *(NOISY if args.noise else ())], read_noise(args.noise, "second")
    report: dict[str, Any] = {
        "command": " ".join(["python -m benchmarks.quality.turns", *sys.argv[1:]]), "environment": environment(),
        **git_lineage(), "recordings": len(recordings), "speakers": len({r.speaker for r in recordings}), "results": {},
    }  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    with progress("turns", len(conditions) * len(makers)) as bar:
        for condition in conditions:
            found = report["results"].setdefault(condition.name, {})
            for name, make in makers.items():
                found[name] = measure(recordings, condition, noise, make)
                bar.advance()
            write_json(args.out / "turns.json", report)
    write_atomic(args.out / "turns.md", markdown(report))
    _plot(report, args.out / "turns.png")
    print(markdown(report))


if __name__ == "__main__":
    exit_with(main)
