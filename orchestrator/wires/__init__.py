"""The wires a telephone gateway may speak. One module a wire: its events as types, ``parse`` and ``render``."""

from __future__ import annotations

from orchestrator.wires.contract import WireError as WireError

MAX_MESSAGE_BYTES = 1 << 17
"""Longest message a gateway may send: 12 s of audio; 20 ms need some 400 bytes. The worst takes 3 ms to read."""
