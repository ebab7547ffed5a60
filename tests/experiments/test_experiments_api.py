"""The product owner's routes: the life of an experiment, how refusals look, and two who decide at once."""

from __future__ import annotations

import json

import pytest
from fastapi.testclient import TestClient
from rest_site import BEARER, START, assert_problem, post
from rest_site import client as client
from rest_site import site as site

from experiments.problems import PROBLEM_JSON
from experiments.store import ExperimentStore
from parley.errors import ParleyError
from parley.settings import Settings

# The life of an experiment


def test_start_ramp_stop_over_rest(client: TestClient) -> None:
    started = post(client, "/v1/experiments", START)
    assert started.status_code == 201
    assert started.headers["location"] == "/v1/experiments/stt-2"
    began = started.json()
    assert (began["model"], began["bot"], began["epoch"], began["coverage"]) == ("barista_stt", "barista", 1, 0.1)
    assert [(a["name"], a["version"], a["weight"], len(a["digest"])) for a in began["arms"]] == [
        ("control", 1, 0.5, 64),
        ("treatment", 2, 0.5, 64),
    ]
    ramped = post(client, "/v1/experiments/stt-2/ramp", {"coverage": 0.5}).json()
    assert ramped == {**began, "coverage": 0.5, "epoch": 2, "config_version": 2}
    stopped = post(client, "/v1/experiments/stt-2/stop", {"why": "done"}).json()
    assert stopped == {**ramped, "state": "stopped", "epoch": 3, "config_version": 3}
    assert client.get("/v1/experiments", headers=BEARER).json() == {"config_version": 3, "experiments": [stopped]}
    assert client.get("/v1/experiments?stopped=false", headers=BEARER).json()["experiments"] == []
    assert client.get("/v1/experiments/stt-2", headers=BEARER).json() == stopped


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"weights": [0.5, 0.6]}, "invalid-weights"),
        ({"weights": [1.0, 0.0]}, "invalid-weights"),
        ({"weights": [0.2, 0.3, 0.5]}, "invalid-request"),
        ({"weights": "half"}, "invalid-request"),
        ({"coverage": 10}, "invalid-coverage"),
        ({"stage": "asr"}, "invalid-stage"),
        ({"name": "Bad Name"}, "invalid-name"),
        ({"treatment": 9}, "bot-unclear"),
        ({"bot": "barista", "treatment": 9}, "version-missing"),
        ({"bot": "../etc"}, "invalid-bot"),
        ({"algorithm": "md5"}, "invalid-request"),
        ({"sticky": True}, "invalid-request"),
    ],
)
def test_a_wrong_start_is_refused_with_its_reason(client: TestClient, change: dict, kind: str) -> None:
    assert_problem(post(client, "/v1/experiments", {**START, **change}), 422, kind)
    assert client.get("/v1/experiments", headers=BEARER).json()["config_version"] == 0


def test_conflicts_are_409_and_the_unknown_404(client: TestClient) -> None:
    post(client, "/v1/experiments", START)
    assert_problem(post(client, "/v1/experiments", START), 409, "name-taken")
    assert_problem(post(client, "/v1/experiments", {**START, "name": "other"}), 409, "stage-occupied")
    ramp = "/v1/experiments/stt-2/ramp"
    for frozen in ({"weights": [0.9, 0.1]}, {"salt": "x"}, {"algorithm": "gb2"}, {"arms": []}):
        assert "new name" in assert_problem(post(client, ramp, {"coverage": 0.5, **frozen}), 409, "frozen")["mend"]
    assert_problem(post(client, ramp, {"coverage": 0.5, "speed": 1}), 422, "invalid-request")
    assert_problem(post(client, ramp, {"coverage": -1}), 422, "invalid-coverage")
    assert_problem(post(client, "/v1/experiments/nobody/ramp", {"coverage": 1}), 404, "not-found")
    post(client, "/v1/experiments/stt-2/stop", {})
    assert_problem(post(client, ramp, {"coverage": 1}), 409, "stopped")
    assert_problem(post(client, "/v1/experiments/stt-2/stop", {}), 409, "stopped")
    assert client.get("/v1/experiments", headers=BEARER).json()["config_version"] == 2


def test_malformed_and_oversized_bodies_are_problems(client: TestClient) -> None:
    headers = {**BEARER, "Content-Type": "application/json"}
    assert_problem(client.post("/v1/experiments", content=b"{", headers=headers), 422, "invalid-request")
    assert_problem(client.post("/v1/experiments", content=b" " * 4_000_001, headers=headers), 413, "too-large")
    assert_problem(post(client, "/v1/experiments/assign", {"ids": ["x"] * 10_001}), 422, "invalid-request")


WRONG = [
    ("", {**START, "coverage": True}),
    ("", {**START, "coverage": "0.5"}),
    ("", {**START, "control": 1.0}),
    ("", {**START, "control": True}),
    ("", {**START, "treatment": "2"}),
    ("", {**START, "treatment": 10**30}),
    ("", {**START, "weights": ["0.5", "0.5"]}),
    ("", {**START, "weights": [True, False]}),
    ("", {**START, "who": 1}),
    ("", {**START, "why": "a\u0000b"}),
    ("", {**START, "why": "half \ud83d"}),
    ("", {**START, "salt": "\u0000"}),
    ("", {**START, "name": "\ud800"}),
    ("", {**START, "\ud800": 1}),
    ("/stt-2/ramp", {"coverage": True}),
    ("/stt-2/ramp", {"coverage": "0.5"}),
    ("/stt-2/ramp", {"coverage": 0.5, "who": "\u0000"}),
    ("/stt-2/ramp", {"coverage": 0.5, "\ud800": 1}),
    ("/stt-2/stop", {"why": "\udfff"}),
    ("/assign", {"ids": ["a", "\ud800"]}),
    ("/assign", {"ids": [1]}),
    ("/assign", {"ids": ["a"], "raw": "yes"}),
    ("/assign", {"ids": ["a"], "raw": 1}),
]
"""Values of another kind than they look, and text that no database or no UTF-8 can keep."""


def test_a_value_of_another_kind_and_text_that_is_none_are_refused(client: TestClient) -> None:
    headers = {**BEARER, "Content-Type": "application/json"}

    for path, body in WRONG:
        answer = client.post(f"/v1/experiments{path}", content=json.dumps(body), headers=headers)
        assert_problem(answer, 422, "invalid-request")

    assert client.get("/v1/experiments", headers=BEARER).json()["config_version"] == 0


def test_numbers_and_depths_that_no_json_has_are_problems(client: TestClient) -> None:
    headers = {**BEARER, "Content-Type": "application/json"}

    for literal in ("NaN", "Infinity", "1e999", "9" * 5000, "[" * 30_000 + "]" * 30_000):
        content = '{"coverage": ' + literal + "}"
        answer = client.post("/v1/experiments/stt-2/ramp", content=content, headers=headers)
        assert answer.headers["content-type"] == PROBLEM_JSON
        assert answer.status_code in (400, 422), literal[:9]


def test_the_store_takes_no_text_that_a_database_refuses(site: Settings) -> None:
    with ExperimentStore.at(site) as store, pytest.raises(ParleyError, match=r"why: the text holds U\+0000"):
        store.change("Ada", "start", "a\0b", lambda known: known[0])


def test_what_the_framework_refuses_is_a_problem_too(client: TestClient) -> None:
    assert_problem(client.get("/nowhere"), 404, "not-found")
    assert_problem(client.get("/v1/nowhere", headers=BEARER), 404, "not-found")
    refused = client.delete("/v1/experiments", headers=BEARER)
    assert_problem(refused, 405, "method-not-allowed")
    assert "GET" in refused.headers["allow"]
    assert_problem(client.get("/v1/experiments?stopped=perhaps", headers=BEARER), 422, "invalid-request")

    @client.app.get("/broken")  # type: ignore[attr-defined]
    def broken() -> None:
        raise RuntimeError("a secret of the server's")

    assert "secret" not in assert_problem(client.get("/broken"), 500, "bug")["detail"]


# Two who decide at once


def test_a_change_that_was_decided_on_an_old_page_is_refused_with_what_happened_since(client: TestClient) -> None:
    first = post(client, "/v1/experiments", START)
    old = client.get("/v1/experiments/stt-2", headers=BEARER).headers["etag"]
    assert first.headers["etag"] == old == '"1"'
    mine = {**BEARER, "If-Match": old}
    theirs = post(client, "/v1/experiments/stt-2/ramp", {"coverage": 0.9, "who": "Bob", "why": "all well"}, mine)
    assert (theirs.status_code, theirs.headers["etag"]) == (200, '"2"')

    for path, body in (("ramp", {"coverage": 0.5}), ("stop", {})):
        refused = assert_problem(post(client, f"/v1/experiments/stt-2/{path}", body, mine), 412, "changed-meanwhile")
        assert "Bob did ramp, coverage 0.1 -> 0.9 (all well)" in refused["detail"]

    for stale in ("", '"1", "9"', 'W/"2"', "2"):
        headers = {**BEARER, "If-Match": stale}
        assert post(client, "/v1/experiments/stt-2/ramp", {"coverage": 0.2}, headers).status_code == 412
    for match in ('"1", "2"', "*"):
        headers = {**BEARER, "If-Match": match}
        assert post(client, "/v1/experiments/stt-2/ramp", {"coverage": 0.2}, headers).status_code == 200
    assert post(client, "/v1/experiments/stt-2/ramp", {"coverage": 0.3}).status_code == 200


def test_a_lost_database_is_503(client: TestClient, site: Settings) -> None:
    (site.state_dir / "parley.db").rename(site.state_dir / "away.db")
    assert_problem(client.get("/v1/experiments", headers=BEARER), 503, "store-unavailable")
