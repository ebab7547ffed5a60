"""Measuring an STT: whatever rate it listens at, it hears the dataset's audio at that."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from models.contracts import SttStream, Transcript
from models.stt.evaluate import decode
from parley.audio import Pcm


class Ear:
    """An STT that keeps what it is given."""

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        self.frames: list[Pcm] = []

    def new_stream(self) -> SttStream:
        return self

    async def accept(self, pcm: Pcm) -> None:
        self.frames.append(pcm)

    def partial(self) -> str:
        return ""

    async def finish(self) -> Transcript:
        return Transcript("", 0.0, accepted=False)


@pytest.mark.parametrize("rate", [8000, 16000])
def test_an_utterance_is_streamed_at_the_clients_rate_in_frames_of_20_ms(rate: int) -> None:
    ear = Ear(rate)
    tone = (8000 * np.sin(2 * np.pi * 400 * np.arange(8000) / 8000)).astype(np.int16)

    asyncio.run(decode(ear, tone))

    heard = np.concatenate(ear.frames)
    assert abs(len(heard) - rate) <= rate // 50 and len(ear.frames[0]) == rate // 50
    peak = np.argmax(np.abs(np.fft.rfft(heard))) * rate / len(heard)
    assert abs(peak - 400) < 2
