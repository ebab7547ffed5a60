"""New utterances from old: pieces of a speaker's own recordings put together (Lam et al. 2021).

A few recorded sentences a person teach a network those sentences. Cut between words and joined in other orders, the
same voice says every word beside every other. The cuts come from a forced alignment by PocketSphinx, whose acoustic
model has never heard anything of ours, so it knows no speaker's split:

    python -m models.stt.splice DATASET      # writes DATASET/words.json
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from models.caller_plans import ALONE
from models.channel import active_rms
from models.dataset import Dataset, Row, load_dataset
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, Pcm
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.text_files import read_json_object

WORDS = "words.json"
_RATE = 16000
_FADE = 80
"""Samples over which two pieces cross: 10 ms."""
_ALONE_S = 0.03
"""Kept around a word that was recorded alone, whose soft ends the energy misses."""
_SEEK = 240
"""A cut moves to the quietest point within 30 ms of the aligned one."""


@dataclass(frozen=True)
class Joining:
    """How pieces become an utterance. Pairs are the lowest and the highest drawn."""

    pieces: tuple[int, int]
    words: tuple[int, int]
    """Of a piece."""
    paused: float
    """Share of the pieces that a pause stands before."""
    pause_s: tuple[float, float]
    level_db: float = 0.0
    """Pieces differ in level by as much up or down."""
    speed: float = 0.0
    """Pieces are played faster or slower by as great a share."""


SENTENCES = Joining(pieces=(2, 5), words=(1, 4), paused=0.25, pause_s=(0.03, 0.35))
STRINGS = Joining(pieces=(1, 16), words=(1, 1), paused=1.0, pause_s=(0.05, 0.4), level_db=4.0, speed=0.08)
"""Of isolated words, which are recordings of one word each: strings of digits or letters as people read them out."""


@dataclass(frozen=True)
class Piece:
    """Words ``first`` to ``last`` (exclusive) of a recording, and where they are cut, in samples."""

    row: Row
    first: int
    last: int
    start: int
    end: int


class Splicer:
    """Draws pieces of one speaker; joins them."""

    def __init__(self, rows: Sequence[Row], audio: dict[str, Pcm], words: dict[str, list[list[Any]]]) -> None:
        self._audio = {r.id: _levelled(audio[r.id]) for r in rows if r.id in words}
        self._cuts = {r.id: _cuts(self._audio[r.id], words[r.id], r.speech_end_s + 0.1) for r in rows if r.id in words}
        by_speaker: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.id in self._cuts and len(self._cuts[row.id]) > 1:
                by_speaker[row.speaker].append(row)
        self._by_speaker = dict(by_speaker)
        self._isolated = {s for s, pool in by_speaker.items() if all(len(self._cuts[r.id]) == 2 for r in pool)}

    def isolated(self, row: Row) -> bool:
        """Whether ``row`` is a word of a speaker who said words one by one: callers say such words in strings."""
        return row.id in self._cuts and row.speaker in self._isolated

    def _joining(self, row: Row) -> Joining:
        return STRINGS if self.isolated(row) else SENTENCES

    def draw(self, row: Row, rng: random.Random) -> list[Piece]:
        """Pieces by the speaker of ``row``, as many as :class:`Joining` says; none if nothing is aligned.

        Of a string's lengths the short ones are drawn more often: as much is learnt from a second of any.
        """
        pool, how = self._by_speaker.get(row.speaker, []), self._joining(row)
        if not pool:
            return []
        count = rng.randint(*how.pieces)
        if self.isolated(row):
            count = rng.randint(how.pieces[0], count)
        return [self._piece(rng.choice(pool), how, rng) for _ in range(count)]

    def _piece(self, row: Row, how: Joining, rng: random.Random) -> Piece:
        cuts = self._cuts[row.id]
        length = min(rng.randint(*how.words), len(cuts) - 1)
        first = rng.randint(0, len(cuts) - 1 - length)
        return Piece(row, first, first + length, cuts[first], cuts[first + length])

    def join(self, pieces: Sequence[Piece], rng: random.Random) -> Pcm:
        """The pieces one after the other, int16, with the pauses, levels and speeds of their :class:`Joining`."""
        out = np.zeros(_FADE, dtype=np.float32)
        how = self._joining(pieces[0].row)
        for piece in pieces:
            pause = round(rng.uniform(*how.pause_s) * TELEPHONE_RATE) if rng.random() < how.paused else 0
            out = _crossed(out, np.zeros(pause + _FADE, dtype=np.float32)) if pause else out
            said = self._audio[piece.row.id][max(0, piece.start - _FADE // 2) : piece.end + _FADE // 2]
            out = _crossed(out, _varied(said, how, rng))
        return np.clip(np.round(out), -32768, 32767).astype(np.int16)


def _levelled(pcm: Pcm) -> NDArray[np.float32]:
    """At -23 dBFS, so that pieces of two recordings match."""
    level = active_rms(pcm)
    return pcm.astype(np.float32) * np.float32(32768 * 10 ** (-23 / 20) / level if level else 1.0)


def _varied(said: NDArray[np.float32], how: Joining, rng: random.Random) -> NDArray[np.float32]:
    """At a level and a speed of its own."""
    if how.level_db:
        said = said * np.float32(10 ** (rng.uniform(-how.level_db, how.level_db) / 20))
    if how.speed:
        speed = 1 + rng.uniform(-how.speed, how.speed)
        said = np.interp(np.arange(int(len(said) / speed)) * speed, np.arange(len(said)), said).astype(np.float32)
    return said


def _crossed(left: NDArray[np.float32], right: NDArray[np.float32]) -> NDArray[np.float32]:
    n = min(_FADE, len(left), len(right))
    ramp = np.linspace(0, 1, n, dtype=np.float32)
    return np.concatenate([left[: len(left) - n], left[len(left) - n :] * (1 - ramp) + right[:n] * ramp, right[n:]])


def _cuts(audio: NDArray[np.float32], words: list[list[Any]], end_s: float) -> list[int]:
    """Where each word begins, and the last ends: the quietest 10 ms near the aligned time.

    A word that was recorded alone is cut nowhere: its ends are its own.
    """
    times = [float(start) for _, start, _ in words] + [min(float(words[-1][2]), end_s)]
    if len(words) == 1:
        return [int(times[0] * TELEPHONE_RATE), min(len(audio), int(times[1] * TELEPHONE_RATE))]
    energy = np.convolve(audio**2, np.ones(_FADE, dtype=np.float32), mode="same")
    cuts = []
    for time in times:
        at = int(time * TELEPHONE_RATE)
        low, high = max(0, at - _SEEK), min(len(audio), at + _SEEK)
        cuts.append(low + int(np.argmin(energy[low:high])) if high > low else min(at, len(audio)))
    return [max(cuts[: i + 1]) for i in range(len(cuts))]


def read_words(dataset: Dataset) -> dict[str, list[list[Any]]]:
    """Aligned words of a dataset's recordings: row id to ``[word, start_s, end_s]``; empty if none were aligned.

    Raises:
        ParleyError: the file is damaged.
    """
    path = dataset.path / WORDS
    return read_json_object(path) if path.is_file() else {}


def align(dataset: Dataset) -> dict[str, list[list[Any]]]:
    """Align every recording that has a text, and the words that synthetic callers said alone.

    Raises:
        ParleyError: PocketSphinx is not installed.
    """
    try:
        from pocketsphinx import Decoder
    except ModuleNotFoundError:
        raise ParleyError("pocketsphinx is not installed", where="train", mend="pip install -e '.[train]'") from None
    decoder = Decoder(samprate=_RATE, lm=None, loglevel="FATAL", beam=1e-100, wbeam=1e-80, pbeam=1e-100)
    rows = [r for r in dataset.rows if (r.source == "recording" or r.id.startswith(ALONE)) and r.text]
    found: dict[str, list[list[Any]]] = {}
    with progress("align", len(rows)) as bar:
        for row in rows:
            bar.advance()
            if row.text and len(row.text.split()) == 1:  # alone in its recording: its ends are the speech's
                found[row.id] = [[row.text, max(0.0, row.speech_start_s - _ALONE_S), row.speech_end_s + _ALONE_S]]
                continue
            try:
                decoder.set_align_text(row.text)
                words = _align_one(decoder, dataset.dry(row), row)
            except RuntimeError:  # PocketSphinx's way to say that no path reached the end
                continue
            if [w for w, _, _ in words] == (row.text or "").split():
                found[row.id] = words
    return found


def _align_one(decoder: Any, pcm: Pcm, row: Row) -> list[list[Any]]:
    start, end = max(0.0, row.speech_start_s - 0.3), row.speech_end_s + 0.3
    cut = pcm[int(start * TELEPHONE_RATE) : int(end * TELEPHONE_RATE)].astype(np.float32)
    wide = soxr.resample(cut / (np.max(np.abs(cut)) + 1.0), TELEPHONE_RATE, _RATE)
    decoder.start_utt()
    decoder.process_raw((wide * 12000).astype(np.int16).tobytes(), full_utt=True)
    decoder.end_utt()
    return [
        [s.word.split("(")[0], round(start + s.start_frame / 100, 2), round(start + (s.end_frame + 1) / 100, 2)]
        for s in decoder.seg() or ()
        if not s.word.startswith("<")
    ]


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and align."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="dataset folder made by `parley dataset`")
    dataset = load_dataset(parser.parse_args(argv).data)
    words = align(dataset)
    write_json(dataset.path / WORDS, words)
    print(f"{len(words)} recordings aligned")


if __name__ == "__main__":
    exit_with(main)
