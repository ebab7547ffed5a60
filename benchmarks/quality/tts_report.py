"""The voice's report: Markdown and a plot beside the JSON, and samples with their spectrograms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from benchmarks.quality.tts_sentences import Sentence
from benchmarks.quality.tts_voices import OURS, TRAINING, Rendering
from parley.audio import TELEPHONE_RATE, Pcm, write_wav
from parley.files import write_atomic
from parley.progress import progress

matplotlib.use("Agg")
from matplotlib import pyplot as plt

_SIGNAL_ROWS = {
    "hnr_db": "harmonic-to-noise, dB",
    "high_hnr_db": "the same, 2 to 3.8 kHz, dB",
    "clipped_samples": "clipped samples",
    "peak_dbfs": "highest peak, dBFS",
    "dc": "largest offset / rms",
    "end_db": "last 10 ms, dB below speech",
    "ends_in_speech": "utterances that end above -30 dB",
    "lead_ms": "silence before, ms",
    "tail_ms": "silence after, ms",
    "longest_pause_ms": "longest pause inside, ms",
    "floor_db": "noise floor, dB below speech",
    "borders": "piece borders",
    "borders_ranked_high": "of them with a step in the highest 1 %",
}


def write_samples(
    out: Path, sentences: Sequence[Sentence], voices: Mapping[str, Sequence[Rendering]], count: int,
    line: Callable[[Pcm], Pcm],
) -> list[dict[str, str]]:  # fmt: skip
    """Keep ``count`` sentences of every voice, through ``line``, as WAV and spectrogram below ``out``.

    Returns:
        ``label``, ``text``, ``audio`` and ``spectrogram``, the paths relative to ``out``.
    """
    chosen = np.linspace(0, len(sentences) - 1, min(count, len(sentences))).round().astype(int)
    listed = []
    (out / "samples").mkdir(parents=True, exist_ok=True)
    with progress("writing samples", len(chosen) * len(voices)) as bar:
        for n in chosen:
            for name, renderings in voices.items():
                stem = f"samples/{n:03d}-{name}"
                pcm = line(renderings[n].pcm)
                write_wav(out / f"{stem}.wav", pcm)
                _spectrogram(pcm, sentences[n].text, out / f"{stem}.png")
                listed.append({"label": name, "text": sentences[n].text, "audio": f"{stem}.wav",
                               "spectrogram": f"{stem}.png"})  # fmt: skip
                bar.advance()
    return listed


def _spectrogram(pcm: Pcm, title: str, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(7, 2.2))
    quiet = np.random.default_rng(0).normal(0, 1e-6, len(pcm))  # digital silence has no logarithm
    axes.specgram(pcm / 32768.0 + quiet, NFFT=256, Fs=TELEPHONE_RATE, noverlap=216, vmin=-130, vmax=-35, cmap="magma")
    axes.set_title(title[:90], fontsize=8, parse_math=False)  # a price is no formula
    axes.set_ylabel("Hz")
    axes.set_xlabel("s")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)


def write_report(report: dict[str, Any], out: Path) -> str:
    """Write ``tts.md`` and ``tts.png``; returns the Markdown."""
    text = markdown(report)
    write_atomic(out / "tts.md", text)
    _plot(report, out / "tts.png")
    return text


def _percent(figure: dict[str, Any]) -> str:
    low, high = figure["interval"]
    return f"{figure['value']:.1%} ({low:.1%} to {high:.1%})"


def _plain(figure: Any, places: int = 2) -> str:
    if not isinstance(figure, dict):
        return str(figure)
    low, high = figure["interval"]
    return f"{figure['value']:.{places}f} ({low:.{places}f} to {high:.{places}f})"


def markdown(report: dict[str, Any]) -> str:
    """The tables, with the command and the environment above them."""
    lines = ["# The voice", "", f"`{report['command']}`", ""]
    lines += [", ".join(f"{k} {v}" for k, v in report["environment"].items()), ""]
    bundle, kinds = report["bundle"], [s["kind"] for s in report["sentences"]]
    counted = ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))
    lines += [f"{bundle['model']} version {bundle['version']}; {len(kinds)} sentences ({counted}), none among the "
              f"{bundle['sentences_in_corpora']} of the corpora. 95 % intervals by sentences.", ""]  # fmt: skip
    for part in (_recognition, _closeness, _ends, _speed, _signal):
        lines += [*part(report), ""]
    return "\n".join(lines)


def _recognition(report: dict[str, Any]) -> list[str]:
    found = report["recognition"]
    lines = ["## Words understood by PocketSphinx (mu-law)", "", "| | parley | flite | espeak-ng | parley - flite |",
             "|---|---|---|---|---|"]  # fmt: skip
    rows = {f"all, {found['words']} words": {**found["wer"], "difference": found["difference"]}, **found["by_kind"]}
    for name, row in rows.items():
        lines.append(f"| WER, {name} | " + " | ".join(_percent(figure) for figure in row.values()) + " |")
    last = " | ".join(_percent(figure) for figure in found["last_word_wrong"].values())
    return [*lines, f"| last word wrong | {last} | |"]


def _closeness(report: dict[str, Any]) -> list[str]:
    lines = ["## Distance from the training voice", "",
             "| | mel-cepstral distance, dB | F0 correlation | F0 difference, cents | voicing differs |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name, row in report["distance_from_training_voice"].items():
        cells = [_plain(row["mcd_db"]), _plain(row["f0_correlation"]), _plain(row["f0_rmse_cents"], 0)]
        lines.append(f"| {name} | " + " | ".join([*cells, _percent(row["voicing_differs"])]) + " |")
    return lines


def _ends(report: dict[str, Any]) -> list[str]:
    lines = ["## Word ends against forced alignment", "",
             "| | median of absolute differences, ms | 90 % below, ms | median difference, ms | words | not aligned |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    titles = {OURS: "parley, the client's ends", TRAINING: "flite, its own ends (how good the aligner is)"}
    for name, row in report["word_ends"].items():
        cells = [_plain(row["median_abs_ms"], 0), row["p90_abs_ms"], row["median_ms"], row["words"], row["not_aligned"]]
        lines.append(f"| {titles[name]} | " + " | ".join(str(cell) for cell in cells) + " |")
    return lines


def _speed(report: dict[str, Any]) -> list[str]:
    lines = ["## Speed on one core", "", "| | first piece, ms p50 | p95 | real-time factor | sentences |",
             "|---|---|---|---|---|"]  # fmt: skip
    for name, row in report["speed"].items():
        lines.append(f"| {name} | " + " | ".join(str(value) for value in row.values()) + " |")
    return lines


def _signal(report: dict[str, Any]) -> list[str]:
    names = list(report["signal"])
    lines = ["## The signal", "", f"| | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
    for key, title in _SIGNAL_ROWS.items():
        lines.append(f"| {title} | " + " | ".join(_plain(report["signal"][name][key], 1) for name in names) + " |")
    return lines


def _plot(report: dict[str, Any], path: Path) -> None:
    """Word error by kind of sentence, and distance from the training voice."""
    found = report["recognition"]
    groups = {"all": found["wer"], **found["by_kind"]}
    names = list(found["wer"])
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), width_ratios=(3, 1))
    for shift, name in enumerate(names):
        rows = [groups[group][name] for group in groups]
        values = np.array([100 * row["value"] for row in rows])
        bounds = np.array([[100 * b for b in row["interval"]] for row in rows])
        at = np.arange(len(groups)) + 0.25 * (shift - 1)
        sides = np.maximum([values - bounds[:, 0], bounds[:, 1] - values], 0)
        left.bar(at, values, 0.23, yerr=sides, capsize=3, label=name)
    left.set_xticks(range(len(groups)), list(groups))
    left.set_ylabel("words wrong, %")
    left.legend()
    others = report["distance_from_training_voice"]
    right.bar(list(others), [row["mcd_db"]["value"] for row in others.values()])
    right.set_ylabel("mel-cepstral distance, dB")
    for axes in (left, right):
        axes.grid(alpha=0.3, axis="y")
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)
