"""A site with experiments to start, and a client of the product owner's routes."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from release_site import add_version, add_versions, make_site, write_seed

from experiments.api import create_rest
from experiments.assignment import STAGES
from experiments.problems import PROBLEM_JSON
from parley.settings import Settings
from registry.releasing.seeding import mend_releases
from registry.writing import open_for_writing

TOKEN = "correct-horse"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
START = {"name": "stt-2", "stage": "stt", "control": 1, "treatment": 2, "coverage": 0.1, "who": "Ada", "why": "try"}


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
