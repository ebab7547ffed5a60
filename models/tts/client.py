"""The TTS implementation `harmonic-noise/1`: text in, pieces of audio out, each word's times with the piece it ends in.

async for piece in HarmonicNoiseClient(bundle, engine, "barista_tts", 1).synthesise("One latte, coming up."):
    play(piece.pcm)
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contracts import Piece, TimedWord
from models.tts.text import PAD, Lexicon, PhoneSequence
from parley.audio import Pcm
from parley.bundle import read_manifest
from parley.errors import ParleyError
from parley.language import DEFAULT, Token, language_of
from parley.serving.engine import Engine

_PAD_TO = 32
"""Phone counts are rounded up to this, so that requests of different sentences share a batch."""
_MAX_PHONES = 384
"""Longer texts are spoken as several utterances, cut between sentences where they can be."""
_TAIL_S = 0.1


IMPLEMENTATION = "harmonic-noise/1"

_Part = tuple[Pcm, list[TimedWord], bool]


class HarmonicNoiseClient:
    """Speaks texts with one published version; holds no state between texts."""

    def __init__(self, bundle_dir: Path, engine: Engine, model: str, version: int, *, asks: bool = True) -> None:
        """Read what belongs to the version.

        Args:
            asks: whether the language's pronouncer is asked for words that the version does not know.

        Raises:
            ParleyError: the bundle is not a voice, or its symbols are not those of this code.
        """
        manifest = read_manifest(bundle_dir)
        constants = manifest.constants
        language = language_of(constants.get("language", DEFAULT))
        self._lexicon = Lexicon.load(bundle_dir / "lexicon.json", language, asks=asks)
        if tuple(constants.get("symbols", ())) != self._lexicon.symbols:
            raise ParleyError(
                "this bundle's symbols are not this version's",
                where=str(bundle_dir),
                mend="export the voice again with this version of Parley",
            )
        self.sample_rate = manifest.audio_rate
        self._hop: int = constants["hop"]
        self._piece_frames: int = constants["piece_frames"]
        self._engine, self._model, self._version = engine, model, version
        self.spelled = 0
        """Parts of texts that no rule could read, said letter by letter, figure by figure or by name, so far."""

    async def synthesise(self, text: str, *, rate: float = 1.0) -> AsyncGenerator[Piece, None]:
        """Speak ``text`` at ``rate`` times the voice's speed (0.5 to 2).

        The next piece is computed while the caller plays the present one; leaving the loop cancels it. A text with
        nothing to say gives one empty last piece.

        Raises:
            EngineError: the model could not answer; pieces given so far stand.
        """
        parts = await asyncio.to_thread(self._sequences, text)
        if not parts:
            yield Piece(np.zeros(0, dtype=np.int16), self.sample_rate)
            return
        offset_s = 0.0
        for number, part in enumerate(parts):
            final = number == len(parts) - 1
            spoken = 0
            # Closed explicitly: a caller who leaves must not leave the inner generator's request behind.
            async with aclosing(self._utterance(part, rate)) as utterance:
                async for pcm, words, done in utterance:
                    shifted = tuple(TimedWord(w.word, w.start_s + offset_s, w.end_s + offset_s) for w in words)
                    spoken += len(pcm)
                    yield Piece(pcm, self.sample_rate, shifted, final and done)
            offset_s += spoken / self.sample_rate

    def _sequences(self, text: str) -> list[PhoneSequence]:
        """The text's phones, in as few parts as the graph's longest input allows."""
        parts: list[PhoneSequence] = []
        held: list[Token] = []
        tokens = self._lexicon.tokenise(text)
        self.spelled += sum(len(token.spelled) for token in tokens)
        for sentence in _sentences(tokens):
            if held and len(self._lexicon.sequence([*held, *sentence]).ids) > _MAX_PHONES:
                parts += self._fitting(held)
                held = []
            held = [*held, *sentence]
        return parts + (self._fitting(held) if held else [])

    def _fitting(self, tokens: list[Token]) -> list[PhoneSequence]:
        sequence = self._lexicon.sequence(tokens)
        if len(sequence.ids) <= _MAX_PHONES or len(tokens) == 1:
            return [sequence]
        middle = len(tokens) // 2
        return self._fitting(tokens[:middle]) + self._fitting(tokens[middle:])

    async def _utterance(self, sequence: PhoneSequence, rate: float) -> AsyncGenerator[_Part, None]:
        phones = np.full((1, -(-len(sequence.ids) // _PAD_TO) * _PAD_TO), PAD, dtype=np.int64)
        phones[0, : len(sequence.ids)] = sequence.ids
        speed = np.full((1, 1), rate, dtype=np.float32)

        async def ask(start: int) -> dict[str, NDArray[Any]]:
            inputs: dict[str, NDArray[Any]] = {
                "phones": phones,
                "piece_start": np.full((1, 1), start, dtype=np.int64),
                "rate": speed,
            }
            return await self._engine.infer(self._model, self._version, inputs)

        answer = await ask(0)
        durations = np.asarray(answer["durations"], dtype=np.int64)[0, : len(sequence.ids)]
        words = word_times(sequence, durations, self._hop, self.sample_rate)
        tail = round((words[-1].end_s + _TAIL_S) * self.sample_rate) if words else 0
        length = min(int(durations.sum()) * self._hop, tail)
        size = self._piece_frames * self._hop
        for begin in range(0, length, size):
            end = min(begin + size, length)
            last = end == length
            coming = None if last else asyncio.create_task(ask((begin + size) // self._hop))
            try:
                pcm = np.asarray(answer["pcm"], dtype=np.int16)[0, : end - begin]
                # A word belongs to the piece that plays its last sample.
                ending = [w for w in words if begin < round(w.end_s * self.sample_rate) <= end]
                yield pcm, ending, last
                if coming:
                    answer = await coming
            finally:
                if coming and not coming.done():
                    coming.cancel()
                    await asyncio.gather(coming, return_exceptions=True)


def _sentences(tokens: list[Token]) -> list[list[Token]]:
    parts: list[list[Token]] = [[]]
    for token in tokens:
        parts[-1].append(token)
        if token.pause in (".", "?"):
            parts.append([])
    return [part for part in parts if part]


def word_times(sequence: PhoneSequence, durations: NDArray[np.int64], hop: int, sample_rate: int) -> list[TimedWord]:
    """Start and end of each written word, from its phones' frames: ``hop`` samples each, at ``sample_rate`` Hz."""
    ends = np.cumsum(durations) * hop / sample_rate
    begins = ends - np.asarray(durations) * hop / sample_rate
    owner = np.asarray(sequence.word_of)
    found = []
    for index, word in enumerate(sequence.words):
        mine = np.flatnonzero(owner == index)
        if len(mine):
            found.append(TimedWord(word, round(float(begins[mine[0]]), 6), round(float(ends[mine[-1]]), 6)))
    return found
