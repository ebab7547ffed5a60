"""The end of a call when nothing else of it runs any more: something fixed is said, and heard, before the hang-up."""

from __future__ import annotations

import asyncio
import logging

from models.contracts import Piece
from orchestrator.services import Line
from orchestrator.speaker import HANGUP_SLACK_S, Speaker
from orchestrator.wires import WireError
from orchestrator.wires.budget import Budget
from orchestrator.wires.twilio import Mark, Stop, parse
from parley.audio import SAMPLE_RATE

_log = logging.getLogger(__name__)

CLOSE_WITHIN_S = 5.0
"""A gateway that reads nothing any more is not waited for."""
_PAUSE_S = 0.002
"""Between messages: one who floods is listened to slowly."""


async def say_last(line: Line, speaker: Speaker, prompt: Piece, budget: Budget) -> None:
    """Say a prompt instead of what is being said, and return when it has been heard or the gateway is gone.

    Args:
        budget: what may still be read of the gateway's messages.
    """
    try:
        async with asyncio.timeout(len(prompt.pcm) / SAMPLE_RATE + HANGUP_SLACK_S + CLOSE_WITHIN_S):
            await speaker.clear()
            await speaker.send(prompt)
            tasks = [asyncio.ensure_future(_listen(line, speaker, budget)), asyncio.ensure_future(speaker.heard_out())]
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    except TimeoutError:
        return
    except Exception as error:
        _log.warning("could not say the last words", extra={"reason": type(error).__name__})


async def hang_up(line: Line, code: int, reason: str) -> None:
    """Close the connection, whatever state it is in. ``reason`` may hold anything that a peer sent."""
    # A close frame has room for 123 bytes (RFC 6455, 5.5).
    short = reason.encode("ascii", "backslashreplace")[:120].decode("ascii")
    try:
        async with asyncio.timeout(CLOSE_WITHIN_S):
            await line.close(code, short)
    except Exception as error:
        _log.warning("could not close the connection", extra={"reason": type(error).__name__})


async def _listen(line: Line, speaker: Speaker, budget: Budget) -> None:
    """Marks, until the caller hangs up."""
    while (message := await line.receive()) is not None:
        await asyncio.sleep(_PAUSE_S)
        if not budget.message(len(message)):
            continue
        try:
            event = parse(message)
        except WireError:
            continue
        if isinstance(event, Stop):
            return
        if isinstance(event, Mark):
            speaker.echoed(event.name)
