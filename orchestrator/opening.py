"""The beginning of a call: what a gateway says before there is anything to answer."""

from __future__ import annotations

import asyncio

from orchestrator.wires.contract import CallStarted, GatewayCall, WireError


async def await_start(call: GatewayCall, timeout_s: float) -> CallStarted | None:
    """How the call starts; None when the gateway goes away before it.

    Raises:
        WireError: something else came first, nothing came in time, or the message is wrong.
    """
    try:
        async with asyncio.timeout(timeout_s):
            first = await anext(call)
    except TimeoutError:
        raise WireError(f"no start within {timeout_s:g} s", mend=f"send {call.begins_with}") from None
    return first if isinstance(first, CallStarted) else None
