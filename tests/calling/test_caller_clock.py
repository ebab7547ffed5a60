"""The caller measures waits by its schedule: a stall of its machine makes them longer, never shorter."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import websockets

from calling.caller import CallOptions, place_call
from calling.speech import Speech
from orchestrator.wires.twilio.messages import Media, Start, parse, render
from parley.audio import FRAME_SAMPLES, TELEPHONE_RATE
from parley.g711 import ulaw_encode
from parley.recordings import Recording

_SPEECH_FRAMES, _STALL_S = 5, 0.4
_LOUD = ulaw_encode(np.full(8 * FRAME_SAMPLES, 8000, dtype=np.int16)).tobytes()


async def _stalling_bot(socket: websockets.ServerConnection) -> None:
    """Stop the whole loop, the caller's too, when the speech ends; answer to the frame after it."""
    frames, sid = 0, ""
    async for message in socket:
        event = parse(message)
        if isinstance(event, Start):
            sid = event.stream_sid
        if not isinstance(event, Media):
            continue
        frames += 1
        if frames == _SPEECH_FRAMES:
            time.sleep(_STALL_S)
        if frames == _SPEECH_FRAMES + 1:
            await socket.send(render(Media(sid, _LOUD, 1, 0, 1, "outbound")))


def test_a_stall_after_the_speech_is_part_of_the_wait() -> None:
    pcm = np.full((_SPEECH_FRAMES + 20) * FRAME_SAMPLES, 3000, dtype=np.int16)
    recording = Speech(Recording("a.wav", Path("a.wav")), pcm, TELEPHONE_RATE, _SPEECH_FRAMES * FRAME_SAMPLES)

    async def call() -> float | None:
        async with websockets.serve(_stalling_bot, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            options = CallOptions(f"ws://127.0.0.1:{port}", greeting=False, gap_s=0.0, wait_s=1.0)
            report = await place_call([recording], options)
        return report.said[0].voice_to_voice_ms

    wait = asyncio.run(call())

    assert wait is not None and wait >= 1000 * _STALL_S - 40
