"""Speech that is no request of the bot, as a manifest: ``python -m benchmarks.quality.outside --out DIR``.

``--digits DIR``: strings of three to eight spoken digits, from single digits named ``<digit>_<speaker>_<take>.flac``,
put together with natural gaps. ``--sentences FILE``: sentences of other domains, a line each, by synthetic voices.
Understanding anything in them is a false acceptance (``parley evaluate slu --manifest DIR/manifest.jsonl``).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import soundfile

from models.caller_plans import read_sentences
from models.callers import SAME_SPEAKER, speakers, synthesise, vary
from models.digits import read_takes
from models.splits import split_of
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, Pcm, read_audio
from parley.command import exit_with
from parley.language import language_of
from parley.recordings import Recording, write_recordings


def digit_strings(folder: Path, count: int, seed: int) -> Iterator[tuple[str, str, Pcm]]:
    """``count`` strings: speaker, text and audio with a second of silence on both sides.

    Raises:
        ParleyError: no digits in ``folder``.
    """
    takes = read_takes(folder)
    rng = random.Random(f"digits|{seed}")
    for index in range(count):
        speaker = sorted(takes)[index % len(takes)]
        chosen = rng.choices(takes[speaker], k=rng.randint(3, 8))
        parts = [np.zeros(TELEPHONE_RATE, np.int16)]
        for take in chosen:
            parts += [read_audio(take.path), np.zeros(int(rng.uniform(0.02, 0.25) * TELEPHONE_RATE), np.int16)]
        text = " ".join(language_of("en").digits.words_of("".join(take.digit for take in chosen)))
        yield f"digits:{speaker}", text, np.concatenate([*parts, np.zeros(TELEPHONE_RATE, np.int16)])


def other_sentences(path: Path, count: int, seed: int) -> Iterator[tuple[str, str, Pcm]]:
    """``count`` drawn sentences by synthetic voices that no training with this seed hears."""
    english, rng = language_of("en"), random.Random(f"others|{seed}")
    sentences = read_sentences(path, english)
    people = [voice for voice in speakers(english) if voice.name not in SAME_SPEAKER]
    voices = [voice for voice in people if split_of(voice.speaker, seed, 0.05, 0.05) == "test"]
    for _ in range(count):
        voice, text = vary(rng.choice(voices), rng), rng.choice(sentences)
        silence = np.zeros(TELEPHONE_RATE, np.int16)
        yield voice.speaker, text, np.concatenate([silence, synthesise(text, voice), silence])


def write_audio(out: Path, utterances: Iterator[tuple[str, str, Pcm]], prefix: str) -> list[Recording]:
    """Write each utterance's audio into ``out``; the recordings they are."""
    found = []
    for index, (speaker, text, pcm) in enumerate(utterances):
        name = f"{prefix}-{index:04d}.flac"
        soundfile.write(str(out / name), pcm, TELEPHONE_RATE, subtype="PCM_16")
        end_s = round(len(pcm) / TELEPHONE_RATE - 1.0, 2)
        found.append(Recording(name, out / name, "", speaker, "", {}, text, 1.0, end_s))
    return found


def main(argv: list[str] | None = None) -> None:
    """Parse the command line and write the manifest."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--digits", type=Path)
    parser.add_argument("--sentences", type=Path)
    parser.add_argument("--count", type=int, default=200, help="utterances of each kind")
    parser.add_argument("--seed", type=int, default=7, help="of the training whose test voices speak")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    recordings: list[Recording] = []
    if args.digits:
        recordings += write_audio(args.out, digit_strings(args.digits, args.count, args.seed), "digits")
    if args.sentences:
        recordings += write_audio(args.out, other_sentences(args.sentences, args.count, args.seed), "sentence")
    write_recordings(args.out / "manifest.jsonl", recordings)
    print(f"{len(recordings)} utterances in {args.out / 'manifest.jsonl'}")


if __name__ == "__main__":
    exit_with(main)
