"""The door of the REST routes: who asks is looked at before a byte of the body is read, and the bytes are counted."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from experiments.assignment import ExperimentRefused
from experiments.problems import problem, refusal

PREFIX = "/v1/"
_SAFE = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True)
class DoorLimits:
    """What the door takes at most."""

    ids_bytes: int = 4_000_000
    """Body of a look-up of ids."""
    change_bytes: int = 64_000
    """Any other body."""
    read_within_s: float = 10.0
    """A whole body."""
    attempts: int = 20
    """Wrong tokens that an address may name within `attempts_within_s`."""
    attempts_within_s: float = 60.0
    peers: int = 4096
    """Addresses whose attempts are remembered."""


LIMITS = DoorLimits()


class TokenGuard:
    """Compares bearer tokens in constant time; keeps only the digest of the right one.

    Args:
        token: the control token, empty for none.
        open_to_readers: whether, with no token set, anybody may read: only where the site listens on loopback.
    """

    def __init__(self, token: str, *, open_to_readers: bool = True) -> None:
        self._digest = _digest(token) if token else None
        self._open = open_to_readers

    def check(self, method: str, authorization: str) -> None:
        """Whether a request may go on, by its headers alone.

        Raises:
            ExperimentRefused: 403, no token is set; 401, no or another one was sent.
        """
        if self._digest is None:
            if method in _SAFE and self._open:
                return
            raise ExperimentRefused(
                "changes over REST are closed: this server has no control token",
                kind="closed",
                status=403,
                mend="set PARLEY_CONTROL_TOKEN and start it again, or use: parley experiment",
            )
        scheme, _, given = authorization.partition(" ")
        # Digests have one length, so the comparison tells nothing about the token's.
        if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), self._digest):
            raise ExperimentRefused(
                "no valid token", kind="unauthorized", status=401, mend="send Authorization: Bearer TOKEN"
            )


class Attempts:
    """How often an address may name a wrong token: after that it is not heard for a while, whatever it names.

    Everybody behind one address shares it; on a machine of one's own that is everybody on the machine. The command line
    asks for no token.

    Args:
        limits: how many, in which time, of how many addresses.
        clock: seconds of a clock that nobody sets.
    """

    def __init__(self, limits: DoorLimits = LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._failed: dict[str, list[float]] = {}

    def wait_s(self, peer: str) -> float:
        """Seconds until this address is heard again; 0 when it is."""
        recent = self._recent(peer)
        if len(recent) < self._limits.attempts:
            return 0.0
        return recent[0] + self._limits.attempts_within_s - self._clock()

    def failed(self, peer: str) -> None:
        """It named a wrong token."""
        recent = self._recent(peer)
        self._failed.pop(peer, None)  # to the end: who failed last is remembered longest
        self._failed[peer] = [*recent, self._clock()]
        for old in list(self._failed)[: -self._limits.peers]:
            del self._failed[old]

    def _recent(self, peer: str) -> list[float]:
        since = self._clock() - self._limits.attempts_within_s
        return [at for at in self._failed.get(peer, []) if at > since]


class RestDoor:
    """Middleware before the routes under ``/v1/``."""

    def __init__(self, app: ASGIApp, guard: TokenGuard, limits: DoorLimits = LIMITS) -> None:
        self._app = app
        self._guard = guard
        self._attempts = Attempts(limits)
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or hand on the request with its whole body."""
        if scope["type"] != "http" or not scope["path"].startswith(PREFIX):
            await self._app(scope, receive, send)
            return
        peer = str((scope.get("client") or ("", 0))[0])
        if (wait_s := self._attempts.wait_s(peer)) > 0:
            headers = {"Retry-After": str(math.ceil(wait_s))}
            answer = problem(429, "too many wrong tokens", "try again later", kind="attempts", headers=headers)
            await answer(scope, receive, send)
            return
        named = _header(scope, b"authorization")
        try:
            self._guard.check(scope["method"], named)
        except ExperimentRefused as error:
            if named and error.status == 401:
                self._attempts.failed(peer)
            await refusal(error)(scope, receive, send)
            return
        limits = self._limits
        most = limits.ids_bytes if scope["path"].rstrip("/").endswith("/assign") else limits.change_bytes
        declared = _header(scope, b"content-length") or "0"
        try:
            if not declared.isascii() or not declared.isdigit() or int(declared[:20]) > most:
                raise _TooLong
            async with asyncio.timeout(limits.read_within_s):
                body = await _read(receive, most)
        except _TooLong:
            # The server drops what still comes. Closing now would take the answer from a client that is still sending.
            answer = problem(413, "body too large", f"send at most {most} bytes", kind="too-large")
        except TimeoutError:
            limit = f"send it within {limits.read_within_s:g} s"
            answer = problem(408, "the body did not come", limit, kind="too-slow", headers={"Connection": "close"})
        else:
            if body is not None:
                await self._app(scope, _replay(body, receive), send)
            return
        await answer(scope, receive, send)


class _TooLong(Exception):
    """More bytes than the limit."""


async def _read(receive: Receive, most: int) -> bytes | None:
    """The body; None when the client goes away. Whatever length was declared, the bytes that come are counted."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise _TooLong
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    first: Iterable[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def again() -> Message:
        for message in first:
            return message
        return await receive()

    return again


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
