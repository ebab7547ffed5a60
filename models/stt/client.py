"""The STT implementation `phone-ctc-grammar/1`: chunks in, partial and final transcripts out. Torch-free.

The graph takes ``pcm`` int16 [batch, chunk samples] and ``state`` float32 [batch, state size], and gives ``log_probs``
float32 [batch, frames, labels] and ``new_state``; the decoder finds the best sentence of the bundle's grammar.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.contracts import TimedWord, Transcript
from models.stt.decoder import Decoded, GrammarDecoder, PhoneGraph
from parley.audio import Pcm
from parley.bot.grammar import WordGraph
from parley.bundle import read_manifest
from parley.errors import ParleyError
from parley.serving.engine import Engine, EngineRejected

IMPLEMENTATION = "phone-ctc-grammar/1"
GRAMMAR, LEXICON = "grammar.json", "lexicon.json"


@dataclass(frozen=True)
class GrammarTranscript(Transcript):
    """What was heard, and how far the grammar fits it."""

    margin: float = 0.0
    """Log-likelihood ratio a phone that the confidence rests on."""


class PhoneCtcClient:
    """Streams utterances through one version."""

    def __init__(self, bundle: Path, engine: Engine, model: str, version: int) -> None:
        """Read the version's assets.

        Raises:
            ParleyError: an asset is missing or damaged.
        """
        manifest = read_manifest(bundle)
        constants = manifest.constants
        self.sample_rate = manifest.audio_rate
        self.engine, self.model, self.version = engine, model, version
        self.graph = load_graph(bundle, constants["labels"])
        self.chunk_samples = int(constants["chunk_samples"])
        self.flush_samples = int(constants["flush_samples"])
        self.frame_samples = int(constants["frame_samples"])
        self.lookahead_frames = int(constants["lookahead_frames"])
        self.state_size = int(constants["state_size"])
        self.calibration = constants["confidence"]

    def new_stream(self) -> PhoneCtcStream:
        """Begin an utterance."""
        return PhoneCtcStream(self)

    def transcript(self, decoded: Decoded) -> GrammarTranscript:
        """Times in seconds and a calibrated confidence."""

        def seconds(frame: int) -> float:
            return round(max(0, frame - self.lookahead_frames) * self.frame_samples / self.sample_rate, 3)

        words = tuple(TimedWord(w.word, seconds(w.start), seconds(w.end)) for w in decoded.words)
        confidence = confidence_of(decoded, self.calibration)
        accepted = bool(words) and confidence >= self.calibration["threshold"]
        return GrammarTranscript(decoded.text, confidence, accepted, words, decoded.margin)


class PhoneCtcStream:
    """One utterance. ``accept`` audio as it comes, look at ``partial``, then ``finish``."""

    def __init__(self, client: PhoneCtcClient) -> None:
        self._client = client
        self._decoder = GrammarDecoder(client.graph)
        self._pending: list[Pcm] = []
        self._pending_samples = 0
        self._state = np.zeros((1, client.state_size), dtype=np.float32)
        self._partial: str | None = ""
        self.samples = 0
        """Samples accepted."""

    async def accept(self, pcm: Pcm) -> None:
        """Take int16 samples ``[n]``; whole chunks go to the engine.

        Raises:
            EngineError: the chunk could not be scored. The stream keeps its state: accept(empty) tries again. It is
                EngineRejected when the scores hold NaN or infinity, which a broken model gives again.
        """
        self.samples += len(pcm)
        self._pending.append(pcm)
        self._pending_samples += len(pcm)
        size = self._client.chunk_samples
        while self._pending_samples >= size:
            waiting = np.concatenate(self._pending)
            self._pending, self._pending_samples = [waiting], len(waiting)
            await self._score(waiting[:size])
            self._pending, self._pending_samples = [waiting[size:]], len(waiting) - size

    async def _score(self, chunk: Pcm) -> None:
        out = await self._client.engine.infer(
            self._client.model, self._client.version, {"pcm": chunk[None, :].astype(np.int16), "state": self._state}
        )
        scores = out["log_probs"][0].astype(np.float32)
        if not np.isfinite(scores).all():
            # Asking again gives the same: the session must apologise now, not after its retries.
            raise EngineRejected(
                "the model answers with numbers that are none",
                where=f"{self._client.model} version {self._client.version}",
                mend="roll back: parley rollback",
            )
        self._state = out["new_state"]
        self._decoder.accept(scores)
        self._partial = None

    def partial(self) -> str:
        """The best guess so far, traced back when it is asked for and not before, once for the same scores."""
        if self._partial is None:
            self._partial = self._decoder.partial().text
        return self._partial

    async def finish(self) -> GrammarTranscript:
        """Send the rest and enough silence for every score to come out, and decide."""
        size = self._client.chunk_samples
        missing = self._pending_samples + self._client.flush_samples
        silence = np.zeros(-(-missing // size) * size - self._pending_samples, dtype=np.int16)
        await self.accept(silence)
        return self._client.transcript(self._decoder.finish())


def confidence_of(decoded: Decoded, calibration: dict[str, float]) -> float:
    """Logistic function of the margin (Platt 1999), 0 when no whole sentence fits."""
    if not decoded.words or not decoded.complete:
        return 0.0
    z = calibration["offset"] + calibration["slope"] * decoded.margin
    return round(1.0 / (1.0 + math.exp(-max(-30.0, min(30.0, z)))), 4)


def save_graph(directory: Path, graph: WordGraph, lexicon: dict[str, list[str]]) -> None:
    """Write the decoder's assets into a bundle."""
    content = {
        "n_states": graph.n_states, "start": graph.start, "finals": sorted(graph.finals),
        "arcs": [list(arc) for arc in graph.arcs],
    }  # fmt: skip
    (directory / GRAMMAR).write_text(json.dumps(content, separators=(",", ":")) + "\n", encoding="utf-8")
    (directory / LEXICON).write_text(json.dumps(lexicon, indent=0, sort_keys=True) + "\n", encoding="utf-8")


def load_graph(directory: Path, labels: list[str], instead: WordGraph | None = None) -> PhoneGraph:
    """Read the decoder's assets of a bundle.

    Args:
        directory: the bundle.
        labels: CTC labels.
        instead: of the bundle's grammar, another one of its words.

    Raises:
        ParleyError: an asset is missing or damaged.
    """
    with _assets_of(directory):
        lexicon = json.loads((directory / LEXICON).read_text(encoding="utf-8"))
    return PhoneGraph.compile(instead or read_grammar(directory), lexicon, labels)


def read_grammar(directory: Path) -> WordGraph:
    """The sentences that a bundle's decoder can hear.

    Raises:
        ParleyError: the asset is missing or damaged.
    """
    with _assets_of(directory):
        content = json.loads((directory / GRAMMAR).read_text(encoding="utf-8"))
        arcs = tuple((int(s), int(t), str(w)) for s, t, w in content["arcs"])
        return WordGraph(content["n_states"], content["start"], frozenset(content["finals"]), arcs)


@contextmanager
def _assets_of(directory: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ParleyError(
            f"decoder assets are missing or damaged ({type(error).__name__})",
            where=str(directory), mend="publish the version again",
        ) from None  # fmt: skip
