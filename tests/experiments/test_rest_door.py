"""The door of the REST routes: who may do what, and what is read of whom."""

from __future__ import annotations

import asyncio

import pytest
from fastapi.testclient import TestClient
from rest_site import BEARER, START, TOKEN, assert_problem, client_of
from rest_site import client as client
from rest_site import site as site

from experiments.door import LIMITS, Attempts, DoorLimits, RestDoor, TokenGuard
from experiments.store import ExperimentStore
from parley.settings import Settings

MUTATING = [
    ("/v1/experiments", START),
    ("/v1/experiments/stt-2/ramp", {"coverage": 0.5}),
    ("/v1/experiments/stt-2/stop", {}),
    ("/v1/experiments/assign", {"ids": ["a"]}),
]


@pytest.mark.parametrize(("path", "body"), MUTATING)
@pytest.mark.parametrize("token", ["", TOKEN])
@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN}"],
)
def test_who_may_change_something(site: Settings, path: str, body: dict, token: str, authorization: str | None) -> None:
    client = client_of(site, token)
    answer = client.post(path, json=body, headers={} if authorization is None else {"Authorization": authorization})
    if not token:
        assert "PARLEY_CONTROL_TOKEN" in assert_problem(answer, 403, "closed")["mend"]
    elif authorization != f"Bearer {TOKEN}":
        assert_problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")
    else:
        assert answer.status_code not in (401, 403)
    if token != TOKEN or authorization != f"Bearer {TOKEN}":
        with ExperimentStore.at(site) as store:
            assert store.config_version() == 0


def test_the_list_is_open_only_while_no_token_is_set(site: Settings) -> None:
    assert client_of(site, "").get("/v1/experiments").json() == {"config_version": 0, "experiments": []}
    guarded = client_of(site, TOKEN)
    assert_problem(guarded.get("/v1/experiments"), 401, "unauthorized")
    assert guarded.get("/v1/experiments", headers=BEARER).status_code == 200


def test_every_changing_route_is_in_the_matrix(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    posts = {path.replace("{name}", "stt-2") for path, verbs in paths.items() if set(verbs) - {"get"}}
    assert posts == {path for path, _ in MUTATING}


# The door: who asks comes before what he sends


class Asked:
    """An application behind the door, and a client whose body comes in pieces that are counted as they are taken."""

    def __init__(self, pieces: list[bytes], *, authorization: str = f"Bearer {TOKEN}", length: str = "") -> None:
        self.pieces = pieces
        self.taken = 0
        self.ends = True
        self.got: bytes | None = None
        self.sent: list[dict] = []
        headers = [
            (b"authorization", authorization.encode()),
            *([(b"content-length", length.encode())] if length else []),
        ]
        self.scope = {"type": "http", "method": "POST", "path": "/v1/experiments", "headers": headers}

    async def app(self, scope, receive, send) -> None:
        self.got = (await receive())["body"]

    async def receive(self) -> dict:
        if self.taken == len(self.pieces):
            await asyncio.Event().wait()
        self.taken += 1
        more = self.taken < len(self.pieces) or not self.ends
        return {"type": "http.request", "body": self.pieces[self.taken - 1], "more_body": more}

    async def send(self, message: dict) -> None:
        self.sent.append(message)

    def ask(self) -> int | None:
        door = RestDoor(self.app, TokenGuard(TOKEN), DoorLimits(read_within_s=0.05))
        asyncio.run(door(self.scope, self.receive, self.send))  # type: ignore[arg-type]
        return self.sent[0]["status"] if self.sent else None


def test_without_a_token_no_byte_of_the_body_is_read() -> None:
    asked = Asked([b"x" * 100_000] * 2000, authorization="Bearer wrong")

    assert (asked.ask(), asked.taken, asked.got) == (401, 0, None)


@pytest.mark.parametrize("length", ["", "0", "17", "-1", "1e3", "²", "9" * 5000])
def test_a_body_is_counted_while_it_is_read_whatever_length_it_declares(length: str) -> None:
    asked = Asked([b"x" * 10_000] * 2000, length=length)

    assert asked.ask() == 413
    assert asked.taken <= LIMITS.change_bytes // 10_000 + 1


def test_a_body_that_does_not_end_is_given_up() -> None:
    asked = Asked([b"{"])
    asked.ends = False

    assert asked.ask() == 408
    assert (b"connection", b"close") in asked.sent[0]["headers"]


def test_a_whole_body_reaches_the_routes() -> None:
    asked = Asked([b'{"a"', b": 1}"])

    assert asked.ask() is None
    assert asked.got == b'{"a": 1}'


def test_wrong_tokens_are_counted_by_address_and_the_right_one_is_not_heard_among_them() -> None:
    now = 0.0
    attempts = Attempts(clock=lambda: now)
    for _ in range(LIMITS.attempts):
        assert attempts.wait_s("a") == 0
        attempts.failed("a")

    assert 0 < attempts.wait_s("a") <= LIMITS.attempts_within_s and attempts.wait_s("b") == 0
    now = LIMITS.attempts_within_s + 1
    assert attempts.wait_s("a") == 0


def test_addresses_that_are_remembered_are_bounded() -> None:
    attempts = Attempts(DoorLimits(peers=10), clock=lambda: 0.0)
    for number in range(20):
        attempts.failed(str(number))

    assert len(attempts._failed) == 10


def test_a_token_cannot_be_guessed_at_will(client: TestClient) -> None:
    wrong = [client.get("/v1/experiments", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(25)]
    assert wrong == [401] * LIMITS.attempts + [429] * (25 - LIMITS.attempts)

    refused = client.get("/v1/experiments", headers=BEARER)

    assert_problem(refused, 429, "attempts")
    assert int(refused.headers["Retry-After"]) > 0


def test_who_names_no_token_only_has_to_name_one(client: TestClient) -> None:
    assert {client.get("/v1/experiments").status_code for _ in range(2 * LIMITS.attempts)} == {401}
    assert client.get("/v1/experiments", headers=BEARER).status_code == 200


def test_a_site_that_others_reach_shows_nothing_without_a_token(site: Settings) -> None:
    open_to_all = client_of(site.model_copy(update={"host": "0.0.0.0"}), "")

    assert_problem(open_to_all.get("/v1/experiments"), 403, "closed")
