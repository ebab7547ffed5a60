"""A caller made by a synthesiser, for demonstrations and benchmarks: he orders a coffee over a noisy line."""

from __future__ import annotations

from pathlib import Path

from models.callers import Voice, synthesise
from models.channel import Channel, apply
from parley.audio import write_wav

SAID = (
    "i'd like a medium latte with skim milk",
    "no make it a large",
    "yes that's right",
    "that's all thank you",
)


def synthetic_caller(folder: Path) -> list[Path]:
    """What this caller says, spoken by a voice of the dataset's test split, over a noisy line.

    Raises:
        ParleyError: the synthesiser is missing; names the package.
    """
    voice, line = Voice("espeak", "en-us+Michael"), Channel(noise="pink", snr_db=25.0, seed=11)
    files = []
    for number, text in enumerate(SAID, start=1):
        path = folder / f"caller-{number}.wav"
        write_wav(path, apply(synthesise(text, voice), line))
        files.append(path)
    return files
