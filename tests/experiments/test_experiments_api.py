"""The REST routes and the commands: who may do what, how refusals look, and that the CSV tells what calls get."""

from __future__ import annotations

import argparse
import asyncio
import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from release_site import add_version, add_versions, make_site, write_seed

from calls.pseudonyms import pseudonym, pseudonym_key
from experiments import commands
from experiments.api import create_rest
from experiments.assignment import STAGES, assign_call
from experiments.door import (
    ATTEMPTS_WITHIN_S,
    MAX_CHANGE_BYTES,
    MOST_ATTEMPTS,
    MOST_PEERS,
    Attempts,
    RestDoor,
    TokenGuard,
)
from experiments.problems import PROBLEM_JSON
from experiments.store import ExperimentStore
from parley.errors import ParleyError
from parley.settings import Settings
from registry.opening import open_for_writing
from registry.releasing.releases import Release, StageVersion
from registry.releasing.seeding import mend_releases

TOKEN = "correct-horse"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
START = {"name": "stt-2", "stage": "stt", "control": 1, "treatment": 2, "coverage": 0.1, "who": "Ada", "why": "try"}
MUTATING = [
    ("/v1/experiments", START),
    ("/v1/experiments/stt-2/ramp", {"coverage": 0.5}),
    ("/v1/experiments/stt-2/stop", {}),
    ("/v1/experiments/assign", {"ids": ["a"]}),
]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    made = make_site(tmp_path)
    monkeypatch.setenv("PARLEY_PSEUDONYM_KEY", "key of this test")
    with open_for_writing(made) as registry:
        add_versions(registry, 2)
        add_version(registry, "nlu", bot="bank")
        write_seed(made, dict.fromkeys(STAGES, 1))
        mend_releases(registry)
    for name in ("bots_dir", "repo_dir", "state_dir"):
        monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(made, name)))
    return made


def client_of(site: Settings, token: str) -> TestClient:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PARLEY_CONTROL_TOKEN", token)
        return TestClient(create_rest(site), raise_server_exceptions=False)


@pytest.fixture
def client(site: Settings) -> TestClient:
    return client_of(site, TOKEN)


def post(client: TestClient, path: str, body: object, headers: dict[str, str] | None = None):
    return client.post(path, json=body, headers=BEARER if headers is None else headers)


def assert_problem(answer, status: int, kind: str) -> dict:
    body = answer.json()
    assert (answer.status_code, answer.headers["content-type"], body["type"]) == (
        status,
        PROBLEM_JSON,
        f"urn:parley:{kind}",
    )
    assert body["status"] == status
    assert body["title"] and body["detail"]
    return body


# Authorisation


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
        door = RestDoor(self.app, TokenGuard(TOKEN), read_within_s=0.05)
        asyncio.run(door(self.scope, self.receive, self.send))  # type: ignore[arg-type]
        return self.sent[0]["status"] if self.sent else None


def test_without_a_token_no_byte_of_the_body_is_read() -> None:
    asked = Asked([b"x" * 100_000] * 2000, authorization="Bearer wrong")

    assert (asked.ask(), asked.taken, asked.got) == (401, 0, None)


@pytest.mark.parametrize("length", ["", "0", "17", "-1", "1e3", "²", "9" * 5000])
def test_a_body_is_counted_while_it_is_read_whatever_length_it_declares(length: str) -> None:
    asked = Asked([b"x" * 10_000] * 2000, length=length)

    assert asked.ask() == 413
    assert asked.taken <= MAX_CHANGE_BYTES // 10_000 + 1


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
    attempts = Attempts(lambda: now)
    for _ in range(MOST_ATTEMPTS):
        assert attempts.wait_s("a") == 0
        attempts.failed("a")

    assert 0 < attempts.wait_s("a") <= ATTEMPTS_WITHIN_S and attempts.wait_s("b") == 0
    now = ATTEMPTS_WITHIN_S + 1
    assert attempts.wait_s("a") == 0


def test_addresses_that_are_remembered_are_bounded() -> None:
    attempts = Attempts(lambda: 0.0)
    for number in range(2 * MOST_PEERS):
        attempts.failed(str(number))

    assert len(attempts._failed) == MOST_PEERS


def test_a_token_cannot_be_guessed_at_will(client: TestClient) -> None:
    wrong = [client.get("/v1/experiments", headers={"Authorization": f"Bearer {n}"}).status_code for n in range(25)]
    assert wrong == [401] * MOST_ATTEMPTS + [429] * (25 - MOST_ATTEMPTS)

    refused = client.get("/v1/experiments", headers=BEARER)

    assert_problem(refused, 429, "attempts")
    assert int(refused.headers["Retry-After"]) > 0


def test_who_names_no_token_only_has_to_name_one(client: TestClient) -> None:
    assert {client.get("/v1/experiments").status_code for _ in range(2 * MOST_ATTEMPTS)} == {401}
    assert client.get("/v1/experiments", headers=BEARER).status_code == 200


def test_a_site_that_others_reach_shows_nothing_without_a_token(site: Settings) -> None:
    open_to_all = client_of(site.model_copy(update={"host": "0.0.0.0"}), "")

    assert_problem(open_to_all.get("/v1/experiments"), 403, "closed")


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


# The commands


def run(*words: object) -> int:
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser.add_subparsers())
    args = parser.parse_args(["experiment", *map(str, words)])
    return args.run(args)


def test_the_commands_start_ramp_list_and_stop(site: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    versions = ("--control", 1, "--treatment", 2, "--weights", "0.9,0.1", "--coverage", 0.1)
    assert run("start", "stt-2", "--stage", "stt", *versions, "--who", "Ada", "--why", "try") == 0
    assert run("ramp", "stt-2", "--coverage", 0.4) == 0
    capsys.readouterr()
    assert run("list", "--json") == 0
    (shown,) = json.loads(capsys.readouterr().out)
    assert (shown["name"], shown["coverage"], [a["weight"] for a in shown["arms"]]) == ("stt-2", 0.4, [0.9, 0.1])
    assert run("list") == 0
    assert "stt-2" in capsys.readouterr().out
    assert run("stop", "stt-2", "--why", "done") == 0
    capsys.readouterr()
    assert run("list") == 0
    assert "no experiment is live" in capsys.readouterr().out
    assert run("list", "--all") == 0
    assert "stopped" in capsys.readouterr().out
    with ExperimentStore.at(site) as store:
        assert [(a.who, a.why) for a in store.audit()][::2] == [("Ada", "try"), (commands.user(), "done")]


def test_a_version_that_is_not_published_is_refused_with_those_that_are(site: Settings) -> None:
    with pytest.raises(ParleyError, match="there is: 1, 2"):
        run("start", "x", "--bot", "barista", "--stage", "stt", "--control", 1, "--treatment", 3)
    with pytest.raises(ParleyError, match="weights must sum to 1"):
        run("start", "x", "--stage", "stt", "--control", 1, "--treatment", 2, "--weights", "50/50")


def test_the_bot_may_be_left_out_only_where_one_fits(site: Settings) -> None:
    assert commands.start("nlu-2", "nlu", 1, 2).bot == "barista"
    with pytest.raises(ParleyError, match="2 bots have version 1"):
        commands.start("aa", "nlu", 1, 1)
    assert commands.start("aa", "nlu", 1, 1, bot="bank").bot == "bank"


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_csv_tells_what_a_call_gets_before_and_after_a_ramp(site: Settings, tmp_path: Path) -> None:
    """Every id's cell is the arm of ``assign_call`` for a call from that id, over REST too, and a ramp moves nobody."""
    ids = [f"+4930{number:06d}" for number in range(2000)] + ["клиент 7", pseudonym("+4930000000", pseudonym_key(site))]
    (tmp_path / "ids.txt").write_text("\n".join(ids) + "\n\n", encoding="utf-8")
    for stage in STAGES:
        commands.start(f"{stage}-2", stage, 1, 2, coverage=0.3)
    commands.start("bank-aa", "nlu", 1, 1, bot="bank", algorithm="gb2")
    assert run("assign", "--ids", tmp_path / "ids.txt", "--csv", tmp_path / "out" / "before.csv") == 0
    commands.ramp("stt-2", 0.8)
    counts = commands.assign(tmp_path / "ids.txt", tmp_path / "after.csv")
    before, after = read_csv(tmp_path / "out" / "before.csv"), read_csv(tmp_path / "after.csv")
    assert list(after[0]) == ["id", "stt-2", "nlu-2", "nlg-2", "tts-2", "bank-aa"]
    assert [row["id"] for row in after] == ids
    assert after[0]["stt-2"] == after[-1]["stt-2"], "a caller and its pseudonym are one unit"
    assert all(old["stt-2"] in ("", new["stt-2"]) for old, new in zip(before, after, strict=True))
    assert counts["stt-2"] == Counter(row["stt-2"] for row in after)
    assert set(counts["bank-aa"]) == {"control", "treatment"}

    release = Release(number=1, stages={s: StageVersion(model=f"barista_{s}", version=1) for s in STAGES})  # type: ignore[misc]
    client = client_of(site, TOKEN)
    over_rest = post(client, "/v1/experiments/assign", {"ids": ids[:100]}).json()["arms"]
    with ExperimentStore.at(site) as store:
        snapshot = store.snapshot()
    for row in after[:-1]:
        served = assign_call(snapshot, release, pseudonym(row["id"], pseudonym_key(site)))
        assert {s: served[s].arm or "" for s in STAGES} == {s: row[f"{s}-2"] for s in STAGES}
        if row["id"] in over_rest:
            assert {n: arm or "" for n, arm in over_rest[row["id"]].items()} == {n: row[n] for n in row if n != "id"}


def test_raw_ids_are_hashed_as_they_are(site: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands.start("key", "stt", 1, 2, algorithm="gb2", salt="foo")
    (tmp_path / "ids.txt").write_text("1\n")
    assert run("assign", "--ids", tmp_path / "ids.txt", "--raw") == 0
    assert capsys.readouterr().out == "id,key\n1,treatment\n"


@pytest.mark.parametrize(
    ("content", "message"), [(None, "no such file"), (b"\n \n", "no id"), (b"a\n\xff\n", "not UTF-8")]
)
def test_a_bad_ids_file_is_said(site: Settings, tmp_path: Path, content: bytes | None, message: str) -> None:
    commands.start("stt-2", "stt", 1, 2)
    if content is not None:
        (tmp_path / "ids.txt").write_bytes(content)
    with pytest.raises(ParleyError, match=message):
        commands.assign(tmp_path / "ids.txt", tmp_path / "out.csv")


def test_assign_without_a_live_experiment_says_so(site: Settings, tmp_path: Path) -> None:
    (tmp_path / "ids.txt").write_text("1\n")
    with pytest.raises(ParleyError, match="no experiment is live"):
        commands.assign(tmp_path / "ids.txt")
