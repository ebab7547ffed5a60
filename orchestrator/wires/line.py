"""A connection of messages, whatever is said on it."""

from __future__ import annotations

from typing import Protocol

MAX_MESSAGE_BYTES = 1 << 17
"""Longest message a gateway may send: 12 s of mu-law in JSON; 20 ms need some 400 bytes. The worst takes 3 ms to
read."""


class Line(Protocol):
    """A connection that carries messages both ways."""

    async def receive(self) -> str | bytes | None:
        """The next message, None when the gateway is gone."""
        ...

    async def send(self, message: str | bytes) -> None:
        """Send a message; sending to a gateway that is gone does nothing."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Close the connection, with a code of RFC 6455. Safe to call twice."""
        ...
