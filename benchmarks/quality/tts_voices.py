"""The voices that are compared: ours through its client, the training voice (flite), and espeak-ng.

All read the same words: the peers are given the text as our front end reads it, so that voices are compared and not
readings. Each voice gets one gain, which brings the 95th percentile of its utterances' peaks to -4.4 dBFS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.callers import Voice, synthesise
from models.tts.alignment import flite_speech
from models.tts.client import HarmonicNoiseClient
from models.tts.data import make_utterance
from models.tts.text import Lexicon, sayable
from parley.audio import TELEPHONE_RATE, Pcm
from parley.errors import ParleyError
from parley.language.english.tokenise import tokenise
from parley.progress import progress

OURS, TRAINING, ESPEAK = "parley", "flite", "espeak-ng"
_PEAK = 0.6 * 32767


@dataclass(frozen=True)
class Rendering:
    """A sentence as a voice says it: int16 ``[n]`` at 8 kHz, seconds at which its written words end (empty where the
    voice does not say), samples at which a new piece begins."""

    pcm: Pcm
    word_ends_s: tuple[float, ...] = ()
    borders: tuple[int, ...] = ()


async def ours(client: HarmonicNoiseClient, texts: Sequence[str]) -> list[Rendering]:
    """Each text through the client, as a call hears it."""
    said = []
    with progress("our voice", len(texts)) as bar:
        for text in texts:
            parts, ends = [], []
            async for piece in client.synthesise(text):
                parts.append(piece.pcm)
                ends += [word.end_s for word in piece.words]
            borders = np.cumsum([len(part) for part in parts])[:-1]
            said.append(Rendering(np.concatenate(parts), tuple(ends), tuple(int(b) for b in borders)))
            bar.advance()
    return said


def training_voice(texts: Sequence[str], name: str, lexicon: Lexicon) -> list[Rendering]:
    """Each text by flite's voice, cut and timed as in the corpus of the training.

    Raises:
        ParleyError: flite is missing, or a text could not be aligned.
    """

    def say(text: str) -> Rendering:
        audio, segments = flite_speech(sayable(lexicon.tokenise(text)), name)
        made = make_utterance("", text, "test", audio, segments, lexicon)
        if made is None:
            raise ParleyError(f"flite left a word of {text!r} unsaid", where=f"voice {name}")
        return Rendering(made.pcm, tuple(made.word_ends_s()))

    return _each("training voice", texts, say)


def espeak(texts: Sequence[str]) -> list[Rendering]:
    """Each text by espeak-ng's American English.

    Raises:
        ParleyError: espeak-ng is missing.
    """
    voice = Voice("espeak", "en-us")
    return _each("espeak-ng", texts, lambda text: Rendering(synthesise(sayable(tokenise(text)), voice)))


def _each(title: str, texts: Sequence[str], say: Callable[[str], Rendering]) -> list[Rendering]:
    said = []
    with progress(title, len(texts)) as bar:
        for text in texts:
            said.append(say(text))
            bar.advance()
    return said


def levelled(renderings: Sequence[Rendering]) -> list[Rendering]:
    """One gain for all."""
    peaks = [float(np.abs(r.pcm.astype(np.int32)).max()) for r in renderings]
    gain = _PEAK / max(float(np.quantile(peaks, 0.95)), 1.0)
    return [replace(r, pcm=np.clip(np.rint(r.pcm * gain), -32768, 32767).astype(np.int16)) for r in renderings]


def seconds(renderings: Sequence[Rendering]) -> float:
    """Audio in all."""
    return sum(len(r.pcm) for r in renderings) / TELEPHONE_RATE
