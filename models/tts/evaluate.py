"""Listen to an exported voice: is it understood, is it close to the training voice, is it in time, is it fast?

    python -m models.tts.evaluate runs/tts-barista [--json OUT]

All of it goes through the bundle, the client and the in-process engine, as a call does. Held-out sentences only.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import TimedWord
from models.run_directory import check_family
from models.tts.alignment import match_frames, mel_bands
from models.tts.client import HarmonicNoiseClient
from models.tts.data import HOP, Corpus, Utterance
from models.tts.export import corpus_of
from models.tts.recogniser import Recogniser, word_errors, words_of
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, Pcm, write_wav
from parley.bundle import read_manifest, write_bundle
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine


@dataclass(frozen=True)
class Spoken:
    """What the client gave for a text, and how long it took."""

    pcm: Pcm
    words: list[TimedWord]
    first_piece_s: float
    all_pieces_s: float


async def speak(client: HarmonicNoiseClient, text: str) -> Spoken:
    """Take every piece at once, without playing it."""
    started = time.perf_counter()
    first = 0.0
    parts: list[Pcm] = []
    words: list[TimedWord] = []
    async for piece in client.synthesise(text):
        first = first or time.perf_counter() - started
        parts.append(piece.pcm)
        words += piece.words
    return Spoken(np.concatenate(parts), words, first, time.perf_counter() - started)


def log_mel(pcm: Pcm) -> NDArray[np.float64]:
    """40 mel bands in dB, frames of 10 ms, ``[frames, 40]``."""
    padded = np.pad(pcm.astype(np.float64) / 32768.0, (88, 168))
    windows = np.lib.stride_tricks.sliding_window_view(padded, 256)[::80][: max(1, len(pcm) // 80)]
    power = np.abs(np.fft.rfft(windows * np.hanning(256), 512)) ** 2
    decibels: NDArray[np.float64] = 10 * np.log10(power @ mel_bands(40, 512).T + 1e-4)
    return decibels


def mel_distance_db(mine: Pcm, theirs: Pcm) -> float:
    """Mean absolute difference of log-mel bands in dB, frames matched by time warping."""
    a, b = log_mel(mine), log_mel(theirs)
    matched = match_frames(mine.astype(np.float32) / 32768, theirs.astype(np.float32) / 32768)
    return float(np.abs(a - b[matched[: len(a)]]).mean())


def _ends_against_audio(utterance: Utterance, said: Spoken) -> list[float]:
    """Milliseconds between the word ends the client gave and those heard in its audio: the training voice's ends,
    which flite knows, carried over to our audio by time warping."""
    matched = match_frames(utterance.pcm.astype(np.float32) / 32768, said.pcm.astype(np.float32) / 32768)
    gaps = []
    for word, end in zip(said.words, utterance.word_ends_s(), strict=True):
        frame = min(max(round(end * TELEPHONE_RATE / HOP) - 1, 0), len(matched) - 1)
        gaps.append(abs((matched[frame] + 1) * HOP / TELEPHONE_RATE - word.end_s) * 1000)
    return gaps


def _percentiles(values: list[float]) -> dict[str, float]:
    return {f"p{q}": round(float(np.percentile(values, q)), 2) for q in (50, 95)}


async def _measure(bundle: Path, chosen: list[Utterance]) -> list[Spoken]:
    async with OnnxEngine.from_bundle(bundle, threads=1) as engine:
        client = HarmonicNoiseClient(bundle, engine, "", 0)
        await speak(client, "Warm up.")
        spoken = []
        with progress("speaking held-out sentences", len(chosen)) as bar:
            for utterance in chosen:
                spoken.append(await speak(client, utterance.text))
                bar.advance()
        return spoken


def _intelligibility(corpus: Corpus, chosen: list[Utterance], spoken: list[Spoken]) -> dict[str, float]:
    ear = Recogniser([u.text for u in corpus.utterances], corpus.lexicon)
    mine = theirs = total = 0
    with progress("recognising", len(chosen)) as bar:
        for utterance, said in zip(chosen, spoken, strict=True):
            words = words_of(utterance.text, corpus.lexicon.language)
            total += len(words)
            mine += word_errors(words, ear.hear(said.pcm))
            theirs += word_errors(words, ear.hear(utterance.pcm))
            bar.advance()
    return {"wer": round(mine / total, 4), "wer_training_voice": round(theirs / total, 4), "words": total}


def evaluate(run: Run, *, data: Path | None = None, limit: int = 100) -> dict[str, Any]:
    """Figures of the run's bundle; written into its manifest and the run's ``figures.json``.

    Args:
        run: with a bundle.
        data: the corpus, when it is not where the run says.
        limit: held-out sentences, at most.

    Returns:
        ``wer`` and ``wer_training_voice`` by PocketSphinx, ``mel_distance_db``, ``word_end_error_ms`` (against our
        audio), ``word_end_from_training_voice_ms`` (how far rhythm drifts from it), ``spelled`` (parts of the sentences
        that no rule of the language's reader reads and that are spelled), ``first_piece_ms``,
        ``real_time_factor``.

    Raises:
        ParleyError: the run has no bundle, or its corpus is gone, another one, or holds no sentence back.
    """
    check_family(run, "tts")
    corpus = corpus_of(run, data)
    chosen = [corpus.utterances[n] for n in corpus.split("test")][:limit]
    if not chosen:
        raise ParleyError("the corpus holds no sentence back", where=str(run.path), mend="make it with more sentences")
    manifest = read_manifest(run.bundle_path)
    spoken = asyncio.run(_measure(run.bundle_path, chosen))
    off = [
        abs(word.end_s - end) * 1000
        for utterance, said in zip(chosen, spoken, strict=True)
        for word, end in zip(said.words, utterance.word_ends_s(), strict=True)
    ]
    in_audio = [gap for u, s in zip(chosen, spoken, strict=True) for gap in _ends_against_audio(u, s)]
    seconds = sum(len(s.pcm) for s in spoken) / TELEPHONE_RATE
    figures: dict[str, Any] = {
        "sentences": len(chosen),
        "audio_s": round(seconds, 1),
        **_intelligibility(corpus, chosen, spoken),
        "mel_distance_db": round(
            float(np.mean([mel_distance_db(s.pcm, u.pcm) for s, u in zip(spoken, chosen, strict=True)])), 3
        ),
        "word_end_error_ms": _percentiles(in_audio),
        "word_end_from_training_voice_ms": _percentiles(off),
        "spelled": sum(len(token.spelled) for utterance in chosen for token in corpus.lexicon.tokenise(utterance.text)),
        "first_piece_ms": _percentiles([s.first_piece_s * 1000 for s in spoken]),
        "real_time_factor": round(sum(s.all_pieces_s for s in spoken) / seconds, 4),
        "precision": manifest.parity.get("precision", ""),
        "bytes": (run.bundle_path / "model.onnx").stat().st_size,
    }
    write_bundle(run.bundle_path, manifest.model_copy(update={"evaluation": figures}))
    run.figures(evaluation=figures)
    _write_samples(run.path / "samples", chosen[:8], spoken[:8])
    return figures


def _write_samples(folder: Path, utterances: Sequence[Utterance], spoken: Sequence[Spoken]) -> None:
    """Sentences to listen to, each beside the training voice's."""
    for utterance, said in zip(utterances, spoken, strict=True):
        write_wav(folder / f"{utterance.id}.wav", said.pcm)
        write_wav(folder / f"{utterance.id}.training-voice.wav", utterance.pcm)


def main(argv: list[str] | None = None) -> int:
    """Evaluate an exported voice from the command line. Returns the exit status."""
    parser = ArgumentParser(description="Evaluate an exported voice.")
    parser.add_argument("run", type=Path, help="run directory of the training")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--data", type=Path, help="the corpus, when it is not where the run says")
    parser.add_argument("--limit", type=int, default=100, help="held-out sentences")
    options = parser.parse_args(argv)
    figures = evaluate(Run.open(options.run), data=options.data, limit=options.limit)
    if options.json:
        write_json(options.json, figures)
    for name, value in figures.items():
        print(f"{name}: {value}")
    return 0


if __name__ == "__main__":
    exit_with(main)
