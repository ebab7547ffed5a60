"""The beginning of a call: what a gateway says before there is anything to answer."""

from __future__ import annotations

import asyncio
import logging

from orchestrator.services import Line
from orchestrator.wires import WireError
from orchestrator.wires.twilio import Connected, Start, Unknown, parse

_log = logging.getLogger(__name__)

MAX_EARLY_MESSAGES = 20
"""Messages before ``start`` that are borne; ``connected`` is the only one a gateway needs."""


async def await_start(line: Line, timeout_s: float) -> Start | None:
    """The ``start`` message; None when the gateway goes away before it.

    Raises:
        WireError: something else came first, nothing came in time, or the message is wrong.
    """
    try:
        async with asyncio.timeout(timeout_s):
            for _ in range(MAX_EARLY_MESSAGES):
                message = await line.receive()
                if message is None:
                    return None
                event = parse(message)
                if isinstance(event, Start):
                    return event
                if not isinstance(event, Connected | Unknown):
                    raise WireError(f"{type(event).__name__.lower()} before start", mend="send connected, then start")
    except TimeoutError:
        raise WireError(f"no start within {timeout_s:g} s", mend="send connected, then start") from None
    except (RuntimeError, OSError, ValueError) as error:
        _log.warning("the connection broke", extra={"reason": type(error).__name__})
        return None
    raise WireError(f"no start among {MAX_EARLY_MESSAGES} messages", mend="send connected, then start")
