"""The product owner's REST face, under ``/v1/experiments``. It only translates: the rules live in ``assignment``.

    app.include_router(router(store, settings.control_token, settings))

Errors are ``application/problem+json`` (RFC 9457). Everything that changes something, and the look-up of ids, needs
``Authorization: Bearer TOKEN``; the list needs it wherever a token is set.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from experiments.assignment import (
    Algorithm,
    Experiment,
    ExperimentRefused,
    arm_of,
    find,
    ramp,
    refuse_frozen,
    start,
    stop,
)
from experiments.exposures import StoreUnavailable
from experiments.pseudonyms import pseudonym_key, unit_of_id
from experiments.store import ExperimentStore
from experiments.versions import check_start, model_of, two_arms
from parley.errors import ParleyError
from parley.settings import Settings, settings

PROBLEM_JSON = "application/problem+json"
MAX_IDS = 10_000
MAX_BODY_BYTES = 4_000_000
_REALM = 'Bearer realm="parley"'


class Note(BaseModel):
    """Who changes something, and why; both go to the audit."""

    model_config = ConfigDict(extra="forbid")

    who: str = Field(default="api", min_length=1, max_length=128)
    why: str = Field(default="", max_length=1000)


class StartRequest(Note):
    """A new experiment of two published versions."""

    name: str
    stage: str
    bot: str | None = None
    """May be left out where only one bot has these versions."""
    control: int = Field(ge=1)
    treatment: int = Field(ge=1)
    weights: tuple[float, float] = (0.5, 0.5)
    coverage: float = 1.0
    algorithm: Algorithm = "sha256"
    salt: str = Field(default="", max_length=256)


class RampRequest(Note):
    """Another coverage. Other fields are taken in only to say why they are refused."""

    model_config = ConfigDict(extra="allow")

    coverage: float


class AssignRequest(BaseModel):
    """Ids to look up."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Annotated[str, Field(min_length=1, max_length=256)]] = Field(max_length=MAX_IDS)
    raw: bool = False
    """Hash the ids as they are instead of treating them as callers."""


def problem(status: int, title: str, detail: str, *, kind: str = "", **more: Any) -> JSONResponse:
    """An answer of RFC 9457; ``type`` is a stable name of the rule that refused."""
    headers = {"WWW-Authenticate": _REALM} if status == 401 else None
    content = {"type": f"urn:parley:{kind or 'error'}", "title": title, "status": status, "detail": detail, **more}
    return JSONResponse(content, status, headers, media_type=PROBLEM_JSON)


class ProblemRoute(APIRoute):
    """A route whose every refusal is problem+json, without handlers on the application."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The route's handler, its errors translated."""
        handler = super().get_route_handler()

        async def translate(request: Request) -> Response:
            length = request.headers.get("content-length", "0")
            if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
                return problem(413, "body too large", f"send at most {MAX_BODY_BYTES} bytes", kind="too-large")
            try:
                return await handler(request)
            except RequestValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
                return problem(422, first["msg"], f"{where}: {first['msg']}", kind="invalid-request", where=where)
            except ExperimentRefused as error:
                return problem(error.status, error.what, str(error), kind=error.kind, mend=error.mend)
            except StoreUnavailable as error:
                return problem(503, error.what, str(error), kind="store-unavailable", mend=error.mend)
            except ParleyError as error:
                return problem(422, error.what, str(error), kind="refused", mend=error.mend)

        return translate


class TokenGuard:
    """Compares bearer tokens in constant time; keeps only the digest of the right one."""

    def __init__(self, token: str) -> None:
        self._digest = _digest(token) if token else None

    def reader(self, request: Request) -> None:
        """For what only reads: open while no token is set (the server then listens on loopback).

        Raises:
            ExperimentRefused: 401, no or another token.
        """
        if self._digest is not None:
            self._check(request, self._digest)

    def writer(self, request: Request) -> None:
        """For what changes something.

        Raises:
            ExperimentRefused: 403, no token is set; 401, no or another one was sent.
        """
        if self._digest is None:
            raise ExperimentRefused(
                "changes over REST are closed: this server has no control token",
                kind="closed",
                status=403,
                mend="set PARLEY_CONTROL_TOKEN and start it again, or use: parley experiment",
            )
        self._check(request, self._digest)

    @staticmethod
    def _check(request: Request, digest: bytes) -> None:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Digests have one length, so the comparison tells nothing about the token's.
        if scheme.lower() != "bearer" or not hmac.compare_digest(_digest(given.strip()), digest):
            raise ExperimentRefused(
                "no valid token", kind="unauthorized", status=401, mend="send Authorization: Bearer TOKEN"
            )


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def as_json(experiment: Experiment) -> dict[str, Any]:
    """An experiment as the API shows it."""
    return {**asdict(experiment), "bot": experiment.bot}


def router(store: ExperimentStore, token: str, site: Settings | None = None) -> APIRouter:
    """The routes, ready for ``app.include_router``. Their functions are plain ``def``: the database never holds the
    loop."""
    site = site or settings()
    guard = TokenGuard(token)
    routes = APIRouter(prefix="/v1/experiments", tags=["experiments"], route_class=ProblemRoute)
    reader, writer = [Depends(guard.reader)], [Depends(guard.writer)]

    @routes.get("", dependencies=reader)
    def list_experiments(stopped: bool = True) -> dict[str, Any]:
        """All experiments, or with ``stopped=false`` the live ones."""
        snapshot = store.snapshot()
        shown = snapshot.experiments if stopped else snapshot.live
        return {"config_version": snapshot.config_version, "experiments": [as_json(e) for e in shown]}

    @routes.post("", status_code=201, dependencies=writer)
    def start_experiment(body: StartRequest, response: Response) -> dict[str, Any]:
        """Start an experiment; from now on only its coverage moves."""
        with store.read() as c:
            model = model_of(c, body.stage, body.bot, (body.control, body.treatment))
            arms = two_arms(c, model, body.control, body.treatment, body.weights)
        new = store.change(
            body.who,
            "start",
            body.why,
            lambda known: start(
                body.name, body.stage, model, arms, body.coverage, known, algorithm=body.algorithm, salt=body.salt
            ),
            check_start,
        )
        response.headers["Location"] = f"/v1/experiments/{new.name}"
        return as_json(new)

    @routes.post("/assign", dependencies=writer)
    def assign(body: AssignRequest) -> dict[str, Any]:
        """Each id's arm in every live experiment, null where it is not in."""
        snapshot = store.snapshot()
        key = b"" if body.raw else pseudonym_key(site)
        arms: dict[str, dict[str, str | None]] = {}
        for given in body.ids:
            unit = given if body.raw else unit_of_id(given, key, site.region)
            found = {e.name: arm_of(e, unit) if unit else None for e in snapshot.live}
            arms[given] = {name: arm.name if arm else None for name, arm in found.items()}
        return {"config_version": snapshot.config_version, "arms": arms}

    @routes.get("/{name}", dependencies=reader)
    def show(name: str) -> dict[str, Any]:
        """One experiment, in its newest epoch."""
        return as_json(find(name, store.snapshot().experiments))

    @routes.post("/{name}/ramp", dependencies=writer)
    def ramp_experiment(name: str, body: RampRequest) -> dict[str, Any]:
        """Change the coverage; nobody moves between arms."""
        extra = set(body.model_extra or {})
        refuse_frozen(name, extra)
        if extra:
            raise ExperimentRefused(
                f"unknown fields: {', '.join(sorted(extra))}", kind="invalid-request", status=422, where=name
            )
        return as_json(store.change(body.who, "ramp", body.why, lambda known: ramp(find(name, known), body.coverage)))

    @routes.post("/{name}/stop", dependencies=writer)
    def stop_experiment(name: str, body: Note | None = None) -> dict[str, Any]:
        """Stop it; calls in progress keep their versions."""
        note = body or Note()
        return as_json(store.change(note.who, "stop", note.why, lambda known: stop(find(name, known))))

    return routes
