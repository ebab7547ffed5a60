"""The product owner's REST face, under ``/v1/experiments``. It only translates: the rules live in ``assignment``.

    app = create_rest(settings())

Errors are ``application/problem+json`` (RFC 9457). Everything that changes something, and the look-up of ids, needs
``Authorization: Bearer TOKEN``; the list needs it wherever a token is set. Who was refused sent no body that was read.

A reader gets the experiment's epoch as ``ETag``; a change with ``If-Match`` is made in that epoch only, else 412 says
who changed what meanwhile. Without ``If-Match`` the last change wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Header, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, Strict

from calls.pseudonyms import pseudonym_key, unit_of_id
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
from experiments.door import RestDoor, TokenGuard
from experiments.problems import answer_with_problems, refuse_other_sockets
from experiments.store import AuditRow, ExperimentStore
from experiments.versions import check_start, model_of, two_arms
from parley.database import storable
from parley.errors import ParleyError
from parley.ports import is_loopback
from parley.settings import Settings

MAX_IDS = 10_000
_MAX_VERSION = 2**31 - 1


def _as_value(text: str) -> str:
    try:
        return storable(text)
    except ParleyError as error:
        raise ValueError(error.what) from None


Text = Annotated[str, AfterValidator(_as_value)]
"""What every database can keep."""
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Version = Annotated[int, Strict(), Field(ge=1, le=_MAX_VERSION)]
IfMatch = Annotated[str | None, Header()]


class Note(BaseModel):
    """Who changes something, and why; both go to the audit."""

    model_config = ConfigDict(extra="forbid")

    who: Text = Field(default="api", min_length=1, max_length=128)
    why: Text = Field(default="", max_length=1000)


class StartRequest(Note):
    """A new experiment of two published versions."""

    name: Text
    stage: Text
    bot: Text | None = None
    """May be left out where only one bot has these versions."""
    control: Version
    treatment: Version
    weights: tuple[Number, Number] = (0.5, 0.5)
    coverage: Number = 1.0
    algorithm: Algorithm = "sha256"
    salt: Text = Field(default="", max_length=256)


class RampRequest(Note):
    """Another coverage. Other fields are taken in only to say why they are refused."""

    model_config = ConfigDict(extra="allow")

    coverage: Number


class AssignRequest(BaseModel):
    """Ids to look up."""

    model_config = ConfigDict(extra="forbid")

    ids: list[Annotated[Text, Field(min_length=1, max_length=256)]] = Field(max_length=MAX_IDS)
    raw: Annotated[bool, Strict()] = False
    """Hash the ids as they are instead of treating them as callers."""


def as_json(experiment: Experiment) -> dict[str, Any]:
    """An experiment as the API shows it."""
    return {**asdict(experiment), "bot": experiment.bot}


def create_rest(site: Settings) -> FastAPI:
    """The application of the product owner's routes, behind their door. It runs in a process that answers no calls.

    Raises:
        ParleyError: the site's database cannot be opened, or its secrets cannot be read.
    """
    app = FastAPI(title="Parley", docs_url=None, redoc_url=None)
    app.include_router(_router(ExperimentStore.at(site), site))
    guard = TokenGuard(site.read_secrets().control_token, open_to_readers=is_loopback(site.host))
    app.add_middleware(RestDoor, guard=guard)
    answer_with_problems(app)
    refuse_other_sockets(app)
    return app


class _Stale(Exception):
    """The change was meant for another epoch."""


def matches(if_match: str, epoch: int) -> bool:
    """Whether ``If-Match`` names this epoch: ``*``, or a list of entity tags; a weak one matches nothing (RFC 9110)."""
    tags = [tag.strip() for tag in if_match.split(",")]
    return "*" in tags or f'"{epoch}"' in tags


def changed_meanwhile(name: str, audit: Sequence[AuditRow]) -> ExperimentRefused:
    """The refusal of a change that was decided on an old page: says who did what since."""
    last = audit[-1]
    before, after = last.before or {}, last.after
    moved = [key for key in ("coverage", "state") if before.get(key) != after.get(key)]
    what = [f"{key} {before.get(key)} -> {after.get(key)}" for key in moved]
    why = f" ({last.why})" if last.why else ""
    return ExperimentRefused(
        f"it is in epoch {after['epoch']} now: {last.who} did {last.what}, {', '.join(what)}{why}",
        kind="changed-meanwhile",
        status=412,
        where=name,
        mend="read it again, decide again, and send its new ETag",
    )


def _router(store: ExperimentStore, site: Settings) -> APIRouter:
    """The routes. Their functions are plain ``def``: the database never holds the loop."""
    routes = APIRouter(prefix="/v1/experiments", tags=["experiments"])
    _add_looks(routes, store, site)
    _add_changes(routes, store)
    return routes


def _shown(experiment: Experiment, response: Response) -> dict[str, Any]:
    response.headers["ETag"] = f'"{experiment.epoch}"'
    return as_json(experiment)


def _add_looks(routes: APIRouter, store: ExperimentStore, site: Settings) -> None:
    """What changes nothing."""

    @routes.get("")
    def list_experiments(stopped: bool = True) -> dict[str, Any]:
        """All experiments, or with ``stopped=false`` the live ones."""
        snapshot = store.snapshot()
        listed = snapshot.experiments if stopped else snapshot.live
        return {"config_version": snapshot.config_version, "experiments": [as_json(e) for e in listed]}

    @routes.post("/assign")
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

    @routes.get("/{name}")
    def show(name: str, response: Response) -> dict[str, Any]:
        """One experiment, in its newest epoch."""
        return _shown(find(name, store.snapshot().experiments), response)


def _add_changes(routes: APIRouter, store: ExperimentStore) -> None:
    """Start, ramp, stop: each in the epoch that its caller has seen, if he says which."""

    def change(name: str, what: str, note: Note, if_match: str | None, rule: Callable[[Experiment], Experiment]) -> Any:
        def in_this_epoch(known: Sequence[Experiment]) -> Experiment:
            now = find(name, known)
            if if_match is not None and not matches(if_match, now.epoch):
                raise _Stale
            return rule(now)

        try:
            return store.change(note.who, what, note.why, in_this_epoch)
        except _Stale:
            raise changed_meanwhile(name, store.audit(name)) from None

    @routes.post("", status_code=201)
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
        return _shown(new, response)

    @routes.post("/{name}/ramp")
    def ramp_experiment(name: str, body: RampRequest, response: Response, if_match: IfMatch = None) -> dict[str, Any]:
        """Change the coverage; nobody moves between arms."""
        extra = set(body.model_extra or {})
        refuse_frozen(name, extra)
        if extra:
            raise ExperimentRefused(
                f"unknown fields: {', '.join(sorted(extra))}", kind="invalid-request", status=422, where=name
            )
        return _shown(change(name, "ramp", body, if_match, lambda now: ramp(now, body.coverage)), response)

    @routes.post("/{name}/stop")
    def stop_experiment(
        name: str, response: Response, body: Note | None = None, if_match: IfMatch = None
    ) -> dict[str, Any]:
        """Stop it; calls in progress keep their versions."""
        return _shown(change(name, "stop", body or Note(), if_match, stop), response)
