"""Every refusal over HTTP is ``application/problem+json`` (RFC 9457): one form, whoever refuses.

answer_with_problems(app)       # the framework's own refusals too: 404, 405, a wrong body, a bug
"""

from __future__ import annotations

import json
import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from experiments.assignment import ExperimentRefused
from experiments.store import StoreUnavailable
from parley.errors import ParleyError

_log = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
_TRY_AGAIN_LATER = 1013
_REALM = 'Bearer realm="parley"'
_KINDS = {400: "bad-request", 404: "not-found", 405: "method-not-allowed", 413: "too-large", 408: "too-slow"}


def problem(
    status: int, title: str, detail: str, *, kind: str = "", headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """An answer of RFC 9457; ``type`` is a stable name of the rule that refused."""
    headers = dict(headers or {}) | ({"WWW-Authenticate": _REALM} if status == 401 else {})
    content = {"type": f"urn:parley:{kind or 'error'}", "title": title, "status": status, "detail": detail, **more}
    # What was refused may be no text (half a surrogate pair); saying so must not fail for the same reason.
    body = json.dumps(content, ensure_ascii=False).encode("utf-8", "backslashreplace")
    return Response(body, status, headers, media_type=PROBLEM_JSON)


def refusal(error: ParleyError) -> Response:
    """The answer to what a rule of ours refused."""
    if isinstance(error, ExperimentRefused):
        return problem(error.status, error.what, str(error), kind=error.kind, mend=error.mend)
    if isinstance(error, StoreUnavailable):
        return problem(503, error.what, str(error), kind="store-unavailable", mend=error.mend)
    return problem(422, error.what, str(error), kind="refused", mend=error.mend)


def answer_with_problems(app: FastAPI) -> None:
    """Have an application refuse in this form, whatever the reason."""

    async def ours(_: Request, error: Exception) -> Response:
        assert isinstance(error, ParleyError)
        return refusal(error)

    async def wrong_request(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part not in ("body", "query", "path")) or "body"
        return problem(422, first["msg"], f"{where}: {first['msg']}", kind="invalid-request", where=where)

    async def framework(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        title = HTTPStatus(error.status_code).phrase
        kind = _KINDS.get(error.status_code, "error")
        return problem(error.status_code, title, str(error.detail), kind=kind, headers=dict(error.headers or {}))

    async def bug(_: Request, error: Exception) -> Response:
        return problem(500, "Internal Server Error", "this is a fault of the server's; its log has more", kind="bug")

    app.add_exception_handler(ParleyError, ours)
    app.add_exception_handler(RequestValidationError, wrong_request)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, bug)


def refuse_other_sockets(app: FastAPI) -> None:
    """Have an application refuse in this form the websockets of which it knows nothing. After its own are there."""

    async def nowhere(socket: WebSocket) -> None:
        await refuse_socket(socket, problem(404, "Not Found", "no websocket is served at this path", kind="not-found"))

    app.add_api_websocket_route("/{path:path}", nowhere)


async def refuse_socket(socket: WebSocket, answer: Response) -> None:
    """Answer a websocket's request instead of upgrading it."""
    if "websocket.http.response" in socket.scope.get("extensions", {}):
        await socket.send_denial_response(answer)
    else:
        await socket.close(_TRY_AGAIN_LATER)
