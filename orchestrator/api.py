"""The HTTP face of a replica: the gateway's websocket, health and readiness."""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect, WebSocketState

from experiments.problems import answer_with_problems, problem, refuse_other_sockets, refuse_socket
from orchestrator.gatekeeper import Gatekeeper, Refused, Visitor
from orchestrator.replica import Replica
from orchestrator.session import answer_call
from orchestrator.waiting import Place
from orchestrator.wires.contract import CallStarted, Ending, Wire
from orchestrator.wires.registered import WIRES

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 5


class WebSocketLine:
    """A gateway's websocket as a `Line`: a gateway that is gone is silence, not an error."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes | None:
        """See `orchestrator.wires.line.Line`."""
        if self._socket.client_state is WebSocketState.DISCONNECTED:
            return None
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    async def send(self, message: str | bytes) -> None:
        """See `orchestrator.wires.line.Line`."""
        try:
            if isinstance(message, str):
                await self._socket.send_text(message)
            else:
                await self._socket.send_bytes(message)
        except (WebSocketDisconnect, RuntimeError, OSError):
            # The reader sees the disconnect too and ends the call; what is left to say has no listener.
            _log.debug("nobody listens any more")

    async def close(self, code: int, reason: str) -> None:
        """See `orchestrator.wires.line.Line`."""
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError, OSError):
            _log.debug("the connection was closed already")


def create_api(open_replica: Callable[[], Replica]) -> FastAPI:
    """The application of one replica.

    Args:
        open_replica: makes the replica, in the process and on the event loop that serve it.
    """
    replica = open_replica()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await replica.open()
        try:
            yield
        finally:
            await replica.close()

    api = FastAPI(title="Parley", lifespan=lifespan, docs_url=None, redoc_url=None)
    answer_with_problems(api)
    for wire in WIRES:
        door = CallDoor(replica, wire)
        for path in wire.paths:
            api.add_api_websocket_route(path, door.take)
            api.add_api_websocket_route(path + "/{token}", door.take)
    refuse_other_sockets(api)
    api.include_router(_health(replica))
    return api


def _health(replica: Replica) -> APIRouter:
    """Where an operator and a load balancer look."""
    routes = APIRouter()

    @routes.get("/healthz")
    async def healthz() -> dict[str, object]:
        """The process lives; what it does."""
        return {
            "ok": True,
            "bot": replica.bot_name,
            "release": replica.routing.release.number,
            "pointer": replica.routing.seq,
            "calls": replica.calls,
            "waiting": len(replica.waiting),
            "max_calls": replica.settings.max_calls,
            "admission": replica.admission.figures(time.monotonic()),
            "warm": replica.warm,
            "standing_in_for": replica.standing_in_for,
            "fallbacks": {f"{stage}.{reason}": n for (stage, reason), n in replica.services.fallbacks.items()},
            "loops": await asyncio.to_thread(replica.loops),
            "torch_loaded": "torch" in sys.modules,
        }

    @routes.get("/readyz")
    async def readyz() -> JSONResponse:
        """Whether the four versions of the release answer: each is asked. ``standing_in_for``: those that this process
        answers in Triton's place; ``following``: whether the release is the one that the aliases name now."""
        stages = await replica.readiness()
        ready = replica.warm and all(stages.values())
        now = replica.routing
        body = {
            "ready": ready,
            "release": now.release.number,
            "pointer": now.seq,
            "following": replica.following,
            "stages": stages,
            "warm": replica.warm,
            "standing_in_for": replica.standing_in_for,
        }
        return JSONResponse(body, status_code=200 if ready else 503)

    return routes


class CallDoor:
    """Where the calls of a wire come in: their proof and the room for them are looked at before the upgrade."""

    def __init__(self, replica: Replica, wire: Wire) -> None:
        self._replica = replica
        self._wire = wire
        self._keeper = Gatekeeper.of(replica.settings, wire)

    async def take(self, socket: WebSocket) -> None:
        """Serve one connection, or refuse it."""
        try:
            visitor = self._keeper.look(
                dict(socket.headers),
                socket.scope.get("raw_path", socket.url.path.encode()).decode("latin-1"),
                socket.url.query,
                socket.path_params.get("token", ""),
            )
        except Refused as error:
            # Neither the proof nor the path, which may hold it, is logged.
            _log.warning("call refused", extra={"reason": error.what, "status": error.status})
            kind = "unauthorized" if error.status == 401 else "forbidden"
            await refuse_socket(socket, problem(error.status, error.what, str(error), kind=kind, mend=error.mend))
            return
        task = asyncio.current_task()
        assert task is not None
        place = self._replica.admit(socket.client.host if socket.client else "", lambda: _cancel(task))
        if place is None:
            headers = {"Retry-After": str(RETRY_AFTER_S)}
            detail = f"one more call would make the others late; try again in {RETRY_AFTER_S} s"
            await refuse_socket(socket, problem(503, "all lines are busy", detail, kind="busy", headers=headers))
            return
        try:
            await self._answer(socket, visitor, place)
        finally:
            self._replica.leave(place)

    async def _answer(self, socket: WebSocket, visitor: Visitor, place: Place) -> None:
        def welcome(started: CallStarted) -> CallStarted | None:
            if not self._replica.start(place):
                return None
            return started if visitor.may_trace else started.untraced()

        services = self._replica.services
        call = self._wire.open(WebSocketLine(socket), services.clock)
        try:
            await socket.accept()
            await answer_call(call, services, welcome)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if not place.sent_away or task is None or task.uncancel():
                raise
            _log.info("a connection without a call was closed for another")
            await call.hang_up(Ending.BUSY, "no start, and the place is needed")


def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
