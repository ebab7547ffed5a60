"""A speech dataset on disk: rows named by what they hold, one manifest, one digest.

    dataset = load_split(Path("datasets/barista"), fold="0", seed=7)
    pcm = dataset.heard(dataset.split("test")[0])     # int16 [n], 8 kHz

A row's name is made of its content (:mod:`models.dataset_making`), and the manifest lists rows in the order of their
names. So the manifest's SHA-256 names the set of rows, and removing some changes no other row: not its name, its file,
its split or its line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from models.channel import Channel, apply
from models.splits import fold_split, share_of
from parley.audio import TELEPHONE_RATE, Pcm, read_audio
from parley.errors import ParleyError
from parley.recordings import AROUND_S
from parley.text_files import parse_json, read_json, read_text, split_lines

MANIFEST = "dataset.jsonl"
SUMMARY = "dataset.json"
WITHOUT = "without:"
"""A fold of this and the names of recorded speakers, a plus between them: tested on those, trained on all others."""
_MAKE = "make it: parley dataset --bot NAME --out DIR"


@dataclass(frozen=True)
class Row:
    """One utterance of a dataset."""

    id: str
    """Names the content: ``rec-`` and 16 hex digits, for synthetic callers ``syn-``, ``foreign-`` or ``alone-``.

    Datasets made before rows were named so have a number there."""
    audio: str
    """File, relative to the dataset folder."""
    sha256: str
    """Of that file: by this the catalogue knows the utterance."""
    duration_s: float
    speaker: str
    split: str
    source: str
    """``synthetic`` or ``recording``."""
    text: str | None
    intent: str
    slots: dict[str, str]
    speech_start_s: float
    speech_end_s: float
    channel: dict[str, Any] = field(default_factory=dict)
    """The row's telephone line, as :meth:`models.channel.Channel.record` gives it."""
    subject: str = ""
    """The pseudonym of the person who speaks, where the recordings name it."""


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk."""

    path: Path
    digest: str
    """SHA-256 of the manifest."""
    rows: tuple[Row, ...]
    licence: str = ""
    bot: str = ""
    """Whose sentences it holds."""

    def split(self, name: str, source: str | None = None) -> list[Row]:
        """The rows of a split, of one source if given."""
        return [r for r in self.rows if r.split == name and source in (None, r.source)]

    def for_folds(self, folds: Sequence[int], seed: int) -> Dataset:
        """The same rows with the recorded speakers split for the cross-validation's ``folds``.

        With several, training hears only whom each of them may hear: the beginning that those folds share.
        """

        def split(row: Row) -> str:
            splits = {fold_split(row.speaker, seed, fold) for fold in folds}
            return next(name for name in ("test", "dev", "train") if name in splits)

        return self._resplit(split)

    def without(self, speakers: Sequence[str], seed: int) -> Dataset:
        """The same rows with some recorded speakers to test on; a tenth of everybody else's recordings is dev.

        Raises:
            ParleyError: nobody of such a name was recorded.
        """
        known = sorted({r.speaker for r in self.rows if r.source == "recording"})
        for speaker in speakers:
            if speaker not in known:
                mend = f"recorded speakers: {', '.join(known[:8]) or 'none'}"
                raise ParleyError(f"no recordings of {speaker!r}", where=str(self.path), mend=mend)

        def split(row: Row) -> str:
            return "test" if row.speaker in speakers else "dev" if share_of(row.id, seed) < 0.1 else "train"

        return self._resplit(split)

    def for_release(self) -> Dataset:
        """The same rows with every recorded speaker to train on: nothing is left to choose or to measure by."""
        return self._resplit(lambda row: "train")

    def _resplit(self, split: Callable[[Row], str]) -> Dataset:
        """The same rows, the recorded ones split otherwise."""
        return replace(
            self, rows=tuple(replace(r, split=split(r)) if r.source == "recording" else r for r in self.rows)
        )

    def dry(self, row: Row) -> Pcm:
        """The stored audio, before any line: int16 ``[n]``, 8 kHz."""
        return read_audio(self.path / row.audio)

    def heard(self, row: Row) -> Pcm:
        """The audio through the row's own line: int16 ``[n]``, 8 kHz."""
        return apply(self.dry(row), Channel(**row.channel))


def speech_of(pcm: Pcm, row: Row) -> Pcm:
    """A row's speech in its audio, 300 ms around it, silence where there is less: no call begins within a word."""
    start, end = (round(s * TELEPHONE_RATE) for s in (row.speech_start_s - AROUND_S, row.speech_end_s + AROUND_S))
    return np.pad(pcm[max(0, start) : max(0, end)], (max(0, -start), max(0, end - len(pcm))))


def load_dataset(path: Path | str) -> Dataset:
    """Open a dataset.

    Raises:
        ParleyError: there is none, its manifest is not what its digest says, or a line is no row.
    """
    path = Path(path)
    manifest = path / MANIFEST
    if not (path / SUMMARY).is_file() or not manifest.is_file():
        raise ParleyError("no finished dataset here", where=str(path), mend=_MAKE)
    summary = read_json(path / SUMMARY)
    if not isinstance(summary, dict) or not isinstance(summary.get("digest"), str):
        raise ParleyError("names no dataset", where=str(path / SUMMARY), mend=_MAKE)
    text = read_text(manifest)
    if sha256(text.encode()).hexdigest() != summary["digest"]:
        raise ParleyError("manifest does not match its digest", where=str(manifest), mend="make the dataset again")
    rows = tuple(_row(line, f"{manifest}:{number}") for number, line in enumerate(split_lines(text), start=1))
    return Dataset(path, summary["digest"], rows, summary.get("licence", ""), summary.get("bot", ""))


def _row(line: str, where: str) -> Row:
    try:
        return Row(**parse_json(line, where))
    except TypeError:
        raise ParleyError("is no row of a dataset", where=where, mend="make the dataset again") from None


def check_bot(dataset: Dataset, bot: str) -> None:
    """A model learns from its own bot's dataset.

    Raises:
        ParleyError: the dataset is another bot's; names both.
    """
    if dataset.bot != bot:
        raise ParleyError(
            f"a dataset of bot {dataset.bot or 'unknown'}, the model is for {bot}",
            where=str(dataset.path / SUMMARY),
            mend=f"make one: parley dataset --bot {bot} --out DIR",
        )


def load_split(path: Path | str, fold: str, seed: int) -> Dataset:
    """A dataset as a run splits it.

    ``none`` as its manifest says, ``all`` for a release, ``synthetic`` without recordings, ``without:NAME`` to test
    on one speaker (or several, a plus between them), else a fold's number, or the numbers of several.
    """
    dataset = load_dataset(path)
    if fold == "synthetic":
        return replace(dataset, rows=tuple(r for r in dataset.rows if r.source == "synthetic"))
    if fold == "all":
        return dataset.for_release()
    if fold.startswith(WITHOUT):
        named = fold.removeprefix(WITHOUT)
        # A number is a name, too, and begins with a plus.
        return dataset.without([named] if named in {r.speaker for r in dataset.rows} else named.split("+"), seed)
    return dataset if fold == "none" else dataset.for_folds([int(n) for n in fold.split("+")], seed)
