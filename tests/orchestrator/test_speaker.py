"""The mouth says when it began to say what: also where it must speak in step with time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from call_fakes import FakeClock
from fake_models import tone

from models.contracts import Piece
from orchestrator.speaker import Speaker
from orchestrator.wall_clock import CALL_RATE, Elapsed
from orchestrator.wires.contract import Capabilities
from parley.audio import Pcm


class FakeCall:
    """A gateway that plays at once what it gets."""

    capabilities = Capabilities(
        marks=False, clear=True, paced_by_us=True, rate_in=CALL_RATE, rate_out=CALL_RATE, keys_out=False, transfer=False
    )

    async def play(self, pcm: Pcm, rate: int, **_: Any) -> Pcm:
        return pcm

    async def clear(self) -> None:
        return None


def test_what_is_said_in_step_began_when_its_first_part_was_sent() -> None:
    async def speak() -> None:
        clock = FakeClock()
        speaker = Speaker(FakeCall(), clock, Elapsed(clock))  # type: ignore[arg-type]
        before = time.monotonic()
        sending = asyncio.ensure_future(speaker.send(Piece(tone(300, 1.0), CALL_RATE)))
        for _ in range(5):
            await asyncio.sleep(0)
        began = speaker.sent_after(0)
        assert not sending.done() and began is not None and before <= began <= time.monotonic()
        sent = speaker.sent
        for _ in range(60):
            clock.advance(0.02)
            for _ in range(3):
                await asyncio.sleep(0)
        await sending
        assert speaker.sent == CALL_RATE > sent
        assert speaker.sent_after(0) == began and speaker.sent_after(speaker.sent) is None

    asyncio.run(speak())


def test_what_was_taken_back_was_never_begun() -> None:
    async def speak() -> None:
        clock = FakeClock()
        speaker = Speaker(FakeCall(), clock, Elapsed(clock))  # type: ignore[arg-type]
        sending = asyncio.ensure_future(speaker.send(Piece(tone(300, 1.0), CALL_RATE)))
        for _ in range(5):
            await asyncio.sleep(0)
        sending.cancel()
        await speaker.clear()
        assert speaker.sent == 0 and speaker.sent_after(0) is None

    asyncio.run(speak())
