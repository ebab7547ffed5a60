"""No secret of a site is in what its application tells: logs, health, the arguments that Ray keeps and hands on."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from test_app import models as models
from test_app import serving
from test_app import site as site

from experiments.api import create_rest
from orchestrator.app import _calls, _rest
from parley.secrets import VARIABLES
from parley.settings import Settings

HIDDEN = "hidden-from-view"


@pytest.fixture
def whole(site: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A site with every secret there is."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, HIDDEN)
    return site


def test_what_an_application_says_holds_none(whole: Settings, models: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with serving(whole, models) as address:
        told = [httpx.get(f"http://{address}{path}").text for path in ("/healthz", "/readyz", f"/twilio/{HIDDEN}")]
    rest = TestClient(create_rest(whole))
    for token in (HIDDEN, f"{HIDDEN}x"):
        told.append(rest.get("/v1/experiments", headers={"Authorization": f"Bearer {token}"}).text)

    assert '"loops"' in told[0]
    assert HIDDEN not in "".join(told)
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert HIDDEN not in "".join(f"{record.getMessage()} {vars(record)}" for record in ours)


def test_what_ray_keeps_of_a_site_holds_none(whole: Settings) -> None:
    from ray import cloudpickle

    for application in (_calls("barista", whole, 1), _rest(whole)):
        kept = cloudpickle.dumps(application)
        assert str(whole.state_dir).encode() in kept
        assert HIDDEN.encode() not in kept
