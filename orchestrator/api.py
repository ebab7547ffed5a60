"""The HTTP face of a replica: the gateway's websocket, health, readiness, and the product owner's routes."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, WebSocket
from fastapi.responses import JSONResponse, Response
from starlette.websockets import WebSocketDisconnect, WebSocketState

from experiments.api import router
from orchestrator.desk import Desk
from orchestrator.session import answer_call

_log = logging.getLogger(__name__)

RETRY_AFTER_S = 5
TRY_AGAIN_LATER = 1013
"""Websocket close code for a server that has no place now (IANA registry)."""


class WebSocketLine:
    """A gateway's websocket as a `Line`: a gateway that is gone is silence, not an error."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket

    async def receive(self) -> str | bytes | None:
        """See `orchestrator.services.Line`."""
        if self._socket.client_state is WebSocketState.DISCONNECTED:
            return None
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text = message.get("text")
        return text if text is not None else bytes(message.get("bytes") or b"")

    async def send(self, message: str) -> None:
        """See `orchestrator.services.Line`."""
        try:
            await self._socket.send_text(message)
        except (WebSocketDisconnect, RuntimeError, OSError):
            # The reader sees the disconnect too and ends the call; what is left to say has no listener.
            _log.debug("nobody listens any more")

    async def close(self, code: int, reason: str) -> None:
        """See `orchestrator.services.Line`."""
        try:
            await self._socket.close(code, reason)
        except (WebSocketDisconnect, RuntimeError, OSError):
            _log.debug("the connection was closed already")


def create_api(open_desk: Callable[[], Desk]) -> FastAPI:
    """The application of one replica.

    Args:
        open_desk: makes the replica's desk, in the process and on the event loop that serve it.
    """
    desk = open_desk()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await desk.open()
        try:
            yield
        finally:
            await desk.close()

    api = FastAPI(title="Parley", lifespan=lifespan, docs_url=None, redoc_url=None)
    api.include_router(router(desk.store, desk.settings.control_token, desk.settings))

    async def take_call(socket: WebSocket) -> None:
        if not desk.admit():
            await _refuse(socket)
            return
        try:
            await socket.accept()
            await answer_call(WebSocketLine(socket), desk.services)
        finally:
            desk.leave()

    api.add_api_websocket_route("/twilio", take_call)
    api.add_api_websocket_route("/ws", take_call)

    @api.get("/healthz")
    async def healthz() -> dict[str, object]:
        """The process lives; what it does."""
        return {
            "ok": True,
            "bot": desk.bot_name,
            "release": desk.standing.release.number,
            "pointer": desk.standing.seq,
            "calls": desk.calls,
            "max_calls": desk.settings.max_calls,
            "admission": desk.admission.figures(time.monotonic()),
            "warm": desk.warm,
            "fallbacks": {f"{stage}.{reason}": n for (stage, reason), n in desk.services.fallbacks.items()},
            "torch_loaded": "torch" in sys.modules,
        }

    @api.get("/readyz")
    async def readyz() -> JSONResponse:
        """Whether the four versions of the release answer."""
        stages = await desk.readiness()
        ready = desk.warm and all(stages.values())
        now = desk.standing
        body = {
            "ready": ready,
            "release": now.release.number,
            "pointer": now.seq,
            "stages": stages,
            "warm": desk.warm,
        }
        return JSONResponse(body, status_code=200 if ready else 503)

    return api


async def _refuse(socket: WebSocket) -> None:
    """All places are taken: 503 before the upgrade, so that the gateway tries elsewhere."""
    problem = {"type": "about:blank", "title": "all lines are busy", "status": 503}
    response: Response = JSONResponse(
        problem, status_code=503, headers={"Retry-After": str(RETRY_AFTER_S)}, media_type="application/problem+json"
    )
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(response)
    else:
        await socket.close(TRY_AGAIN_LATER, "all lines are busy")
