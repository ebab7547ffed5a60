"""The server's side of a websocket: floods are cut before they cost others their time, and nothing is inflated."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import uvicorn
import websockets
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.frames import Frame, Opcode

from orchestrator.metered import FRAMES_AT_ONCE, MAX_FRAME_BYTES, MeteredProtocol, bound_websockets
from orchestrator.wires.line import MAX_MESSAGE_BYTES


@asynccontextmanager
async def serving(received: list[int]) -> AsyncIterator[str]:
    """A server that counts what it gets; its address."""

    async def take(socket: WebSocket) -> None:
        await socket.accept()
        try:
            while True:
                received.append(len(await socket.receive_text()))
        except WebSocketDisconnect:
            return

    app = Starlette(routes=[WebSocketRoute("/", take)])
    config = uvicorn.Config(
        app,
        port=0,
        ws=MeteredProtocol,
        ws_max_size=MAX_FRAME_BYTES,
        ws_per_message_deflate=False,
        log_level="critical",
    )
    server = uvicorn.Server(config)
    serve = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    finally:
        server.should_exit = True
        await serve


async def _no_app(*_: object) -> None:
    raise AssertionError("nothing is served")


def frame(opcode: Opcode, payload: bytes, fin: bool = True) -> bytes:
    return Frame(opcode, payload, fin).serialize(mask=True)


@pytest.mark.parametrize(
    "flood",
    [
        frame(Opcode.TEXT, b"") * 50_000,
        frame(Opcode.PING, b"") * 50_000,
        frame(Opcode.PONG, b"") * 50_000,
        frame(Opcode.TEXT, b"", False) + frame(Opcode.CONT, b"", False) * 50_000,
        frame(Opcode.TEXT, os.urandom(4).hex().encode() * 15_000) * 60,
    ],
    ids=["messages", "pings", "pongs", "fragments", "bytes"],
)
def test_a_connection_that_floods_is_cut(flood: bytes) -> None:
    received: list[int] = []

    async def attack() -> int | None:
        async with serving(received) as address, websockets.connect(address, compression=None) as line:
            line.transport.write(flood)
            async with asyncio.timeout(20):
                await line.wait_closed()
            return line.close_code

    assert asyncio.run(attack()) == 1006
    assert len(received) <= FRAMES_AT_ONCE + 700


def test_what_a_call_may_send_at_once_passes() -> None:
    received: list[int] = []

    async def call() -> None:
        async with serving(received) as address, websockets.connect(address) as line:
            for _ in range(2000):
                await line.send("x" * 400)
            await line.send("y" * MAX_MESSAGE_BYTES)
            while len(received) < 2001:
                await asyncio.sleep(0.005)

    asyncio.run(call())

    assert received == [400] * 2000 + [MAX_MESSAGE_BYTES]


def test_nothing_is_inflated_and_too_long_a_message_is_not_read() -> None:
    async def call() -> tuple[str | None, int | None]:
        async with serving([]) as address, websockets.connect(address, compression="deflate") as line:
            agreed = line.response.headers.get("Sec-WebSocket-Extensions") if line.response else "no response"
            with pytest.raises(websockets.ConnectionClosed):
                await line.send("x" * (MAX_FRAME_BYTES + 1))
                await line.recv()
            return agreed, line.close_code

    assert asyncio.run(call()) == (None, 1009)


def test_every_server_of_a_replica_has_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn.Config, "__init__", uvicorn.Config.__init__)

    bound_websockets()
    bound_websockets()
    config = uvicorn.Config(_no_app)

    assert (config.ws, config.ws_max_size, config.ws_per_message_deflate) == (MeteredProtocol, MAX_FRAME_BYTES, False)
    assert uvicorn.Config(_no_app, ws_max_size=5).ws_max_size == 5
