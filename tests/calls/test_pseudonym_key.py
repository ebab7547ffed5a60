"""The key of a site's pseudonyms: made once, for its owner only."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from calls.pseudonyms import KEY_FILE, pseudonym_key
from parley.errors import ParleyError
from parley.settings import Settings


def test_the_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    site = Settings(state_dir=tmp_path / "state")
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: pseudonym_key(site), range(16)))
    assert len(keys) == 1
    assert len(keys.pop()) == 64
    assert stat.S_IMODE((site.state_dir / KEY_FILE).stat().st_mode) == 0o600
    assert [p.name for p in site.state_dir.iterdir()] == [KEY_FILE]


def test_a_key_that_others_can_read_is_closed_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = Settings(state_dir=tmp_path)
    key = pseudonym_key(site)
    (tmp_path / KEY_FILE).chmod(0o644)
    assert pseudonym_key(site) == key
    assert stat.S_IMODE((tmp_path / KEY_FILE).stat().st_mode) == 0o600
    assert "0600" in caplog.text
    assert key.decode() not in caplog.text


def test_the_configured_key_wins_and_a_damaged_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_PSEUDONYM_KEY", "of the site")
    assert pseudonym_key(Settings(state_dir=tmp_path)) == b"of the site"
    assert not (tmp_path / KEY_FILE).exists()
    monkeypatch.delenv("PARLEY_PSEUDONYM_KEY")
    (tmp_path / KEY_FILE).write_text("short")
    with pytest.raises(ParleyError, match="damaged"):
        pseudonym_key(Settings(state_dir=tmp_path))
