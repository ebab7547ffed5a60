"""Ports to listen on."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
from collections.abc import Sequence

from parley.errors import ParleyError


def free_ports(host: str, wanted: Sequence[int], *, where: str) -> list[int]:
    """Different ports that can be listened on now; each 0 becomes a free one.

    Args:
        host: the address to listen at; empty for every interface.
        wanted: port numbers.
        where: what an error names: the setting, or who wants them.

    Raises:
        ParleyError: a port that was asked for is in use.
    """
    with contextlib.ExitStack() as held:
        ports = []
        for port in wanted:
            probe = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            if port:  # connections of a server that just ended linger; they do not stop a new one from listening
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise ParleyError(
                    f"port {port} on {host} is not to be had ({error.strerror})",
                    where=where,
                    mend="stop what listens there, or choose another port (0 picks a free one)",
                ) from None
            ports.append(probe.getsockname()[1])
        return ports


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens at an address, or a connection comes from it."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
