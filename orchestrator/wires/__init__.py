"""The wires a telephone gateway may speak. One module a wire: its events as types, ``parse`` and ``render``."""

from __future__ import annotations

from parley.errors import ParleyError

MAX_MESSAGE_BYTES = 1 << 20
"""Longest message a gateway may send; 20 ms of audio need some 400 bytes."""


class WireError(ParleyError):
    """A peer broke the wire's rules. The call is answered with an apology or ended; nothing else is touched."""
