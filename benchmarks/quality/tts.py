"""The voice against the one it learned from and against peers, on sentences it was never trained on.

    python -m benchmarks.quality.tts --bundle triton_repo/barista_tts/1 --corpus runs/tts-barista/corpus --out q/tts

Writes ``tts.json``, ``tts.md``, ``tts.png`` and ``samples/``. ``--corpus`` (it may be repeated) holds what was trained
on: no sentence of it is used, and one of them must be the corpus that the bundle's manifest names. What each figure is
stands in `docs/quality-tts.md` and beside its code. Intervals are 95 %, by drawing whole sentences.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.quality import tts_speed
from benchmarks.quality.tts_alignment import Aligner
from benchmarks.quality.tts_distance import distance
from benchmarks.quality.tts_report import write_report, write_samples
from benchmarks.quality.tts_sentences import Sentence, trained_texts, unseen
from benchmarks.quality.tts_signal import Signal, look
from benchmarks.quality.tts_voices import ESPEAK, OURS, TRAINING, Rendering, espeak, levelled, ours, training_voice
from models.run_directory import environment, git_lineage
from models.tts.client import HarmonicNoiseClient
from models.tts.recogniser import Recogniser, word_errors, words_of
from models.tts.text import Lexicon
from parley.arguments import ArgumentParser
from parley.audio import Pcm
from parley.bot import load_bot
from parley.bundle import read_manifest
from parley.command import exit_with
from parley.files import write_json
from parley.g711 import ulaw_decode, ulaw_encode
from parley.progress import progress
from parley.serving.onnx_engine import OnnxEngine
from registry.gating.statistics import cluster_bootstrap

_SPEED_SENTENCES = 60
_RANKED_HIGH = 0.99

Voices = dict[str, list[Rendering]]


@dataclass(frozen=True)
class Subject:
    """What is measured: a bundle, and the sentences."""

    bundle: Path
    sentences: list[Sentence]
    lexicon: Lexicon
    voice: str
    """Name of the training voice in flite."""

    @property
    def texts(self) -> list[str]:
        """The sentences as written."""
        return [sentence.text for sentence in self.sentences]


def telephone(pcm: Pcm) -> Pcm:
    """Samples after mu-law and back, as a caller hears them."""
    return ulaw_decode(ulaw_encode(pcm))


def share(counts: Sequence[float], sizes: Sequence[float]) -> dict[str, Any]:
    """A ratio of sums with its interval."""
    low, high = cluster_bootstrap(counts, sizes)
    return {"value": round(sum(counts) / sum(sizes), 5), "interval": [round(low, 5), round(high, 5)]}


def mean(values: Sequence[float]) -> dict[str, Any]:
    """A mean over sentences with its interval; sentences without a value (nan) are left out."""
    known = [v for v in values if np.isfinite(v)]
    return {**share(known, [1.0] * len(known)), "sentences": len(known)}


def recognised(subject: Subject, voices: Voices) -> dict[str, Any]:
    """Word error of PocketSphinx on each voice through mu-law, the paired difference, and its parts by kind."""
    ear = Recogniser(subject.texts, subject.lexicon)
    said = [words_of(text, subject.lexicon.language) for text in subject.texts]
    heard: dict[str, list[list[str]]] = {}
    with progress("recognising", len(voices) * len(said)) as bar:
        for name, renderings in voices.items():
            heard[name] = []
            for rendering in renderings:
                heard[name].append(ear.hear(telephone(rendering.pcm)))
                bar.advance()
    errors = {name: [word_errors(a, b) for a, b in zip(said, results, strict=True)] for name, results in heard.items()}
    sizes = [len(words) for words in said]
    gaps = [a - b for a, b in zip(errors[OURS], errors[TRAINING], strict=True)]
    kinds = {}
    for kind in dict.fromkeys(s.kind for s in subject.sentences):
        mine = [n for n, s in enumerate(subject.sentences) if s.kind == kind]
        kinds[kind] = {name: share([e[n] for n in mine], [sizes[n] for n in mine]) for name, e in errors.items()}
        kinds[kind]["difference"] = share([gaps[n] for n in mine], [sizes[n] for n in mine])
    worst = sorted(range(len(said)), key=lambda n: -gaps[n])[:12]
    return {
        "words": sum(sizes),
        "wer": {name: share(e, sizes) for name, e in errors.items()},
        "difference": share(gaps, sizes),
        "by_kind": kinds,
        "last_word_wrong": {
            name: mean([float(not b or a[-1] != b[-1]) for a, b in zip(said, results, strict=True)])
            for name, results in heard.items()
        },
        "worst": [
            {"text": subject.texts[n], "more_errors": gaps[n],
             "heard": {name: " ".join(results[n]) for name, results in heard.items()}}
            for n in worst if gaps[n] > 0
        ],
    }  # fmt: skip


def distances(voices: Voices) -> dict[str, Any]:
    """Mel-cepstral distance and pitch of each other voice against the training voice."""
    found = {}
    others = [name for name in voices if name != TRAINING]
    with progress("comparing spectra", len(others) * len(voices[TRAINING])) as bar:
        for name in others:
            rows = []
            for mine, theirs in zip(voices[name], voices[TRAINING], strict=True):
                rows.append(asdict(distance(mine.pcm, theirs.pcm)))
                bar.advance()
            found[name] = {key: mean([row[key] for row in rows]) for key in rows[0]}
    return found


def word_ends(subject: Subject, voices: Voices) -> dict[str, Any]:
    """Milliseconds between the word ends that a voice says and those of forced alignment of its audio. For the
    training voice, whose ends flite knows, this is how good the aligner is."""
    aligner = Aligner(subject.texts, subject.lexicon)
    found = {}
    with progress("aligning", 2 * len(subject.texts)) as bar:
        for name in (OURS, TRAINING):
            gaps: list[list[float]] = []
            for text, rendering in zip(subject.texts, voices[name], strict=True):
                ends = aligner.word_ends_s(text, rendering.pcm)
                if ends is not None and len(ends) == len(rendering.word_ends_s):
                    pairs = zip(rendering.word_ends_s, ends, strict=True)
                    gaps.append([1000 * (mine - end) for mine, end in pairs])
                bar.advance()
            found[name] = _end_figures(gaps, len(subject.texts))
    return found


def _end_figures(gaps: Sequence[Sequence[float]], asked: int) -> dict[str, Any]:
    pooled = np.array([gap for row in gaps for gap in row])
    rng = np.random.default_rng(1)
    drawn = [
        np.median(np.abs(np.concatenate([gaps[n] for n in rng.integers(0, len(gaps), len(gaps))]))) for _ in range(1000)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    middle = round(float(np.median(np.abs(pooled))), 1)
    return {
        "median_abs_ms": {"value": middle, "interval": [round(float(low), 1), round(float(high), 1)]},
        "p90_abs_ms": round(float(np.percentile(np.abs(pooled), 90)), 1),
        "median_ms": round(float(np.median(pooled)), 1),
        "words": len(pooled), "sentences": len(gaps), "not_aligned": asked - len(gaps),
    }  # fmt: skip


def signals(voices: Voices) -> dict[str, Any]:
    """The checks of `tts_signal` for each voice, on its samples as they are (before mu-law)."""
    found = {}
    with progress("looking at samples", sum(len(v) for v in voices.values())) as bar:
        for name, renderings in voices.items():
            rows: list[Signal] = []
            for rendering in renderings:
                rows.append(look(rendering.pcm, rendering.borders))
                bar.advance()
            ranks = [rank for row in rows for rank in row.border_ranks]
            found[name] = {
                "hnr_db": mean([row.hnr_db for row in rows]),
                "high_hnr_db": mean([row.high_hnr_db for row in rows]),
                "clipped_samples": sum(row.clipped for row in rows),
                "peak_dbfs": round(max(row.peak_dbfs for row in rows), 2),
                "dc": round(max(row.dc for row in rows), 4),
                "end_db": mean([row.end_db for row in rows]),
                "ends_in_speech": sum(row.end_db > -30 for row in rows),
                "lead_ms": mean([row.lead_ms for row in rows]),
                "tail_ms": mean([row.tail_ms for row in rows]),
                "longest_pause_ms": round(max(row.longest_pause_ms for row in rows)),
                "floor_db": mean([row.floor_db for row in rows]),
                "borders": len(ranks),
                "borders_ranked_high": sum(rank > _RANKED_HIGH for rank in ranks),
            }
    return found


async def render(subject: Subject) -> tuple[Voices, dict[str, Any]]:
    """All voices' renderings, and their speed."""
    async with OnnxEngine.from_bundle(subject.bundle, threads=1) as engine:
        client = HarmonicNoiseClient(subject.bundle, engine, "", 0)
        speed = await tts_speed.measure(client, subject.texts[:: max(1, len(subject.texts) // _SPEED_SENTENCES)],
                                        subject.voice)  # fmt: skip
        mine = await ours(client, subject.texts)
    theirs = training_voice(subject.texts, subject.voice, subject.lexicon)
    peers = {OURS: mine, TRAINING: theirs, ESPEAK: espeak(subject.texts)}
    return {name: levelled(renderings) for name, renderings in peers.items()}, speed


def measure(subject: Subject, out: Path, samples: int) -> dict[str, Any]:
    """Every figure; writes the samples into ``out``."""
    voices, speed = asyncio.run(render(subject))
    lengths = {name: sum(len(r.pcm) for r in renderings) / 8000 for name, renderings in voices.items()}
    return {
        "recognition": recognised(subject, voices),
        "distance_from_training_voice": distances(voices),
        "word_ends": word_ends(subject, voices),
        "signal": signals(voices),
        "speed": speed,
        "audio_s": {name: round(length, 1) for name, length in lengths.items()},
        "samples": write_samples(out, subject.sentences, voices, samples, telephone),
    }


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, measure and write. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)  # fmt: skip
    parser.add_argument("--bundle", type=Path, required=True, help="a voice's version directory or RUN/bundle")
    parser.add_argument("--corpus", type=Path, action="append", required=True, help="what was trained on")
    parser.add_argument("--bots", nargs="+", default=["barista", "bank"], help="whose replies and orders are said")
    parser.add_argument("--count", type=int, default=200, help="sentences")
    parser.add_argument("--samples", type=int, default=12, help="sentences to keep as audio")
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(argv)
    manifest = read_manifest(options.bundle)
    bots = [load_bot(name) for name in options.bots]
    trained = trained_texts(options.corpus, manifest.lineage.dataset_digest)
    sentences = unseen(bots, options.count, options.seed, trained)
    subject = Subject(options.bundle, sentences, Lexicon.load(options.bundle / "lexicon.json"),
                      load_bot(manifest.bot).voice.name)  # fmt: skip
    options.out.mkdir(parents=True, exist_ok=True)
    report = {
        "command": " ".join(["python -m benchmarks.quality.tts", *(argv if argv is not None else sys.argv[1:])]),
        "environment": {**environment(), **git_lineage(), "cpus": os.cpu_count(), "load": os.getloadavg()},
        "bundle": {"model": manifest.model, "version": manifest.version, "dataset": manifest.lineage.dataset_digest,
                   "sentences_in_corpora": len(trained)},
        "sentences": [asdict(sentence) for sentence in sentences],
        **measure(subject, options.out, options.samples),
    }  # fmt: skip
    write_json(options.out / "tts.json", report)
    print(write_report(report, options.out))
    return 0


if __name__ == "__main__":
    exit_with(main)
