"""Sites share a repository of files written once: in a folder, and in an object store (moto's S3 server, over HTTP)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from release_site import add_version, add_versions, make_site, write_seed

from cli.main import run
from parley.errors import ParleyError
from parley.folder import list_files
from parley.settings import Settings
from registry import catalogue
from registry import tables as t
from registry.housekeeping import shared_store
from registry.housekeeping.envelope import seal
from registry.housekeeping.shared import Transfer, pull, push
from registry.housekeeping.shared_store import SharedStore
from registry.recovery import mend
from registry.releasing.aliases import bots_with_aliases
from registry.releasing.releases import releases
from registry.releasing.seeding import mend_releases
from registry.site import Registry
from registry.versions.signing import public_key
from registry.writing import open_for_writing

STT = "barista_stt"
RELEASE_1 = "releases/barista/1.json"


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Address of an S3 server of moto's, on loopback."""
    server_module = pytest.importorskip("moto.server")
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(params=["folder", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty shared repository: each test runs on a folder and on S3."""
    if request.param == "folder":
        return str(tmp_path / "shared")
    import boto3

    endpoint: str = request.getfixturevalue("s3_server")
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name, value in {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    bucket = f"parley-{uuid.uuid4()}"
    boto3.client("s3", endpoint_url=endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/sites"


@pytest.fixture
def ours(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A site with a version of every stage, released."""
    _accept_any_content(monkeypatch)
    with open_for_writing(_site(tmp_path / "ours", address)) as registry:
        add_versions(registry, 1)
        write_seed(registry.site, dict.fromkeys(("stt", "nlu", "nlg", "tts"), 1))
        mend_releases(registry)
        yield registry


@pytest.fixture
def theirs(tmp_path: Path, address: str, ours: Registry) -> Iterator[Registry]:
    """Another site with the same bot, which trusts ours."""
    with open_for_writing(_site(tmp_path / "theirs", address, ours.site)) as registry:
        yield registry


def _accept_any_content(monkeypatch: pytest.MonkeyPatch) -> None:
    # The versions of these tests hold no real graph and no real labels; tests/registry/test_archive.py uses real ones.
    monkeypatch.setattr("registry.housekeeping.archive.inspect_bundle", lambda _: None)
    monkeypatch.setattr("registry.releasing.fit.check_dialogue", lambda *_: None)


def _site(folder: Path, address: str, *trusted: Settings) -> Settings:
    site = make_site(folder)
    (folder / "keys").mkdir()
    for number, other in enumerate(trusted):
        shutil.copy(public_key(other), folder / "keys" / f"{number}.pem")
    return site.model_copy(update={"shared_repo": address, "trusted_keys_dir": folder / "keys"})


def _store(registry: Registry) -> SharedStore:
    return SharedStore.at(registry.site)


def _outcomes(transfers: list[Transfer]) -> dict[str, str]:
    return {transfer.subject: transfer.outcome for transfer in transfers}


def _content(registry: Registry, number: int = 1) -> dict[str, bytes]:
    files = list_files(registry.repo / STT / str(number))
    return {name: path.read_bytes() for name, path in files.items()}


def _problem(transfers: list[Transfer]) -> str:
    (transfer,) = transfers
    assert transfer.problem is not None, transfer
    return str(transfer.problem)


def test_what_one_site_pushes_another_pulls_with_its_release_and_nothing_points_to_it(
    ours: Registry, theirs: Registry
) -> None:
    pushed = push(ours, _store(ours))
    pulled = pull(theirs, _store(theirs))

    subjects = {*(f"barista_{stage} 1" for stage in ("stt", "nlu", "nlg", "tts")), "barista release 1"}
    assert _outcomes(pushed) == dict.fromkeys(subjects, "pushed")
    assert _outcomes(pulled) == dict.fromkeys(subjects, "pulled")
    assert _content(theirs) == _content(ours)
    with theirs.catalogue.read() as c:
        assert [release.number for release in releases(c, "barista")] == [1]
        assert bots_with_aliases(c) == set()
    assert mend(theirs) == []


def test_second_time_nothing_is_written_or_read(
    ours: Registry, theirs: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(ours, _store(ours))
    pull(theirs, _store(theirs))

    def never(*_: object) -> None:
        raise AssertionError("a version went over the line again")

    monkeypatch.setattr("registry.housekeeping.shared.pack", never)
    monkeypatch.setattr("registry.housekeeping.shared.unpack", never)

    assert set(_outcomes(push(ours, _store(ours))).values()) == {"there already"}
    assert set(_outcomes(pull(theirs, _store(theirs))).values()) == {"here already"}


def test_only_what_is_named_is_transferred(ours: Registry, theirs: Registry) -> None:
    add_version(ours, "stt")

    assert _outcomes(push(ours, _store(ours), [(STT, 2)])) == {f"{STT} 2": "pushed"}
    assert _store(ours).versions() == [(STT, 2)]
    assert _store(ours).releases() == []
    assert _outcomes(pull(theirs, _store(theirs), STT)) == {f"{STT} 2": "pulled"}


def test_equal_version_that_lies_there_already_is_no_conflict(ours: Registry, theirs: Registry) -> None:
    push(ours, _store(ours), [(STT, 1)])
    pull(theirs, _store(theirs), STT, 1)
    with theirs.catalogue.read() as c:
        assert c.execute(t.registry_audit.select()).all()

    assert _outcomes(push(theirs, _store(theirs), [(STT, 1)])) == {f"{STT} 1": "there already"}


def test_other_content_under_a_taken_number_is_refused_with_the_next_number_and_nothing_is_overwritten(
    ours: Registry, theirs: Registry, tmp_path: Path
) -> None:
    push(ours, _store(ours), [(STT, 1)])
    add_version(theirs, "stt", data_licence="theirs")

    problem = _problem(push(theirs, _store(theirs), [(STT, 1)]))

    assert f"another site pushed another {STT} 1" in problem and "2 is the next" in problem
    _store(ours).fetch(f"{STT}/1.tar", tmp_path / "there.tar", 1 << 30)
    assert _content(ours)["manifest.json"] in (tmp_path / "there.tar").read_bytes()


def test_of_publishers_of_one_number_at_once_exactly_one_wins(address: str, tmp_path: Path, ours: Registry) -> None:
    start = threading.Barrier(4)

    def publish(writer: int) -> bool:
        source = tmp_path / f"{writer}.tar"
        source.write_bytes(bytes([writer]) * 100_000)
        store = SharedStore(address)
        start.wait()
        try:
            store.put(f"{STT}/9.tar", source)
        except FileExistsError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(publish, range(4)))

    assert sorted(won) == [False, False, False, True]
    SharedStore(address).fetch(f"{STT}/9.tar", tmp_path / "there.tar", 1 << 20)
    assert (tmp_path / "there.tar").read_bytes() == bytes([won.index(True)]) * 100_000


def test_interrupted_upload_is_never_seen_and_the_next_one_succeeds(
    address: str, tmp_path: Path, ours: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.tar"
    source.write_bytes(bytes(100_000))
    store = SharedStore(address)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        if address.startswith("s3"):
            patch.setattr(type(store._files), "_call_s3", fail)
        else:
            patch.setattr(shared_store.os, "fsync", fail)
        with pytest.raises(ParleyError, match="does not answer or refuses: .*No space left"):
            store.put(f"{STT}/1.tar", source)

    assert store.versions() == []
    assert not list((tmp_path / "shared").rglob("*.tar"))
    store.put(f"{STT}/1.tar", source)
    assert store.versions() == [(STT, 1)]


def test_altered_archive_in_the_store_is_refused_and_the_others_still_come(
    ours: Registry, theirs: Registry, tmp_path: Path
) -> None:
    add_version(ours, "stt")
    push(ours, _store(ours), [(STT, 1), (STT, 2)])
    _replace(_store(ours), f"{STT}/1.tar", lambda content: content.replace(b"barista_stt 1", b"barista_stt X"))

    pulled = pull(theirs, _store(theirs), STT)

    assert _outcomes(pulled) == {f"{STT} 1": "refused", f"{STT} 2": "pulled"}
    assert "file is altered" in str(pulled[0].problem)
    assert not (theirs.repo / STT / "1").exists()


def _replace(store: SharedStore, name: str, change: Any) -> None:
    """What somebody with access to the store could do."""
    path = f"{store._root}/{name}"
    content = store._files.cat_file(path)
    altered = change(content)
    assert altered != content
    store._files.rm_file(path)
    store._files.pipe_file(path, altered)


def test_archive_under_another_versions_name_is_refused(ours: Registry, theirs: Registry) -> None:
    push(ours, _store(ours), [(STT, 1)])
    store = _store(ours)
    content = store._files.cat_file(f"{store._root}/{STT}/1.tar")
    store._files.pipe_file(f"{store._root}/{STT}/7.tar", content)

    assert "under a wrong name" in _problem(pull(theirs, _store(theirs), STT, 7))


def test_version_of_an_untrusted_site_is_refused_by_its_key(ours: Registry, tmp_path: Path, address: str) -> None:
    push(ours, _store(ours), [(STT, 1)])
    with open_for_writing(_site(tmp_path / "stranger", address)) as stranger:
        assert "which this site does not trust" in _problem(pull(stranger, _store(stranger), STT, 1))


def test_collected_version_comes_back_only_when_it_is_named(ours: Registry, theirs: Registry) -> None:
    push(ours, _store(ours), [(STT, 1)])
    pull(theirs, _store(theirs), STT)
    shutil.rmtree(theirs.repo / STT / "1")
    with theirs.catalogue.write() as c:
        catalogue.set_state(c, STT, 1, "collected")

    assert _outcomes(pull(theirs, _store(theirs))) == {f"{STT} 1": "collected here"}
    assert _outcomes(pull(theirs, _store(theirs), STT, 1)) == {f"{STT} 1": "restored"}


def test_release_of_equal_versions_is_one_release_and_another_one_is_refused(ours: Registry, theirs: Registry) -> None:
    push(ours, _store(ours))
    pull(theirs, _store(theirs))
    assert _outcomes(push(theirs, _store(theirs)))["barista release 1"] == "there already"
    _replace(_store(ours), RELEASE_1, lambda sealed: _changed(sealed, ours.site, _without_tts))

    refused = next(each for each in pull(theirs, _store(theirs)) if each.subject == "barista release 1")

    assert "this site has another release 1 of barista" in str(refused.problem)


def _without_tts(document: Any) -> None:
    del document["release"]["stages"]["tts"]


def _changed(sealed: bytes, signer: Settings, change: Callable[[Any], None]) -> bytes:
    """The document of an envelope, changed and signed anew."""
    document = json.loads(base64.b64decode(json.loads(sealed)["payload"]))
    change(document)
    return seal(json.dumps(document).encode(), signer).encode()


def _as_bob(document: Any) -> None:
    document["release"]["who"] = "bob"


def _plain(sealed: bytes) -> bytes:
    return base64.b64decode(json.loads(sealed)["payload"])


def _altered(sealed: bytes) -> bytes:
    envelope = json.loads(sealed)
    document = json.loads(base64.b64decode(envelope["payload"]))
    _as_bob(document)
    return json.dumps({**envelope, "payload": base64.b64encode(json.dumps(document).encode()).decode()}).encode()


@pytest.mark.parametrize(
    ("forge", "says"),
    [
        (_plain, "nobody signed it"),
        (_altered, "changed after it was signed"),
        (
            lambda sealed: json.dumps({**json.loads(sealed), "signatures": []}).encode(),
            "expected exactly one signature",
        ),
        (lambda sealed: b"\xff", "nobody signed it"),
        (lambda sealed: sealed.replace(b'"payload":"', b'"payload":"*'), "not base64"),
    ],
    ids=["plain", "altered", "no signature", "no text", "no base64"],
)
def test_a_forged_release_is_refused(
    ours: Registry, theirs: Registry, forge: Callable[[bytes], bytes], says: str
) -> None:
    push(ours, _store(ours))
    _replace(_store(ours), RELEASE_1, forge)

    for transfers in (pull(theirs, _store(theirs)), push(ours, _store(ours))):
        refused = next(each for each in transfers if each.subject == "barista release 1")
        assert refused.outcome == "refused" and says in str(refused.problem)
    with theirs.catalogue.read() as c:
        assert releases(c, "barista") == []


def test_a_release_that_a_stranger_signed_is_refused(
    ours: Registry, theirs: Registry, tmp_path: Path, address: str
) -> None:
    push(ours, _store(ours))
    stranger = _site(tmp_path / "stranger", address)
    _replace(_store(ours), RELEASE_1, lambda sealed: _changed(sealed, stranger, _as_bob))

    refused = next(each for each in pull(theirs, _store(theirs)) if each.subject == "barista release 1")

    assert "which this site does not trust" in str(refused.problem)


def test_release_whose_versions_are_not_here_is_refused(ours: Registry, theirs: Registry) -> None:
    push(ours, _store(ours))
    store = _store(ours)
    store._files.rm_file(f"{store._root}/barista_tts/1.tar")

    outcomes = _outcomes(pull(theirs, _store(theirs)))

    assert outcomes["barista release 1"] == "refused"


def test_what_does_not_belong_there_is_left_alone(ours: Registry) -> None:
    push(ours, _store(ours), [(STT, 1)])
    store = _store(ours)
    for name in (f"{STT}/x.tar", f"{STT}/.part-1", f"{STT}/01.tar", "notes.txt", f"deep/{STT}/1.tar"):
        store._files.makedirs(f"{store._root}/{name}".rpartition("/")[0], exist_ok=True)
        store._files.pipe_file(f"{store._root}/{name}", b"x")

    assert store.versions() == [(STT, 1)]


def test_by_command_each_line_says_what_became_of_a_version(
    ours: Registry, theirs: Registry, address: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def at(registry: Registry) -> None:
        for name in ("bots_dir", "repo_dir", "state_dir", "trusted_keys_dir", "shared_repo"):
            monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(registry.site, name)))

    at(ours)
    assert run(["push", "stt", "1"]) == 0
    at(theirs)
    assert run(["pull", STT]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{STT} 1: pushed", f"{STT} 1: pulled"]
    assert run(["pull", STT, "8"]) == 1
    assert f"parley: {STT} 8: refused: " in capsys.readouterr().err
    with pytest.raises(ParleyError, match="pairs of model and number"):
        run(["push", "stt"])
