"""The report of the digits benchmark: ``digits.md``, three plots and a few strings to listen to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import soundfile

from benchmarks.quality.digits_figures import NOTHING
from judging.conditions import CLEAN, GRID, Condition
from models.digits import Spoken
from parley.audio import TELEPHONE_RATE, Pcm
from parley.files import write_atomic

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_TITLES = {
    "loop": "Parley, digits", "bot": "Parley, all that the digits bot understands",
    "call": "Parley, all of it, as a call hears it", "sphinx": "PocketSphinx, digits",
}  # fmt: skip
_SYMBOLS = [*"0123456789", NOTHING]
_ORDER = [condition.name for condition in GRID]


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write ``digits.md`` and the plots that the results allow into ``out``."""
    report = report | {"results": {s: report["results"][s] for s in _TITLES if s in report["results"]}}
    write_atomic(out / "digits.md", markdown(report))
    results, aim = report["results"], str(report["aim_length"])
    if any(CLEAN.name in done for done in results.values()):
        _plot_lengths(results, out / "digits.png")
        shown = next(s for s, done in results.items() if CLEAN.name in done)
        _plot_pairs(results[shown][CLEAN.name]["pairs"], _TITLES[shown], out / "digits-confusion.png")
    if any(row["condition"]["snr_db"] is not None for done in results.values() for row in done.values()):
        _plot_noise(results, aim, out / "digits-noise.png")


def markdown(report: dict[str, Any]) -> str:
    """Tables by condition, length and speaker, with the command and the environment above them."""
    aim = str(report["aim_length"])
    lines = ["# Strings of digits", "", f"`{report['command']}`", ""]
    lines += [", ".join(f"{k} {v}" for k, v in report.get("environment", {}).items()), ""]
    lines += ["Intervals are 95 %: by string; by speaker (they are few: it tells how far they are apart).", ""]
    lines += _table(["system", "condition", "strings", "digit error", "by string", "by speaker", f"strings of {aim}",
                     "string error", "by string", "by speaker", "asked again", "wrong and accepted"],
                    [[_TITLES[s], name, *_cells(row, aim)] for s, done in report["results"].items()
                     for name, row in sorted(done.items(), key=lambda item: _ORDER.index(item[0]))])  # fmt: skip
    clean = {s: done[CLEAN.name] for s, done in report["results"].items() if CLEAN.name in done}
    for title, key in (
        ("Clean, by length", "by_length"),
        ("Clean, by speaker (never heard in training)", "by_speaker"),
    ):
        if not clean:
            continue
        lines += [f"## {title}", ""]
        first = sorted(next(iter(clean.values()))[key], key=lambda name: (int(name) if name.isdigit() else 0, name))
        head = ["", *(f"{_TITLES[s]}: {what}" for s in clean for what in ("digit error", "string error"))]
        lines += _table(
            head, [[name, *(c for row in clean.values() for c in _short(row[key][name]))] for name in first]
        )
    return "\n".join(lines)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rows)] + [""]


def _cells(row: dict[str, Any], aim: str) -> list[str]:
    eight = row["by_length"].get(aim)
    found = [str(row["strings"]), f"{row['digit_error']:.2%}", _bounds(row["digit_error_by_string"]),
             _bounds(row["digit_error_by_speaker"])]  # fmt: skip
    if eight is None:
        return [*found, *[""] * 6]
    return [*found, str(eight["strings"]), f"{eight['string_error']:.1%}", _bounds(eight["string_error_by_string"]),
            _bounds(eight["string_error_by_speaker"]), f"{row['asked_again']:.1%}",
            f"{row['wrong_and_accepted']:.1%}"]  # fmt: skip


def _short(row: dict[str, Any]) -> list[str]:
    return [f"{row['digit_error']:.2%}", f"{row['string_error']:.1%} ({_bounds(row['string_error_by_string'])})"]


def _bounds(interval: Sequence[float]) -> str:
    return f"{interval[0]:.1%} to {interval[1]:.1%}"


def _errorbars(axes: Any, points: Sequence[tuple[float, dict[str, Any]]], label: str) -> None:
    """String errors with their intervals by string."""
    share = [100 * row["string_error"] for _, row in points]
    sides = [[abs(100 * row["string_error_by_string"][i] - s) for (_, row), s in zip(points, share, strict=True)]
             for i in (0, 1)]  # fmt: skip
    axes.errorbar([x for x, _ in points], share, yerr=sides, marker="o", capsize=3, label=label)


def _save(figure: Any, axes: Any, path: Path, across: str, up: str) -> None:
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _plot_lengths(results: dict[str, Any], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4))
    for system, done in results.items():
        if CLEAN.name in done:
            points = sorted((int(n), row) for n, row in done[CLEAN.name]["by_length"].items())
            _errorbars(axes, points, _TITLES[system])
    axes.plot(8, 6, marker="*", markersize=12, color="black", linestyle="none", label="aim: 6 % at 8 digits")
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, axes, path, "digits in the string, clean mu-law", "strings wrong, %")


def _plot_noise(results: dict[str, Any], aim: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 4))
    for system, done in results.items():
        points = sorted(
            ((r["condition"]["snr_db"], r["by_length"][aim]) for r in done.values() if r["condition"]["snr_db"]),
            key=lambda point: point[0],
        )
        if points:
            _errorbars(axes, points, _TITLES[system])
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, axes, path, "SNR of the place's noise, dB", f"strings of {aim} wrong, %")


def _plot_pairs(pairs: dict[str, int], title: str, path: Path) -> None:
    """What was heard (columns) for what was said (rows), in per cent of the row."""
    counts = np.zeros((len(_SYMBOLS), len(_SYMBOLS)))
    for pair, n in pairs.items():
        said, heard = pair.split()
        counts[_SYMBOLS.index(said), _SYMBOLS.index(heard)] = n
    shares = 100 * counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    figure, axes = plt.subplots(figsize=(6, 5.5))
    axes.imshow(np.log10(np.maximum(shares, 0.05)), cmap="Blues")
    for (i, j), count in np.ndenumerate(counts):
        if count:
            axes.text(j, i, f"{count:.0f}", ha="center", va="center", fontsize=7, color="white" if i == j else "black")
    axes.set_xticks(range(len(_SYMBOLS)), _SYMBOLS)
    axes.set_yticks(range(len(_SYMBOLS)), _SYMBOLS)
    axes.set_title(f"{title}, clean: counts ({NOTHING}: none)", fontsize=9)
    _save(figure, axes, path, "heard", "said")


async def write_samples(
    ear: Callable[[Spoken, Pcm], Awaitable[tuple[str, bool]]],
    made: Sequence[Spoken],
    noise: Any,
    out: Path,
    aim: int,
    around_s: float,
) -> list[dict[str, str]]:
    """Each speaker's first string of the aim's length, clean and in noise: audio, spectrogram and what was heard."""
    samples = []
    first = {s.speaker: s for s in reversed(made) if len(s.digits) == aim}
    for condition in (CLEAN, Condition(snr_db=12.0)) if noise is not None else (CLEAN,):
        for speaker, spoken in sorted(first.items()):
            pcm = condition.apply(spoken.audio(around_s), noise, spoken.key)
            heard, _ = await ear(spoken, pcm)
            name = f"digits-{speaker}-{'clean' if condition == CLEAN else 'noise'}"
            soundfile.write(str(out / f"{name}.wav"), pcm, TELEPHONE_RATE, subtype="PCM_16")
            _spectrogram(pcm, out / f"{name}.png")
            samples.append({"label": f"{speaker}, {condition.name}", "audio": f"{name}.wav",
                            "spectrogram": f"{name}.png", "text": f"said {spoken.digits}, heard {heard}"})  # fmt: skip
    return samples


def _spectrogram(pcm: Pcm, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 2))
    # A little noise: digital silence has no decibels.
    heard = pcm / 32768 + np.random.default_rng(0).normal(0, 1e-5, len(pcm))
    axes.specgram(heard, NFFT=256, Fs=TELEPHONE_RATE, noverlap=176, cmap="magma")
    _save(figure, axes, path, "s", "Hz")
