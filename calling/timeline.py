"""A call as a picture: both voices over time, what was understood, what was answered, and how long the answer took."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from calling.recorder import CallRecorder
from calling.report import CallEvent

_CALLER, _BOT, _WAIT = "#2b6cb0", "#c05621", "#d69e2e"


def draw_timeline(recorded: CallRecorder, events: Sequence[CallEvent], path: Path, title: str = "") -> None:
    """Draw a call as a PNG file.

    Args:
        recorded: both voices.
        events: the call's events; their times are seconds on the recording's clock.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    stereo, rate = recorded.stereo(), recorded.rate
    seconds = max(1.0, len(stereo) / rate)
    figure = Figure(figsize=(max(8.0, min(40.0, seconds * 1.1)), 4.4), dpi=110)
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(2, 1, sharex=True)
    for axis, channel, name, colour in zip(axes, (0, 1), ("caller", "bot"), (_CALLER, _BOT), strict=True):
        times, low, high = _envelope(stereo[:, channel], rate)
        axis.fill_between(times, low, high, color=colour, linewidth=0)
        axis.set_ylim(-1.6, 1.9)
        axis.set_yticks([])
        axis.set_ylabel(name, color=colour)
        axis.spines[["top", "right", "left"]].set_visible(False)
    _annotate(axes, events)
    axes[1].set_xlabel("seconds")
    axes[1].set_xlim(0, seconds)
    axes[0].set_title(title, loc="left", fontsize=10)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _annotate(axes: Any, events: Sequence[CallEvent]) -> None:
    for event in events:
        if event.kind == "transcript":
            start, end = event.data["start_ms"] / 1000, event.data["end_ms"] / 1000
            axes[0].axvspan(start, end, color=_CALLER, alpha=0.12)
            text = event.data["text"] if event.data["accepted"] else f"({event.data['text']})"
            axes[0].text(start, 1.75, textwrap.fill(text, 34), fontsize=7, va="top")
        elif event.kind == "reply":
            axes[1].text(event.at_s, 1.75, textwrap.fill(event.data["text"], 38), fontsize=7, va="top")
        elif event.kind == "answer":
            wait_s = event.data["voice_to_voice_ms"] / 1000
            axes[1].axvspan(event.at_s - wait_s, event.at_s, color=_WAIT, alpha=0.35)
            axes[1].text(event.at_s, -1.5, f"{event.data['voice_to_voice_ms']:.0f} ms", fontsize=7, ha="right")
        elif event.kind == "clear":
            for axis in axes:
                axis.axvline(event.at_s, color="#9b2c2c", linestyle=":")


def _envelope(pcm: NDArray[np.int16], rate: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Lowest and highest sample of every 10 ms, -1 to 1, and their times in seconds."""
    block = rate // 100
    blocks = pcm[: len(pcm) // block * block].reshape(-1, block).astype(np.float32)
    if not len(blocks):
        return np.zeros(1), np.zeros(1), np.zeros(1)
    scale = max(1000.0, float(np.abs(blocks).max()))
    return np.arange(len(blocks)) * block / rate, blocks.min(axis=1) / scale, blocks.max(axis=1) / scale
