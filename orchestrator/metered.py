"""Websocket connections that send no more than a call needs: what is done before Parley sees a message.

Ray Serve makes uvicorn's servers with uvicorn's defaults: messages of 16 MiB, inflated before they are looked at, and
a quarter of a megabyte of small ones in one go, for which everybody waits. Ray also takes in all that is sent, without
end, so that reading slowly holds nobody up. A connection that sends far more than any call is cut here.
"""

from __future__ import annotations

from functools import wraps
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from orchestrator.wall_clock import MonotonicClock
from orchestrator.wires.budget import Bucket
from orchestrator.wires.line import MAX_MESSAGE_BYTES

MAX_FRAME_BYTES = 16 * MAX_MESSAGE_BYTES
"""A message that is too long breaks the wire's rules and is borne as such; one of 2 MiB ends the connection."""
SLICE_BYTES = 4096
"""Taken apart at once: at most some hundred messages."""
FRAMES_PER_S, FRAMES_AT_ONCE = 500.0, 3000.0
"""Twice what a call may send: whoever is over its own budget first hears so."""
BYTES_PER_S, BYTES_AT_ONCE = 256 * 1024.0, 4 * 1024 * 1024.0


class MeteredProtocol(WebSocketsSansIOProtocol):
    """uvicorn's websocket connection, cut off when it floods."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        clock = MonotonicClock()
        self._frames, self._bytes = Bucket(clock, FRAMES_PER_S), Bucket(clock, BYTES_PER_S)

    def data_received(self, data: bytes) -> None:
        """What the connection sent, in slices."""
        self._bytes.add(len(data))
        if self._bytes.level > BYTES_AT_ONCE:
            self.transport.abort()
        for at in range(0, len(data), SLICE_BYTES):
            if self.transport.is_closing():
                return
            super().data_received(data[at : at + SLICE_BYTES])
            if self._frames.level > FRAMES_AT_ONCE:
                self.transport.abort()

    def handle_cont(self, event: Frame) -> None:
        """A further part of a message."""
        self._frames.add(1)
        super().handle_cont(event)

    def handle_text(self, event: Frame) -> None:
        """A message of text, or its first part."""
        self._frames.add(1)
        super().handle_text(event)

    def handle_bytes(self, event: Frame) -> None:
        """A message of bytes, or its first part."""
        self._frames.add(1)
        super().handle_bytes(event)

    def handle_ping(self) -> None:
        """A ping, which is answered."""
        self._frames.add(1)
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        """The answer to one of ours, or to none."""
        self._frames.add(1)
        super().handle_pong(event)


def bound_websockets() -> None:
    """Give every uvicorn server of this process bounded connections: Ray Serve has no setting. Safe to call twice."""
    made = uvicorn.Config.__init__
    if getattr(made, "bounds_websockets", False):
        return

    @wraps(made)
    def bounded(self: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        bounds: dict[str, Any] = {
            "ws": MeteredProtocol,
            "ws_max_size": MAX_FRAME_BYTES,
            "ws_per_message_deflate": False,
        }
        made(self, *args, **(bounds | kwargs))

    bounded.bounds_websockets = True  # type: ignore[attr-defined]
    uvicorn.Config.__init__ = bounded  # type: ignore[method-assign]
