"""The end of a call when nothing else of it runs any more: something fixed is said, and heard, before the hang-up."""

from __future__ import annotations

import asyncio
import logging

from models.contracts import Piece
from orchestrator.speaker import HANGUP_SLACK_S, Speaker
from orchestrator.wires.contract import Ending, GatewayCall

_log = logging.getLogger(__name__)


async def say_last(call: GatewayCall, speaker: Speaker, prompt: Piece, *, close_within_s: float) -> None:
    """Say a prompt instead of what is being said, and return when it has been heard or the gateway is gone.

    Args:
        close_within_s: a gateway that reads nothing any more is given up after the prompt's length and this.
    """
    try:
        async with asyncio.timeout(len(prompt.pcm) / prompt.sample_rate + HANGUP_SLACK_S + close_within_s):
            await speaker.clear()
            await speaker.send(prompt)
            tasks = [asyncio.ensure_future(_listen(call, speaker)), asyncio.ensure_future(speaker.heard_out())]
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


async def hang_up(call: GatewayCall, ending: Ending, reason: str, *, close_within_s: float) -> None:
    """End the call, whatever state it is in."""
    try:
        async with asyncio.timeout(close_within_s):
            await call.hang_up(ending, reason)
    except Exception as error:
        _log.warning("could not close the connection", extra={"reason": type(error).__name__})


async def _listen(call: GatewayCall, speaker: Speaker) -> None:
    """Marks, until the caller hangs up."""
    async for played in call.last_marks():
        speaker.echoed(played.mark)
