"""The wires a telephone gateway may speak. One module a wire: its events as types, ``parse`` and ``render``."""

from __future__ import annotations

from parley.errors import ParleyError

MAX_MESSAGE_BYTES = 1 << 17
"""Longest message a gateway may send: 12 s of audio; 20 ms need some 400 bytes. The worst takes 3 ms to read."""


class WireError(ParleyError):
    """A peer broke the wire's rules. The call is answered with an apology or ended; nothing else is touched."""
