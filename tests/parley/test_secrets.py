"""Secrets are read where they are needed, shown nowhere, and in nothing that travels."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path

import pytest
import sqlalchemy as sa

from parley.errors import ParleyError
from parley.secrets import VARIABLES, Secrets, split_password, without_secrets
from parley.serving.trust import Trust
from parley.settings import Settings, database_url, settings

HIDDEN = "hidden-from-view"


@pytest.fixture
def whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """A site with every secret there is."""
    for variable in VARIABLES:
        monkeypatch.setenv(variable, HIDDEN)
    monkeypatch.setenv("PARLEY_DATABASE_URL", f"postgresql://ada:{HIDDEN}@db.example/parley")


def test_a_site_holds_none_and_reads_them_when_it_is_asked(whole: None) -> None:
    site = settings()

    for shown in (repr(site), str(site), site.model_dump_json(), str(pickle.dumps(site)), repr(site.read_secrets())):
        assert HIDDEN not in shown
    assert not {name.upper() for name in Settings.model_fields} & {name.removeprefix("PARLEY_") for name in VARIABLES}
    assert site.database_url == "postgresql://ada@db.example/parley"
    assert site.read_secrets().control_token == site.read_secrets().site_token == HIDDEN


def test_they_are_told_by_name_and_neither_pickled_nor_copied_nor_made_json() -> None:
    found = Secrets(site_token=HIDDEN, pseudonym_key=HIDDEN)
    assert repr(found) == "Secrets(site_token, pseudonym_key)"
    for travel in (pickle.dumps, copy.copy, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            travel(found)


@pytest.mark.parametrize("password", ["simple", "with/slash:and%40at", "%2Fx"])
def test_who_opens_the_database_gets_the_password_and_prints_none(
    password: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = f"postgresql://ada:{password}@db.example/parley"
    monkeypatch.setenv("PARLEY_DATABASE_URL", written)

    url = database_url(settings())

    assert isinstance(url, sa.URL) and url.password == sa.make_url(written).password
    assert str(url) == "postgresql://ada:***@db.example/parley"


def test_a_password_of_its_own_is_that_of_the_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_DATABASE_URL", "postgresql://ada@db.example/parley")
    monkeypatch.setenv("PARLEY_DATABASE_PASSWORD", HIDDEN)
    assert sa.make_url(database_url(settings())).password == HIDDEN


@pytest.mark.parametrize("name", ["database_url", "shared_repo"])
@pytest.mark.parametrize("address", [f"postgresql://ada:{HIDDEN}@h/d", f"postgresql://ada@h/d?password={HIDDEN}"])
def test_an_address_with_a_password_is_no_setting_and_is_not_repeated(name: str, address: str) -> None:
    with pytest.raises(ParleyError, match=f"PARLEY_{name.upper()}.*password") as refused:
        settings(**{name: address})
    assert HIDDEN not in str(refused.value)
    with pytest.raises(ValueError) as plain:
        Settings(**{name: address})
    assert HIDDEN not in str(plain.value)


def test_an_address_without_a_password_is_left_alone() -> None:
    for address in ("sqlite:///a:b@c", "postgresql://ada@h/d", "s3://bucket/a:b@c", "", "/srv/a:b@c"):
        assert split_password(address) == (address, "")


def test_a_file_of_secrets_is_read_where_the_environment_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "secrets"
    file.write_text("# ours\nPARLEY_SITE_TOKEN=of=the file\n\nPARLEY_CONTROL_TOKEN=of the file\n")
    file.chmod(0o600)
    monkeypatch.setenv("PARLEY_SECRETS_FILE", str(file))
    monkeypatch.setenv("PARLEY_CONTROL_TOKEN", "of the environment")

    found = settings().read_secrets()

    assert found == Secrets(site_token="of=the file", control_token="of the environment")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [("PARLEY_SITE_TOKEN=x", 0o640, "chmod 600"), ("PARLEY_PORT=1", 0o600, "secrets:1.*no secret"),
     ("# a\nhidden-from-view", 0o600, "secrets:2.*no secret")],
)  # fmt: skip
def test_a_file_that_is_open_or_holds_something_else_is_refused(
    tmp_path: Path, content: str, mode: int, said: str
) -> None:
    file = tmp_path / "secrets"
    file.write_text(content)
    file.chmod(mode)
    with pytest.raises(ParleyError, match=said) as refused:
        Secrets.read(file, {})
    assert HIDDEN not in str(refused.value)


def test_a_process_that_needs_none_gets_none(whole: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from parley.serving.triton_install import TritonInstall, server_environment

    for name in ("AWS_SECRET_ACCESS_KEY", "WANDB_API_KEY", "PGPASSWORD", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, HIDDEN)
    install = TritonInstall(*(Path(name) for name in ("binary", "libraries", "onnxruntime.so", "python")))

    assert HIDDEN not in str(server_environment(install, Trust.of_state(Path("var"))))
    assert without_secrets({"PATH": "/bin", "PARLEY_SITE_TOKEN": HIDDEN}) == {"PATH": "/bin"}
