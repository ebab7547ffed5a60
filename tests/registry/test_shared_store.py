"""The store that sites share: its addresses, names and limits, and what it says when it does not answer."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from parley.errors import ParleyError
from parley.settings import Settings
from registry.housekeeping.shared_store import SharedStore

STT = "barista_stt"


@pytest.mark.parametrize("name", ["../1.tar", f"{STT}/../../1.tar", f"/{STT}/1.tar", f"{STT}/1.zip"])
def test_no_name_leads_out_of_the_address(tmp_path: Path, name: str) -> None:
    store = SharedStore(str(tmp_path / "shared"))

    with pytest.raises(ParleyError, match="no name of a version"):
        store.fetch(name, tmp_path / "x", 10)


def test_file_larger_than_any_version_is_not_fetched_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "shared" / STT
    folder.mkdir(parents=True)
    (folder / "1.tar").write_bytes(bytes(3_000_000))

    with pytest.raises(ParleyError, match="larger than 1000000 bytes"):
        SharedStore(str(tmp_path / "shared")).fetch(f"{STT}/1.tar", tmp_path / "here", 1_000_000)


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "shares no repository"), ("nope://a/b", "no address"),
        ("gs://bucket/a", "not installed"),
    ],
)  # fmt: skip
def test_address_that_cannot_be_used_is_one_clear_error(address: str, reason: str) -> None:
    with pytest.raises(ParleyError, match=reason):
        SharedStore.at(Settings(shared_repo=address))


def test_without_s3fs_it_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from registry.housekeeping.shared_store import SharedStore\n"
        "try: SharedStore('s3://bucket/folder')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout.startswith("ParleyError s3://bucket/folder: what opens this address is not installed")
    assert "pip install 'parley[s3]'" in done.stdout


def test_server_that_is_down_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "id")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    with pytest.raises(ParleyError, match="s3://bucket/folder: .* does not answer or refuses: .*127.0.0.1:9") as caught:
        SharedStore("s3://bucket/folder").versions()

    assert "very-secret" not in str(caught.value)


def test_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ParleyError, match="by the environment") as caught:
        SharedStore("s3://user:very-secret@bucket/folder")

    assert "very-secret" not in str(caught.value)
