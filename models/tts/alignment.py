"""Where phones begin and end: told by flite for its own speech, carried over to a recording by time warping."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.tts.text import Lexicon, placed
from parley.audio import TELEPHONE_RATE
from parley.errors import ParleyError
from parley.language import Token
from parley.language.english.sounds import CORRECTIONS
from parley.programs import require

HOP = 80
"""Samples a frame: 10 ms, so that two frames fill a telephone packet."""


@dataclass(frozen=True)
class Segment:
    """A phone (or ``pau``) and the time it ends, in seconds."""

    phone: str
    end_s: float


def flite_speech(text: str, voice: str) -> tuple[NDArray[np.float32], list[Segment]]:
    """flite's audio (8 kHz float, ``[n]``) and its phones.

    Raises:
        ParleyError: flite is missing (names the package), or cannot say the text.
    """
    flite = require("flite")
    with tempfile.TemporaryDirectory() as folder:
        wav, addenda = Path(folder) / "said.wav", Path(folder) / "addenda"
        addenda.write_text(
            "".join(f'"{word}" nil : {phones}\n' for word, phones in CORRECTIONS.items()), encoding="utf-8"
        )
        command = [flite, "-voice", voice, "-add_lex", str(addenda), "-psdur", "-t", text, "-o", str(wav)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        if done.returncode or not wav.is_file() or not done.stdout.strip():
            raise ParleyError(f"flite could not say {text!r}: {done.stderr.strip()[:200]}", where=f"voice {voice}")
        audio, rate = soundfile.read(str(wav), dtype="float32")
    segments: list[Segment] = []
    offset = 0.0
    for line in done.stdout.splitlines():  # one line a sentence, its times starting at zero
        pairs = [item.rsplit(":", 1) for item in line.split()]
        segments += [Segment(phone, offset + float(end)) for phone, end in pairs]
        offset = segments[-1].end_s if segments else 0.0
    return soxr.resample(audio, rate, TELEPHONE_RATE).astype(np.float32), segments


def align_words(segments: list[Segment], tokens: list[Token], lexicon: Lexicon) -> list[tuple[int, int]]:
    """Give each segment its word: (written word, place in the list of spoken words), ``(-1, -1)`` for pauses.

    Edit distance between the phones heard and the words' phones from the lexicon; running speech reduces vowels and
    links words, so they are close and not equal.
    """
    expected = [
        (phone, (index, nth))
        for nth, (index, word) in enumerate((i, w) for i, t in enumerate(tokens) for w in t.words)
        for phone in lexicon.phones(word)
    ]
    heard = [(n, s.phone) for n, s in enumerate(segments) if s.phone != "pau"]
    cost = np.zeros((len(heard) + 1, len(expected) + 1))
    cost[:, 0] = np.arange(len(heard) + 1)
    cost[0, :] = np.arange(len(expected) + 1)
    for i, (_, mine) in enumerate(heard, 1):
        for j, (theirs, _) in enumerate(expected, 1):
            cost[i, j] = min(
                cost[i - 1, j - 1] + _unlike(mine, theirs), cost[i - 1, j] + 1.0, cost[i, j - 1] + 1.0
            )  # fmt: skip
    owners: list[tuple[int, int]] = [(-1, -1)] * len(segments)
    i, j = len(heard), len(expected)
    while i > 0:
        if j > 0 and cost[i, j] == cost[i - 1, j - 1] + _unlike(heard[i - 1][1], expected[j - 1][0]):
            owners[heard[i - 1][0]] = expected[j - 1][1]
            i, j = i - 1, j - 1
        elif j > 0 and cost[i, j] == cost[i, j - 1] + 1.0:
            j -= 1
        else:
            owners[heard[i - 1][0]] = expected[max(j - 1, 0)][1]
            i -= 1
    return owners


def _unlike(a: str, b: str) -> float:
    if a == b:
        return 0.0
    return 0.6 if (a[0] in "aeiou") == (b[0] in "aeiou") else 1.5


def symbols_of(segments: list[Segment], owners: list[tuple[int, int]], tokens: list[Token]) -> list[str]:
    """The network's symbol of each segment: phones with their place in the word, pauses by what they stand for."""
    symbols: list[str] = []
    n, last = 0, len(segments)
    while n < last:
        if segments[n].phone == "pau":
            following_pause = n + 1 < last and segments[n + 1].phone == "pau"
            written = next((owners[m][0] for m in range(n - 1, -1, -1) if owners[m][0] >= 0), -1)
            starts = written < 0 or (n > 0 and segments[n - 1].phone == "pau")
            mark = tokens[written].pause if written >= 0 else ""
            if starts:
                symbols.append("^")
            elif following_pause or n + 1 == last:
                symbols.append("?" if mark == "?" else ".")
            else:
                symbols.append(",")
            n += 1
            continue
        end = n
        while end < last and owners[end] == owners[n] and segments[end].phone != "pau":
            end += 1
        symbols += placed([s.phone for s in segments[n:end]])
        n = end
    return symbols


def warp(segments: list[Segment], spoken: NDArray[np.float32], recorded: NDArray[np.float32]) -> list[Segment]:
    """Carry the borders of flite's phones (in ``spoken``) over to a recording of the same text, by time warping.

    Both are float ``[n]`` at 8 kHz. Frames are 10 ms; every phone keeps at least one.
    """
    path = match_frames(spoken, recorded)
    last = max(1, len(recorded) // HOP)
    ends: list[int] = []
    for n, segment in enumerate(segments):
        frame = min(round(segment.end_s * TELEPHONE_RATE / HOP), len(path) - 1)
        reached = last if n == len(segments) - 1 else int(path[frame])
        ends.append(min(max(reached, (ends[-1] if ends else 0) + 1), last - (len(segments) - 1 - n)))
    if min(np.diff(ends, prepend=0)) < 1:
        raise ParleyError(f"recording is too short for its text ({last} frames, {len(segments)} phones)")
    return [Segment(s.phone, e * HOP / TELEPHONE_RATE) for s, e in zip(segments, ends, strict=True)]


def match_frames(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.int64]:
    """For each 10 ms frame of ``a`` the frame of ``b`` that says the same; both float ``[n]`` at 8 kHz."""
    return _dtw(_warp_frames(a), _warp_frames(b))


def _warp_frames(audio: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean and variance normalised log energies in 24 mel bands, ``[frames, 24]``."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(audio, (88, 168)), 256)[::HOP][: max(1, len(audio) // HOP)]
    power = np.abs(np.fft.rfft(frames * np.hanning(256), 512)) ** 2
    log = np.log(power @ mel_bands(24, 512).T + 1e-6)
    return (log - log.mean(0)) / (log.std(0) + 1e-3)


def _dtw(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.int64]:
    """For each frame of ``a`` the first frame of ``b`` on the cheapest monotone path."""
    rows, columns = warping_path(np.sqrt(np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T, 0)))
    return columns[np.searchsorted(rows, np.arange(len(a)))]


def warping_path(distance: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the cheapest monotone path from corner to corner of ``[rows, columns]`` (Sakoe and Chiba,
    1978); both ascend, and every row and column is on it."""
    rows, columns = distance.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0.0
    for d in range(2, rows + columns + 1):  # along antidiagonals, where cells do not depend on each other
        across = np.arange(max(1, d - columns), min(rows, d - 1) + 1)
        down = d - across
        before = np.minimum(total[across - 1, down], total[across, down - 1])
        total[across, down] = distance[across - 1, down - 1] + np.minimum(total[across - 1, down - 1], before)
    path = []
    i, j = rows, columns
    while i > 0 and j > 0:
        path.append((i - 1, j - 1))
        step = int(np.argmin((total[i - 1, j - 1], total[i - 1, j], total[i, j - 1])))
        i, j = (i - 1, j - 1) if step == 0 else (i - 1, j) if step == 1 else (i, j - 1)
    steps = np.array(path[::-1], dtype=np.int64)
    return steps[:, 0], steps[:, 1]


def mel_bands(n_mels: int, n_fft: int, low_hz: float = 60.0, high_hz: float = 3800.0) -> NDArray[np.float64]:
    """Triangular mel filters ``[n_mels, n_fft // 2 + 1]`` at 8 kHz (O'Shaughnessy's mel scale)."""
    mel = np.linspace(1127 * np.log1p(low_hz / 700), 1127 * np.log1p(high_hz / 700), n_mels + 2)
    edges = 700 * np.expm1(mel / 1127)
    hz = np.linspace(0, TELEPHONE_RATE / 2, n_fft // 2 + 1)[None]
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))
