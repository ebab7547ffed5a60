"""Recordings of single digits, named ``<digit>_<speaker>_<take>.flac`` as in the Free Spoken Digit Dataset; 8 kHz mono.

To train on, they become a manifest of recordings, one word each; `models/stt/splice.py` makes strings of them:

    python -m models.digits DIGITS --also recordings/manifest.jsonl --out datasets/digits.jsonl
    parley dataset --bot digits --recordings datasets/digits.jsonl --synthetic 4000 --out datasets/digits

To test with, :func:`strings` puts a speaker's takes together in a fixed way.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, Pcm, read_audio
from parley.command import exit_with
from parley.errors import ParleyError
from parley.language import language_of
from parley.recordings import Recording, read_recordings, write_recordings

_DIGITS = language_of("en").digits
"""The recordings are English."""
GAP_S = (0.05, 0.4)
"""Silence between two digits, drawn uniformly."""
_FADE = 40
"""Samples over which a take fades in and out: 5 ms, so that the cut does not click."""


@dataclass(frozen=True)
class Take:
    """One recording of one digit."""

    path: Path
    digit: str
    speaker: str


@dataclass(frozen=True)
class Spoken:
    """A string of takes by one speaker, and the gap before each but the first, in seconds."""

    takes: tuple[Take, ...]
    gaps_s: tuple[float, ...]

    @property
    def speaker(self) -> str:
        return self.takes[0].speaker

    @property
    def digits(self) -> str:
        return "".join(t.digit for t in self.takes)

    @property
    def key(self) -> str:
        """Names the string: the takes in order."""
        return " ".join(t.path.stem for t in self.takes)

    def audio(self, around_s: float) -> Pcm:
        """int16 samples ``[n]`` at 8 kHz, silence before and after; the takes are as they were recorded."""
        silence = np.zeros(round(around_s * TELEPHONE_RATE), np.int16)
        parts = [silence]
        for take, gap_s in zip(self.takes, (0.0, *self.gaps_s), strict=True):
            parts += [np.zeros(round(gap_s * TELEPHONE_RATE), np.int16), _faded(read_audio(take.path))]
        return np.concatenate([*parts, silence])


def _faded(pcm: Pcm) -> Pcm:
    gain = np.ones(len(pcm), np.float32)
    n = min(_FADE, len(pcm) // 2)
    gain[:n], gain[len(pcm) - n :] = np.linspace(0, 1, n), np.linspace(1, 0, n)
    return np.asarray(np.round(pcm * gain), dtype=np.int16)


def read_takes(folder: Path) -> dict[str, list[Take]]:
    """Every speaker's takes, in the order of their names.

    Raises:
        ParleyError: none in ``folder``.
    """
    takes: dict[str, list[Take]] = defaultdict(list)
    for path in sorted(folder.glob("[0-9]_*_*.flac")):
        digit, speaker, _ = path.stem.split("_", 2)
        takes[speaker].append(Take(path, digit, speaker))
    if not takes:
        raise ParleyError("no digits here", where=str(folder), mend="files named <digit>_<speaker>_<take>.flac")
    return dict(sorted(takes.items()))


def strings(takes: Sequence[Take], lengths: Sequence[int], per_length: int, seed: int) -> Iterator[Spoken]:
    """``per_length`` strings of each length by the speaker of ``takes``.

    Takes are dealt from a shuffled deck, shuffled anew when it is used up, so that all are used equally often.
    """
    rng = random.Random(f"strings|{takes[0].speaker}|{seed}")
    deck: list[Take] = []
    for length in lengths:
        for _ in range(per_length):
            dealt: list[Take] = []
            while len(dealt) < length:
                if not deck:
                    deck = list(takes)
                    rng.shuffle(deck)
                dealt.append(deck.pop())
            yield Spoken(tuple(dealt), tuple(rng.uniform(*GAP_S) for _ in range(length - 1)))


def manifest(folder: Path, others: Sequence[Path] = ()) -> list[Recording]:
    """The takes of ``folder`` and the recordings of other manifests: speech that asks for nothing.

    Raises:
        ParleyError: no digits in ``folder``, or another manifest is wrong.
    """
    found = [
        Recording(str(take.path.resolve()), take.path, speaker=speaker, intent="", text=_DIGITS.words_of(take.digit)[0])
        for speaker, takes in read_takes(folder).items()
        for take in takes
    ]
    for path in others:
        # To whoever takes digits, what others asked for is speech that asks for nothing.
        found += [replace(r, audio=str(r.path.resolve()), intent="", slots={}) for r in read_recordings(path)]
    return found


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write the manifest."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="recordings of single digits")
    parser.add_argument("--also", type=Path, nargs="*", default=[], help="manifests of other recordings")
    parser.add_argument("--out", type=Path, required=True, help="manifest to write")
    args = parser.parse_args(argv)
    recordings = manifest(args.folder, args.also)
    write_recordings(args.out, recordings)
    print(f"{len(recordings)} recordings in {args.out}")


if __name__ == "__main__":
    exit_with(main)
