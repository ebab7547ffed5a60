"""First-piece latency and real-time factor on one core: ours, flite and espeak-ng as libraries in this process.

The peers are called through their C libraries with a callback for audio as it comes, so that no process starts and no
file is written in the measured time: their best case. Voices take turns sentence by sentence and so share whatever else
the machine does. Ours is measured twice: with words its lexicon lacks (the flite program is asked, once a word) and
again when they are known.
"""

from __future__ import annotations

import ctypes as c
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from models.tts.client import HarmonicNoiseClient
from models.tts.text import sayable
from parley.audio import TELEPHONE_RATE
from parley.errors import ParleyError
from parley.language.english.sounds import ask_flite
from parley.language.english.tokenise import tokenise
from parley.progress import progress

Timed = tuple[float, float, float]
"""Seconds to the first samples, to the last, and of audio."""


@contextmanager
def one_core() -> Iterator[None]:
    """Keep this process on the first of its cores meanwhile."""
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _library(name: str, package: str) -> c.CDLL:
    try:
        return c.CDLL(name, mode=c.RTLD_GLOBAL)
    except OSError:
        raise ParleyError(f"{name} is not installed", where="peer", mend=f"apt-get install {package}") from None


class EspeakLibrary:
    """libespeak-ng in its synchronous mode: it calls back with samples as it makes them."""

    def __init__(self) -> None:
        self._library = _library("libespeak-ng.so.1", "libespeak-ng1")
        self._rate = self._library.espeak_Initialize(2, 60, None, 0)  # AUDIO_OUTPUT_SYNCHRONOUS, buffers of 60 ms
        self._library.espeak_SetVoiceByName(b"en-us")
        self._first, self._samples = 0.0, 0
        kind = c.CFUNCTYPE(c.c_int, c.POINTER(c.c_short), c.c_int, c.c_void_p)
        self._callback = kind(self._came)
        self._library.espeak_SetSynthCallback(self._callback)

    def _came(self, _samples: Any, count: int, _events: Any) -> int:
        if count > 0:
            self._first = self._first or time.perf_counter()
            self._samples += count
        return 0

    def say(self, text: str) -> Timed:
        """Speak a text into nothing."""
        self._first, self._samples = 0.0, 0
        content = text.encode()
        begun = time.perf_counter()
        self._library.espeak_Synth(content, c.c_size_t(len(content) + 1), 0, 1, 0, 1, None, None)
        return self._first - begun, time.perf_counter() - begun, self._samples / self._rate


class _Wave(c.Structure):
    _fields_ = [
        ("type", c.c_char_p), ("rate", c.c_int), ("count", c.c_int), ("channels", c.c_int),
        ("samples", c.POINTER(c.c_short)),
    ]  # fmt: skip


_CAME = c.CFUNCTYPE(c.c_int, c.POINTER(_Wave), c.c_int, c.c_int, c.c_int, c.c_void_p)


class _Streaming(c.Structure):  # cst_audio_streaming_info of flite 2
    _fields_ = [
        ("fewest", c.c_int), ("came", _CAME), ("utterance", c.c_void_p), ("item", c.c_void_p), ("user", c.c_void_p)
    ]  # fmt: skip


class _FliteVoice(c.Structure):  # the head of cst_voice
    _fields_ = [("name", c.c_char_p), ("features", c.c_void_p)]


class FliteLibrary:
    """libflite with a voice of CMU, streaming."""

    def __init__(self, voice: str) -> None:
        self._library = _library("libflite.so.1", "flite")
        for name in ("libflite_usenglish.so.1", "libflite_cmulex.so.1"):
            _library(name, "flite")
        speaker = _library(f"libflite_cmu_us_{voice}.so.1", "flite")
        register = getattr(speaker, f"register_cmu_us_{voice}")
        register.restype = c.c_void_p
        flite = self._library
        flite.flite_init()
        flite.new_audio_streaming_info.restype = c.POINTER(_Streaming)
        flite.audio_streaming_info_val.restype = c.c_void_p
        flite.audio_streaming_info_val.argtypes = [c.c_void_p]
        flite.feat_set.argtypes = [c.c_void_p, c.c_char_p, c.c_void_p]
        flite.flite_text_to_wave.restype = c.POINTER(_Wave)
        flite.flite_text_to_wave.argtypes = [c.c_char_p, c.c_void_p]
        flite.delete_wave.argtypes = [c.c_void_p]
        self._voice = register(None)
        self._callback = _CAME(self._came)
        self._first = 0.0
        streaming = flite.new_audio_streaming_info()
        streaming.contents.came = self._callback
        features = c.cast(self._voice, c.POINTER(_FliteVoice)).contents.features
        flite.feat_set(features, b"streaming_info", flite.audio_streaming_info_val(c.cast(streaming, c.c_void_p)))

    def _came(self, _wave: Any, _start: int, _size: int, _last: int, _streaming: Any) -> int:
        self._first = self._first or time.perf_counter()
        return 0

    def say(self, text: str) -> Timed:
        """Speak a text into nothing."""
        self._first = 0.0
        begun = time.perf_counter()
        wave = self._library.flite_text_to_wave(text.encode(), self._voice)
        ended = time.perf_counter()
        spoken = wave.contents.count / wave.contents.rate
        self._library.delete_wave(c.cast(wave, c.c_void_p))
        return (self._first or ended) - begun, ended - begun, spoken


async def time_ours(client: HarmonicNoiseClient, text: str) -> Timed:
    """Take every piece at once, without playing it."""
    begun, first, samples = time.perf_counter(), 0.0, 0
    async for piece in client.synthesise(text):
        first = first or time.perf_counter()
        samples += len(piece.pcm)
    return first - begun, time.perf_counter() - begun, samples / TELEPHONE_RATE


async def measure(client: HarmonicNoiseClient, texts: Sequence[str], voice: str) -> dict[str, dict[str, float]]:
    """Figures of each voice over the texts."""
    flite, espeak = FliteLibrary(voice), EspeakLibrary()

    async def peer(say: Callable[[str], Timed], text: str) -> Timed:
        return say(sayable(tokenise(text)))

    ask_flite.cache_clear()
    voices: dict[str, Callable[[str], Awaitable[Timed]]] = {
        "parley": lambda text: time_ours(client, text),
        "parley, words known": lambda text: time_ours(client, text),
        "flite": lambda text: peer(flite.say, text),
        "espeak-ng": lambda text: peer(espeak.say, text),
    }
    with one_core(), progress("speed", len(texts)) as bar:
        for say in voices.values():
            await say("Warm up.")
        taken: dict[str, list[Timed]] = {name: [] for name in voices}
        for text in texts:
            for name, say in voices.items():
                taken[name].append(await say(text))
            bar.advance()
    return {name: _figures(timed) for name, timed in taken.items()}


def _figures(timed: Sequence[Timed]) -> dict[str, float]:
    first_ms = [1000 * first for first, _, _ in timed]
    return {
        "first_piece_ms_p50": round(float(np.percentile(first_ms, 50)), 2),
        "first_piece_ms_p95": round(float(np.percentile(first_ms, 95)), 2),
        "real_time_factor": round(sum(whole for _, whole, _ in timed) / sum(audio for _, _, audio in timed), 4),
        "sentences": len(timed),
    }
