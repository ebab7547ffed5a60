"""An independent ear: CMU's PocketSphinx with its own acoustic model and a bigram of all the corpus's sentences.

It has never heard this voice, nor any of Parley's models, so what it understands was said clearly. The bigram
knows the held-out sentences, or a wide-band model on telephone audio would understand too little to compare by: read
its errors only beside those on the training voice's own audio of the same sentences.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from models.tts.text import Lexicon
from parley.audio import TELEPHONE_RATE, Pcm
from parley.errors import ParleyError
from parley.language import Language
from parley.language.english import ENGLISH

_RATE = 16000
_DISCOUNT = 0.5
_FOLD = 0.3


def words_of(text: str, language: Language) -> list[str]:
    """Words as they are spoken, lower case."""
    return [word.lower() for token in language.reader.tokenise(text) for word in token.words]


def word_errors(said: Sequence[str], heard: Sequence[str]) -> int:
    """Substitutions, insertions and deletions between two word sequences (Levenshtein)."""
    row = list(range(len(heard) + 1))
    for i, a in enumerate(said, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(heard, 1):
            previous, row[j] = row[j], min(previous + (a != b), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def bigram_arpa(sentences: Iterable[Sequence[str]]) -> str:
    """A back-off bigram in ARPA form (absolute discounting: Ney et al., 1994)."""
    unigrams: Counter[str] = Counter()
    pairs: Counter[tuple[str, str]] = Counter()
    for words in sentences:
        padded = ["<s>", *words, "</s>"]
        unigrams.update(padded[1:])
        pairs.update(zip(padded, padded[1:], strict=False))
    total = sum(unigrams.values())
    starts: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    for (first, _), n in pairs.items():
        starts[first] += n
        kinds[first] += 1
    lines = ["\\data\\", f"ngram 1={len(unigrams) + 1}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    for word in ["<s>", *sorted(unigrams)]:
        log = math.log10(unigrams[word] / total) if word != "<s>" else -99.0
        backoff = math.log10(_DISCOUNT * kinds[word] / starts[word]) if starts[word] else 0.0
        lines.append(f"{log:.4f} {word} {backoff:.4f}")
    lines += ["", "\\2-grams:"]
    for (first, second), n in sorted(pairs.items()):
        share = (n - _DISCOUNT) / starts[first] + _DISCOUNT * kinds[first] / starts[first] * unigrams[second] / total
        lines.append(f"{math.log10(share):.4f} {first} {second}")
    return "\n".join([*lines, "", "\\end\\", ""])


def dictionary(sentences: Iterable[str], lexicon: Lexicon) -> str:
    """PocketSphinx's dictionary of the sentences' words: CMUdict's phones, or the lexicon's where it has none."""
    from pocketsphinx import get_model_path

    known = _cmudict(Path(get_model_path("en-us/cmudict-en-us.dict")))
    lines = []
    for word in sorted({word for sentence in sentences for word in words_of(sentence, lexicon.language)}):
        spellings = known.get(word) or [_arpabet(lexicon.phones(word))]
        lines += [f"{word}{f'({n})' if n > 1 else ''} {p}" for n, p in enumerate(spellings, 1)]
    return "\n".join(lines) + "\n"


class Recogniser:
    """PocketSphinx for one set of sentences."""

    def __init__(self, sentences: Sequence[str], lexicon: Lexicon) -> None:
        """Make its dictionary and bigram.

        Raises:
            ParleyError: PocketSphinx is not installed (names the package), or the voice speaks what it does not.
        """
        if lexicon.language != ENGLISH:
            tag = lexicon.language.tag
            raise ParleyError(f"PocketSphinx's model hears English, the voice speaks {tag}", where="pocketsphinx")
        try:
            from pocketsphinx import Decoder, get_model_path
        except ImportError:
            raise ParleyError("PocketSphinx is not installed", mend="pip install pocketsphinx") from None
        spoken = [words_of(s, ENGLISH) for s in sentences]
        with tempfile.TemporaryDirectory() as folder:
            words, arpa = Path(folder) / "words.dict", Path(folder) / "bigram.arpa"
            words.write_text(dictionary(sentences, lexicon), encoding="utf-8")
            arpa.write_text(bigram_arpa(spoken), encoding="utf-8")
            self._decoder = Decoder(
                hmm=get_model_path("en-us/en-us"), dict=str(words), lm=str(arpa), samprate=_RATE, loglevel="FATAL",
            )  # fmt: skip

    def hear(self, pcm: Pcm) -> list[str]:
        """Words understood in int16 ``[n]`` at 8 kHz."""
        quiet = np.zeros(TELEPHONE_RATE // 5, dtype=np.float32)
        audio = np.concatenate([quiet, pcm.astype(np.float32) / 32768.0, quiet])
        wide = widened(audio)
        self._decoder.start_utt()
        self._decoder.process_raw((np.clip(wide, -1, 1) * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        result = self._decoder.hyp()
        return [re.sub(r"\(\d+\)$", "", w) for w in result.hypstr.split()] if result else []


def widened(audio: NDArray[np.float32]) -> NDArray[np.float32]:
    """8 kHz float ``[n]`` as 16 kHz ``[2 n]`` with a faint mirror image above 4 kHz (spectral folding: Makhoul and
    Berouti, 1979) and a little noise: the acoustic model is wide-band, and empty upper bands mislead it."""
    smooth = soxr.resample(audio, TELEPHONE_RATE, _RATE)
    smooth = np.pad(smooth, (0, max(0, 2 * len(audio) - len(smooth))))[: 2 * len(audio)]
    folded = np.zeros_like(smooth)
    folded[::2] = 2 * audio
    noise = np.random.default_rng(0).normal(0, 1e-4, len(smooth))
    return np.asarray(smooth + _FOLD * (folded - smooth) + noise, dtype=np.float32)


def _cmudict(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        word, _, phones = line.partition(" ")
        found.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(phones)
    return found


def _arpabet(phones: Sequence[str]) -> str:
    return " ".join("AH" if p == "ax" else p.upper() for p in phones)
