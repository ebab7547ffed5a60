"""The training corpus of a voice: sentences, audio, phones and how long each lasts.

Two sources, one shape. A **synthesiser's voice** (flite, :attr:`Bot.voice`) says the bot's replies, drawn orders,
numbers and its language's script; flite itself tells where its phones begin and end. A **recorded voice** is a folder
in the shape of LJSpeech (``metadata.csv`` with ``id|text|normalised``, and ``wavs/``); there flite says each text once
to give the phones, and dynamic time warping of log-mel frames carries their borders over to the recording (Sakoe and
Chiba, 1978). Borders are then good to some 20 ms; words that flite reads otherwise than the speaker are not noticed.

    python -m models.tts.data --bot barista --out data/tts-barista
    python -m models.tts.data --bot barista --out data/tts-mine --recordings LJSpeech-1.1
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import soxr
from numpy.typing import NDArray

from models.splits import share_of
from models.tts.alignment import HOP, Segment, align_words, flite_speech, symbols_of, warp
from models.tts.pitch import pitch_contour
from models.tts.script import read_texts, sentences
from models.tts.text import Lexicon, sayable
from parley.arguments import ArgumentParser
from parley.audio import TELEPHONE_RATE, read_any_audio
from parley.bot import Bot, load_bot
from parley.errors import ParleyError
from parley.files import sha256_json, write_atomic, write_json
from parley.language import DEFAULT, Language, language_of
from parley.programs import require
from parley.progress import progress
from parley.text_files import read_json_object, read_lines

LEAD_FRAMES = 4
TAIL_FRAMES = 12
"""Silence kept before and after an utterance: the synthesiser's own 0.2 s in front delays every answer."""
HELD_OUT = 0.055
"""Share of the sentences that are tested with: about 100 of the usual 1,800."""
_PEAK = 0.6
_NAME_CHARS = 16
_MAKE = "make it: python -m models.tts.data"


@dataclass(frozen=True)
class Utterance:
    """One sentence of the corpus, at 8 kHz.

    ``ids``: symbols ``[phones]``. ``durations``: frames of each. ``word_of``: index of the written word, -1 for
    pauses. ``pcm``: int16 ``[sum(durations) * HOP]``.
    """

    id: str
    """Made of voice and text; of a recorded voice the recording's own name."""
    text: str
    split: str
    ids: tuple[int, ...]
    word_of: tuple[int, ...]
    durations: tuple[int, ...]
    pcm: NDArray[np.int16]

    def word_ends_s(self) -> list[float]:
        """When each written word ends, in seconds."""
        ends = np.cumsum(self.durations) * HOP / TELEPHONE_RATE
        return [float(max(e for e, w in zip(ends, self.word_of, strict=True) if w == n)) for n in range(self.n_words)]

    @property
    def n_words(self) -> int:
        """Written words."""
        return max(self.word_of) + 1


# --- utterances -----------------------------------------------------------------------------------------------


def make_utterance(
    name: str, text: str, split: str, audio: NDArray[np.float32], segments: list[Segment], lexicon: Lexicon
) -> Utterance | None:
    """Cut the outer silence, count frames, name symbols; None when a word was left without a phone."""
    tokens = lexicon.tokenise(text)
    owners = align_words(segments, tokens, lexicon)
    if {index for index, _ in owners} - {-1} != set(range(len(tokens))):
        return None
    ends = np.maximum.accumulate(np.rint([s.end_s * TELEPHONE_RATE / HOP for s in segments]).astype(int))
    durations = np.maximum(np.diff(ends, prepend=0), 1)
    first = HOP * max(0, int(durations[0]) - LEAD_FRAMES) if segments[0].phone == "pau" else 0
    durations[0] -= first // HOP
    if segments[-1].phone == "pau":
        durations[-1] = min(durations[-1], TAIL_FRAMES)
    wanted = int(durations.sum()) * HOP
    cut = audio[first : first + wanted]
    pcm = np.clip(np.rint(np.pad(cut, (0, wanted - len(cut))) * 32767), -32768, 32767).astype(np.int16)
    ids = lexicon.ids(symbols_of(segments, owners, tokens))
    return Utterance(name, text, split, tuple(ids), tuple(i for i, _ in owners), tuple(int(d) for d in durations), pcm)


# --- recordings -------------------------------------------------------------------------------------------------


def read_ljspeech(folder: Path) -> list[tuple[str, str, Path | None]]:
    """Rows ``(id, text, wav)`` of a folder in LJSpeech's shape.

    Raises:
        ParleyError: no ``metadata.csv``, a malformed line, or a recording that is not there.
    """
    metadata = folder / "metadata.csv"
    if not metadata.is_file():
        raise ParleyError("no metadata.csv", where=str(folder), mend="give a folder like LJSpeech-1.1")
    rows: list[tuple[str, str, Path | None]] = []
    for number, line in enumerate(read_lines(metadata), 1):
        if not line:
            continue
        row, where = line.split("|"), f"{metadata}:{number}"
        if len(row) < 2 or not row[-1].strip():
            raise ParleyError("expected id|text or id|text|normalised", where=where, mend="correct the line")
        wav = folder / "wavs" / f"{row[0]}.wav"
        if not wav.is_file():
            raise ParleyError(f"no recording {wav.name}", where=where, mend="add it, or remove the line")
        rows.append((row[0], row[-1].strip(), wav))
    if not rows:
        raise ParleyError("metadata.csv is empty", where=str(metadata), mend="add lines id|text|normalised")
    return rows


def _recorded(wav: Path) -> NDArray[np.float32]:
    audio, rate = read_any_audio(wav)
    if len(audio) < rate // 10:
        raise ParleyError("recording is shorter than 0.1 s", where=str(wav), mend="record it again")
    return np.asarray(soxr.resample(audio, rate, TELEPHONE_RATE), dtype=np.float32)


# --- the corpus -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Corpus:
    """A corpus in memory. ``pitch`` and ``voiced``: fp32 per frame, one array an utterance."""

    utterances: list[Utterance]
    pitch: list[NDArray[np.float32]]
    voiced: list[NDArray[np.float32]]
    lexicon: Lexicon
    digest: str
    licence: str
    language: str = ""
    """The bot's tag; empty of a corpus that was made when there was one language."""

    def split(self, name: str) -> list[int]:
        """Positions of the utterances of ``train`` or ``test``."""
        return [n for n, u in enumerate(self.utterances) if u.split == name]


def _first_lexicon(texts: list[str], language: Language) -> Lexicon:
    """Each word said alone by flite."""
    words = sorted({word for text in texts for token in language.reader.tokenise(text) for word in token.words})
    flite = require("flite")

    def ask(word: str) -> list[str]:
        said = subprocess.run(
            [flite, "-ps", "-t", word, "-o", "none"], capture_output=True, text=True, encoding="utf-8"
        ).stdout
        return [p for p in said.split() if p in language.sounds.spoken] or ["ax"]

    found = {}
    with ThreadPoolExecutor(2) as pool, progress("looking up words", len(words)) as bar:
        for word, phones in zip(words, pool.map(ask, words), strict=True):
            found[word] = phones
            bar.advance()
    return Lexicon(found, language=language)


def _heard_lexicon(first: Lexicon, utterances: list[Utterance]) -> Lexicon:
    """The lexicon as the voice really speaks in sentences: most frequent phones, and those before vowels."""
    sounds = first.language.sounds
    plain: dict[str, Counter[str]] = defaultdict(Counter)
    vowel: dict[str, Counter[str]] = defaultdict(Counter)
    for utterance in utterances:
        said = _spoken_phones(utterance, first.symbols)
        words = [w for t in first.tokenise(utterance.text) for w in t.words]
        if len(said) != len(words):
            continue
        for n, (word, phones) in enumerate(zip(words, said, strict=True)):
            follower = said[n + 1][0] if n + 1 < len(said) else ""
            (vowel if follower in sounds.vowels else plain)[word][" ".join(phones)] += 1
    words_out = dict(first.words)
    before_vowel = {}
    for word in first.words:
        both = plain[word] or vowel[word]
        if both:
            words_out[word] = both.most_common(1)[0][0].split()
        if vowel[word] and vowel[word].most_common(1)[0][0] != " ".join(words_out[word]):
            before_vowel[word] = vowel[word].most_common(1)[0][0].split()
    words_out |= {word: list(phones) for word, phones in sounds.corrections.items()}
    return Lexicon(words_out, before_vowel, first.language)


def _spoken_phones(utterance: Utterance, symbols: Sequence[str]) -> list[list[str]]:
    """Phones grouped by spoken word, from the places in the symbols."""
    groups: list[list[str]] = []
    for symbol in (symbols[i] for i in utterance.ids):
        phone, _, place = symbol.partition("_")
        if place in ("B", "S"):
            groups.append([phone])
        elif place:
            groups[-1].append(phone)
    return groups


def build(
    bot: Bot, out: Path, *, count: int = 1800, seed: int = 7, recordings: Path | None = None, licence: str = "",
    texts: Sequence[Path] = (), of_texts: int = 1500,
) -> Corpus:  # fmt: skip
    """Make the corpus in ``out``, or read it back when it is already that of these inputs.

    ``texts``: files of other sentences (:func:`models.tts.script.read_texts`), of which the synthesiser says
    ``of_texts``, drawn at random; the words of all of them come into the lexicon.

    Raises:
        ParleyError: flite is missing, or ``recordings`` is not such a folder.
    """
    request = {"bot": bot.digest, "count": count, "seed": seed, "recordings": str(recordings or ""), "format": 3}
    others = list(dict.fromkeys(text for path in texts for text in read_texts(path, bot.speech)))
    if others:
        request |= {"texts": sha256_json(others), "of_texts": of_texts}
    if (out / "request.json").is_file() and sha256_json(read_json_object(out / "request.json")) == sha256_json(request):
        return load(out)
    require("flite")
    language = bot.speech
    if recordings:
        rows = read_ljspeech(recordings)
        sources: list[Source] = [row for row in rows if language.reader.tokenise(row[1])][:count]
    else:
        rng = random.Random(seed)
        said = [*sentences(bot, count, rng), *rng.sample(others, min(of_texts, len(others)))]
        sources = [(_name(bot, text), text, None) for text in dict.fromkeys(said)]
    # In an order, and split, that no other sentence has a say in.
    sources.sort(key=lambda source: source[0])
    lexicon = _first_lexicon([*(text for _, text, _ in sources), *others], language)

    made = _spoken(sources, bot.voice.name, seed, lexicon)
    kept = [u for u in made if u and len(u.pcm) > 20 * HOP]
    if not kept:
        raise ParleyError("no sentence could be aligned", where=str(out), mend="check texts and recordings")
    synthetic = f"flite voice {bot.voice.name} (free, X11-like licence of CMU)"
    licence = licence or (f"recordings in {recordings.name}" if recordings else synthetic)
    _write(out, _levelled(kept), _heard_lexicon(lexicon, kept), request, licence, bot.language)
    return load(out)


Source = tuple[str, str, Path | None]
"""A sentence: its name, its text, and its recording, if it has one."""


def _spoken(sources: Sequence[Source], voice: str, seed: int, lexicon: Lexicon) -> list[Utterance | None]:
    """The sentences by the synthesiser, or their recordings on its times; None where they could not be aligned."""

    def make(source: Source) -> Utterance | None:
        name, text, wav = source
        audio, segments = flite_speech(sayable(lexicon.tokenise(text)), voice)
        if wav:
            recorded = _recorded(wav)
            audio, segments = recorded, warp(segments, audio, recorded)
        split = "test" if share_of(name, seed) < HELD_OUT else "train"
        return make_utterance(name, text, split, audio, segments, lexicon)

    made = []
    with ThreadPoolExecutor(2) as pool, progress("speaking sentences", len(sources)) as bar:
        for utterance in pool.map(make, sources):
            made.append(utterance)
            bar.advance()
    return made


def _name(bot: Bot, text: str) -> str:
    return f"say-{sha256_json([bot.voice.name, text])[:_NAME_CHARS]}"


def _levelled(utterances: list[Utterance]) -> list[Utterance]:
    """One gain for the whole voice, so that sentences keep their level beside each other."""
    peaks = [float(np.abs(u.pcm.astype(np.int32)).max()) for u in utterances]
    gain = _PEAK * 32767 / max(float(np.quantile(peaks, 0.95)), 1.0)
    return [
        Utterance(
            u.id,
            u.text,
            u.split,
            u.ids,
            u.word_of,
            u.durations,
            np.clip(np.rint(u.pcm * gain), -32768, 32767).astype(np.int16),
        )  # fmt: skip
        for u in utterances
    ]


def _write(
    out: Path, utterances: list[Utterance], lexicon: Lexicon, request: dict[str, Any], licence: str, language: str
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(2) as pool, progress("finding pitch", len(utterances)) as bar:
        contours = []
        for contour in pool.map(lambda u: pitch_contour(u.pcm, HOP), utterances):
            contours.append(contour)
            bar.advance()
    rows = [
        {"id": u.id, "text": u.text, "split": u.split, "ids": u.ids, "word_of": u.word_of, "durations": u.durations}
        for u in utterances
    ]
    pcm = np.concatenate([u.pcm for u in utterances])
    np.savez(
        out / "audio.npz", pcm=pcm, pitch=np.concatenate([c[0] for c in contours]),
        voiced=np.concatenate([c[1] for c in contours]),
    )  # fmt: skip
    lexicon.save(out / "lexicon.json")
    digest = sha256_json([rows, hashlib.sha256(pcm.tobytes()).hexdigest()])
    write_atomic(
        out / "corpus.json", json.dumps({"digest": digest, "licence": licence, "language": language, "rows": rows})
    )
    # Last: a corpus without its request is unfinished and is made again.
    write_json(out / "request.json", request)


def load(folder: Path) -> Corpus:
    """Read a corpus.

    Raises:
        ParleyError: there is none in ``folder``, or a file of it is damaged.
    """
    if not (folder / "request.json").is_file():
        raise ParleyError("no corpus here", where=str(folder), mend=_MAKE)
    content = read_json_object(folder / "corpus.json")
    try:
        return _corpus_of(folder, content)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile):
        raise ParleyError("the corpus is damaged", where=str(folder), mend=_MAKE) from None


def _corpus_of(folder: Path, content: dict[str, Any]) -> Corpus:
    arrays = np.load(folder / "audio.npz", allow_pickle=False)
    utterances, pitch, voiced = [], [], []
    samples, all_pitch, all_voiced = arrays["pcm"], arrays["pitch"], arrays["voiced"]
    at = 0
    for row in content["rows"]:
        ids, word_of, durations = (tuple(row[name]) for name in ("ids", "word_of", "durations"))
        frames = sum(durations)
        pcm = samples[at * HOP : (at + frames) * HOP]
        utterances.append(Utterance(row["id"], row["text"], row["split"], ids, word_of, durations, pcm))
        pitch.append(all_pitch[at : at + frames])
        voiced.append(all_voiced[at : at + frames])
        at += frames
    language = content.get("language", "")
    lexicon = Lexicon.load(folder / "lexicon.json", language_of(language or DEFAULT))
    return Corpus(utterances, pitch, voiced, lexicon, content["digest"], content["licence"], language)


def main(argv: list[str] | None = None) -> int:
    """Make the corpus of a voice from the command line. Returns the exit status."""
    parser = ArgumentParser(description="Make the corpus of a voice.")
    parser.add_argument("--bot", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=1800, help="sentences, at most")
    parser.add_argument(
        "--texts", type=Path, action="append", default=[], help="other sentences, a line each, or JSONL"
    )
    parser.add_argument("--of-texts", type=int, default=1500, help="how many of them are spoken")
    parser.add_argument("--recordings", type=Path, help="a folder in LJSpeech's shape; default: the bot's synthesiser")
    parser.add_argument("--licence", default="", help="of the recordings; goes into the bundle's manifest")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args(argv)
    try:
        corpus = build(
            load_bot(options.bot), options.out, count=options.count, seed=options.seed,
            recordings=options.recordings, licence=options.licence, texts=options.texts, of_texts=options.of_texts,
        )  # fmt: skip
    except ParleyError as error:
        print(error, file=sys.stderr)
        return 2
    hours = sum(len(u.pcm) for u in corpus.utterances) / TELEPHONE_RATE / 3600
    print(f"{len(corpus.utterances)} sentences, {hours:.2f} h, {len(corpus.lexicon.words)} words, {corpus.digest[:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
