"""A version travels between sites as one file, and arrives only when somebody trusted has signed just that."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_models import damage, scaler_bundle

from cli.main import run
from parley.bundle import MANIFEST, SIGNATURE, read_manifest, write_bundle
from parley.errors import ParleyError
from parley.folder import list_files
from parley.settings import Settings
from registry import catalogue
from registry.catalogue import PUBLISHED
from registry.housekeeping.archive import Unpacked, pack, unpack
from registry.housekeeping.canonical_tar import write
from registry.recovery import mend
from registry.site import Registry
from registry.versions.publish import publish
from registry.versions.signing import public_key, read_pin, sign, write_pin
from registry.writing import open_for_writing

MODEL = "barista_nlu"


def _site(folder: Path, *trusted: Settings) -> Settings:
    keys = folder / "trusted"
    keys.mkdir(parents=True)
    (folder / "repo").mkdir()
    for number, other in enumerate(trusted):
        shutil.copy(public_key(other), keys / f"site-{number}.pem")
    return Settings(bots_dir=folder / "bots", repo_dir=folder / "repo", state_dir=folder / "var", trusted_keys_dir=keys)


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[Registry]:
    """A site that published two versions."""
    with open_for_writing(_site(tmp_path / "sender")) as registry:
        for factor in (2, 3):
            publish(scaler_bundle(tmp_path / f"bundle-{factor}", factor), registry, who="ada")
        yield registry


@pytest.fixture
def receiver(tmp_path: Path, sender: Registry) -> Iterator[Registry]:
    """A site that trusts the sender."""
    with open_for_writing(_site(tmp_path / "receiver", sender.site)) as registry:
        yield registry


def _content(registry: Registry, number: int) -> dict[str, bytes]:
    files = list_files(registry.repo / MODEL / str(number))
    return {name: path.read_bytes() for name, path in files.items()}


def _nothing_arrived(registry: Registry) -> bool:
    folder = registry.repo / MODEL
    with registry.catalogue.read() as c:
        return not catalogue.versions(c) and not (folder.exists() and any(folder.iterdir()))


@pytest.mark.parametrize("name", ["two.tar", "two.tgz", "two.tar.gz"])
def test_version_arrives_as_it_left_under_its_number_known_pinned_and_read_only(
    tmp_path: Path, sender: Registry, receiver: Registry, name: str
) -> None:
    archive = pack(sender, MODEL, 2, tmp_path / name)

    outcome = unpack(receiver, archive, who="grace")

    assert outcome == Unpacked(MODEL, 2, "new")
    assert _content(receiver, 2) == _content(sender, 2)
    with sender.catalogue.read() as c, receiver.catalogue.read() as other:
        sent, arrived = catalogue.version(c, MODEL, 2), catalogue.version(other, MODEL, 2)
    assert (arrived.digest, arrived.key_id, arrived.published_by) == (sent.digest, sent.key_id, "grace")
    assert read_pin(receiver.site, MODEL, 2) == sent.digest
    assert all(path.stat().st_mode & 0o222 == 0 for path in list_files(receiver.repo / MODEL / "2").values())
    assert mend(receiver) == []


def test_equal_versions_are_packed_into_equal_bytes(tmp_path: Path, sender: Registry, receiver: Registry) -> None:
    first = pack(sender, MODEL, 1, tmp_path / "a.tar")
    unpack(receiver, first)

    second = pack(receiver, MODEL, 1, tmp_path / "b.tar")

    assert first.read_bytes() == second.read_bytes()


def test_next_own_version_goes_on_after_the_imported_number(
    tmp_path: Path, sender: Registry, receiver: Registry
) -> None:
    unpack(receiver, pack(sender, MODEL, 2, tmp_path / "two.tar"))

    assert publish(scaler_bundle(tmp_path / "own", 5), receiver, who="grace") == 3


def test_same_archive_again_changes_nothing(tmp_path: Path, sender: Registry, receiver: Registry) -> None:
    archive = pack(sender, MODEL, 2, tmp_path / "two.tar")
    unpack(receiver, archive)

    assert unpack(receiver, archive).outcome == "here already"
    assert sorted(path.name for path in (receiver.repo / MODEL).iterdir()) == ["2", "config.pbtxt", "configs"]


def test_a_pipe_is_refused_at_once(tmp_path: Path, receiver: Registry) -> None:
    os.mkfifo(tmp_path / "two.tar")  # nobody ever writes into it

    with pytest.raises(ParleyError, match="no ordinary file"):
        unpack(receiver, tmp_path / "two.tar")


def test_taken_number_is_refused_with_what_to_do(tmp_path: Path, sender: Registry, receiver: Registry) -> None:
    publish(scaler_bundle(tmp_path / "own", 9), receiver, who="grace")
    before = _content(receiver, 1)

    with pytest.raises(ParleyError, match=r"another barista_nlu 1 .*the signature binds the number.* 2 and above"):
        unpack(receiver, pack(sender, MODEL, 1, tmp_path / "one.tar"))

    assert _content(receiver, 1) == before


def test_number_that_was_pinned_for_lost_content_is_not_given_to_another(
    tmp_path: Path, sender: Registry, receiver: Registry
) -> None:
    write_pin(receiver.site, MODEL, 1, "a" * 64)

    with pytest.raises(ParleyError, match="another barista_nlu 1"):
        unpack(receiver, pack(sender, MODEL, 1, tmp_path / "one.tar"))


def test_collected_version_comes_back(tmp_path: Path, sender: Registry, receiver: Registry) -> None:
    archive = pack(sender, MODEL, 1, tmp_path / "one.tar")
    unpack(receiver, archive)
    shutil.rmtree(receiver.repo / MODEL / "1")
    with receiver.catalogue.write() as c:
        catalogue.set_state(c, MODEL, 1, "collected")

    assert unpack(receiver, archive).outcome == "restored"

    with receiver.catalogue.read() as c:
        assert catalogue.version(c, MODEL, 1).state == PUBLISHED


def test_unknown_signer_is_refused_by_key_and_told_where_to_put_it(tmp_path: Path, sender: Registry) -> None:
    archive = pack(sender, MODEL, 1, tmp_path / "one.tar")
    with sender.catalogue.read() as c:
        key = catalogue.version(c, MODEL, 1).key_id
    with open_for_writing(_site(tmp_path / "stranger")) as stranger:
        with pytest.raises(ParleyError, match=f"signed with key {key}, which this site does not trust") as caught:
            unpack(stranger, archive)

        assert str(stranger.site.trusted_keys_dir) in caught.value.mend
        assert _nothing_arrived(stranger)


def _altered(directory: Path, how: str, sender: Registry) -> list[str]:
    """Change a copy of a version; returns the names to pack."""
    for path in list_files(directory).values():
        path.chmod(0o644)
    if how == "altered weights":
        damage(directory / "model.onnx")
    elif how == "added file":
        (directory / "extra.json").write_text("{}")
    elif how == "missing file":
        (directory / "labels.json").unlink()
    elif how == "no signature":
        (directory / SIGNATURE).unlink()
    elif how == "no manifest":
        (directory / MANIFEST).unlink()
    elif how == "signature of another version":
        shutil.copy(sender.repo / MODEL / "2" / SIGNATURE, directory / SIGNATURE)
    elif how == "altered manifest":
        write_bundle(directory, read_manifest(directory).model_copy(update={"data_licence": "mine"}))
    elif how == "pickle signed by the sender":
        (directory / "labels.json").write_bytes(b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00c__builtin__\neval\n.")
        write_bundle(directory, read_manifest(directory))
        (directory / SIGNATURE).unlink()
        sign(directory, sender.site)
    return list(list_files(directory))


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("altered weights", r"model\.onnx: file is altered"), ("added file", r"extra\.json: file is not signed"),
        ("missing file", r"labels\.json: file is missing"), ("no signature", "no signed version"),
        ("no manifest", "no signed version"), ("signature of another version", "file is altered"),
        ("altered manifest", "file is altered"), ("pickle signed by the sender", r"labels\.json: .*pickle"),
    ],
)  # fmt: skip
def test_archive_whose_content_is_not_what_was_signed_or_accepted_leaves_nothing_behind(
    tmp_path: Path, sender: Registry, receiver: Registry, how: str, reason: str
) -> None:
    copy = shutil.copytree(sender.repo / MODEL / "1", tmp_path / "copy")
    names = _altered(copy, how, sender)
    archive = tmp_path / "odd.tar"
    with archive.open("wb") as out:
        write(copy, names, f"{MODEL}/1", out)

    with pytest.raises(ParleyError, match=reason) as caught:
        unpack(receiver, archive)

    assert ".staging-" not in str(caught.value)
    assert _nothing_arrived(receiver)


@pytest.mark.parametrize("prefix", [f"{MODEL}/7", "barista_tts/1"], ids=["another number", "another model"])
def test_archive_that_names_another_version_than_it_holds_is_refused(
    tmp_path: Path, sender: Registry, receiver: Registry, prefix: str
) -> None:
    directory = sender.repo / MODEL / "1"
    archive = tmp_path / "odd.tar"
    with archive.open("wb") as out:
        write(directory, list(list_files(directory)), prefix, out)

    with pytest.raises(ParleyError, match="is barista_nlu version 1, not"):
        unpack(receiver, archive)


def test_hostile_archive_leaves_nothing_behind(tmp_path: Path, receiver: Registry) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        link = tarfile.TarInfo(f"{MODEL}/1/model.onnx")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    archive = tmp_path / "evil.tar"
    archive.write_bytes(out.getvalue())

    with pytest.raises(ParleyError, match="symbolic link"):
        unpack(receiver, archive)

    assert _nothing_arrived(receiver)


def test_version_whose_files_were_altered_here_is_not_packed(tmp_path: Path, sender: Registry) -> None:
    damage(sender.repo / MODEL / "1" / "model.onnx")

    with pytest.raises(ParleyError, match="file is altered"):
        pack(sender, MODEL, 1, tmp_path / "one.tar")

    assert not (tmp_path / "one.tar").exists()


def test_existing_file_is_not_overwritten(tmp_path: Path, sender: Registry) -> None:
    (tmp_path / "one.tar").write_text("mine")

    with pytest.raises(ParleyError, match="exists"):
        pack(sender, MODEL, 1, tmp_path / "one.tar")

    assert (tmp_path / "one.tar").read_text() == "mine"


def test_from_one_site_to_another_by_command(
    tmp_path: Path, sender: Registry, receiver: Registry, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    archive = str(tmp_path / "two.tgz")

    def at(registry: Registry) -> None:
        for name in ("bots_dir", "repo_dir", "state_dir", "trusted_keys_dir"):
            monkeypatch.setenv(f"PARLEY_{name.upper()}", str(getattr(registry.site, name)))

    at(sender)
    assert run(["pack", "nlu", "2", archive]) == 0
    at(receiver)
    assert run(["unpack", archive]) == 0

    assert f"{MODEL} version 2: new" in capsys.readouterr().out
