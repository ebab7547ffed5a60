"""Variables of the environment: a home is a home, a mistyped name is refused, a path is a path."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from parley import settings as settings_module
from parley.errors import ParleyError
from parley.serving.trust import Trust
from parley.settings import Settings, database_url, settings
from parley.typed import count, days, is_number, version_number
from registry.catalogue import Catalogue, versions


def test_a_tilde_is_the_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PARLEY_REPO_DIR", "~/repo")
    assert settings().repo_dir == tmp_path / "repo"
    monkeypatch.setenv("PARLEY_REPO_DIR", "~nobody-of-this-name/repo")
    with pytest.raises(ParleyError, match="home"):
        settings()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("PARLEY_REPODIR", "PARLEY_REPO_DIR"), ("PARLEY_CONTROL_TOKENS", "PARLEY_CONTROL_TOKEN"),
     ("PARLEY_TRUSTED_KEYS", "PARLEY_TRUSTED_KEYS_DIR")],
)  # fmt: skip
def test_a_mistyped_variable_is_refused_with_the_nearest(
    monkeypatch: pytest.MonkeyPatch, typed: str, meant: str
) -> None:
    monkeypatch.setenv(typed, "x")
    with pytest.raises(ParleyError, match=f"{typed}.*did you mean {meant}"):
        settings()


def test_a_strange_variable_is_mentioned_once_and_those_of_tests_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(settings_module, "_told", set())
    monkeypatch.setenv("PARLEY_XYZZY", "1")
    monkeypatch.setenv("PARLEY_TEST_RECORDINGS", "x")
    settings(), settings()
    assert capsys.readouterr().err == "note: PARLEY_XYZZY is no setting of Parley and does nothing\n"


ODD = ["%41", "a?b", "a#b", "a:b@c", "with space", "über-客", "new\nline", "a%2Fb&mode=memory"]


@pytest.mark.parametrize("odd", ODD)
def test_the_database_lies_in_the_folder_that_was_named(tmp_path: Path, odd: str) -> None:
    site = Settings(state_dir=tmp_path / odd)
    with Catalogue.at(site):
        pass
    with Catalogue.look(site) as catalogue, catalogue.read() as c:
        assert versions(c) == []
    assert [path.name for path in tmp_path.iterdir()] == [odd]
    with sqlite3.connect(tmp_path / odd / "parley.db") as opened:
        assert opened.execute("SELECT count(*) FROM versions").fetchone() == (0,)
    assert not isinstance(database_url(site), str)


@pytest.mark.parametrize("odd", ODD)
def test_trust_arrives_in_another_process_whatever_its_paths_hold(tmp_path: Path, odd: str) -> None:
    (tmp_path / odd).mkdir()
    (tmp_path / odd / "a.pem").touch()
    trust = Trust.of_state(tmp_path / odd / "var", tmp_path / odd)
    assert Trust.of_environment(trust.environment()) == trust
    assert trust.key_files() == [tmp_path / odd / "a.pem"]


def test_keys_that_are_no_list_are_said() -> None:
    for text in ("/etc/keys:/opt/keys", "5", "[1]"):
        with pytest.raises(ParleyError, match="JSON list"):
            Trust.of_environment({"PARLEY_TRUSTED_KEYS": text, "PARLEY_PINS": "/pins"})


@pytest.mark.parametrize("text", ["0", "-1", "99999999999999999999", "2147483648", "³", "٣", "1e3", " 3", "3 ", "+3",
                                  "03", "1_0", "", "0x3", "3\n"])  # fmt: skip
def test_what_is_no_number_of_a_version_is_refused_everywhere(text: str) -> None:
    assert not is_number(text)
    with pytest.raises(ParleyError):
        version_number(text)


def test_numbers_and_counts() -> None:
    assert (version_number("1"), version_number("2147483647"), count("0")) == (1, 2147483647, 0)


@pytest.mark.parametrize("text", ["nan", "inf", "1e300", "-1", "٣", " 1", "", "1_0"])
def test_what_is_no_number_of_days_is_refused(text: str) -> None:
    assert (days("0"), days("30"), days("0.5")) == (0.0, 30.0, 0.5)
    with pytest.raises(ParleyError, match="days"):
        days(text)


def test_an_endless_time_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_MAX_CALL_S", "inf")
    with pytest.raises(ParleyError, match="PARLEY_MAX_CALL_S"):
        settings()
