"""What a site has signed loads; anything else is refused by the name of its file."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_signing
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from serving_models import damage, lookup_bundle, publish_all, scaler_bundle
from signed_version import add, check, library_verifies, resign

from parley.errors import ParleyError
from parley.serving.trust import Trust
from parley.settings import Settings
from parley.signatures import read_verified, verify_version
from registry.versions.signing import public_key, read_pin, sign, signing_key, trusted_keys, write_pin


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """`barista_nlu` 1 and 2, and `barista_tts` 1."""
    bundles = [scaler_bundle(tmp_path / "b2", 2), scaler_bundle(tmp_path / "b3", 3), lookup_bundle(tmp_path / "b")]
    return publish_all(tmp_path, *bundles)


@pytest.fixture
def version(site: Settings) -> Path:
    return site.repo_dir / "barista_nlu" / "1"


def test_published_version_verifies_and_gives_its_manifest(site: Settings, version: Path) -> None:
    manifest = check(site, version, pin=read_pin(site, "barista_nlu", 1))

    assert (manifest["model"], manifest["version"]) == ("barista_nlu", 1)
    assert hashlib.sha256(read_verified(version, "model.onnx", manifest)).hexdigest() == manifest["files"]["model.onnx"]


def test_version_verifies_through_the_link_that_serves_it(site: Settings, version: Path, tmp_path: Path) -> None:
    (tmp_path / "view").symlink_to(version)

    assert check(site, tmp_path / "view")["version"] == 1


def test_library_accepts_what_we_publish(site: Settings, version: Path, tmp_path: Path) -> None:
    library_verifies(version, public_key(site), tmp_path)


def test_we_accept_what_the_library_signs(site: Settings, version: Path) -> None:
    ours = (version / "model.sig").read_bytes()
    (version / "model.sig").unlink()
    whole = model_signing.hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    config = model_signing.signing.Config().set_hashing_config(whole)
    config.use_elliptic_key_signer(private_key=signing_key(site)).sign(version, version / "model.sig")

    assert check(site, version)["version"] == 1
    assert (version / "model.sig").read_bytes() != ours


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_every_curve_the_library_signs_with_verifies(site: Settings, version: Path, tmp_path: Path, curve: Any) -> None:
    private = tmp_path / "own.pem"
    write_key(private, curve)
    other = site.model_copy(update={"signing_key": private, "state_dir": tmp_path / "other"})
    (version / "model.sig").unlink()

    sign(version, other)

    assert verify_version(version, [public_key(other)])["version"] == 1
    library_verifies(version, public_key(other), tmp_path)


def write_key(path: Path, curve: Any) -> None:
    private = ec.generate_private_key(curve)
    path.write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


# --- the files ---------------------------------------------------------------------------------------------------


def swap_tokenizer(version: Path) -> Path:
    path = version / "labels.json"
    path.chmod(0o644)
    path.write_text('["tea"]\n')
    return path


def removed(version: Path) -> Path:
    (version / "labels.json").unlink()
    return version / "labels.json"


def linked(version: Path) -> Path:
    path = version / "labels.json"
    target = version.parent.parent / "elsewhere.json"
    path.rename(target)
    path.symlink_to(target)
    return path


def hard_linked(version: Path) -> Path:
    os.link(version / "labels.json", version.parent.parent / "elsewhere.json")
    return version / "labels.json"


def linked_folder(version: Path) -> Path:
    folder = version / "configs"
    folder.rename(version.parent.parent / "elsewhere")
    folder.symlink_to(version.parent.parent / "elsewhere")
    return folder


def unsigned(version: Path) -> Path:
    (version / "model.sig").unlink()
    return version / "model.sig"


def altered(version: Path) -> Path:
    damage(version / "model.onnx")
    return version / "model.onnx"


def empty_folder(version: Path) -> Path:
    (version / "extra").mkdir()
    return version / "extra"


def pipe(version: Path) -> Path:
    os.mkfifo(version / "pipe")
    return version / "pipe"


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (altered, "altered"),
        (swap_tokenizer, "altered"),
        (lambda v: add(v, "notes.txt"), "not signed"),
        (lambda v: add(v, "__pycache__/model.cpython-311.pyc"), "not signed"),
        (lambda v: add(v, ".hidden"), "not signed"),
        (removed, "missing"),
        (unsigned, "not signed"),
        (linked, "symlink"),
        (linked_folder, "symlink"),
        (hard_linked, "hard link"),
        (empty_folder, "empty folder"),
        (pipe, "neither file nor folder"),
    ],
    ids=[
        "weights",
        "tokenizer",
        "added",
        "cache",
        "hidden",
        "removed",
        "unsigned",
        "symlink",
        "linked folder",
        "hard link",
        "folder",
        "pipe",
    ],
)
def test_changed_files_are_refused_by_name(
    site: Settings, version: Path, attack: Callable[[Path], Path], reason: str
) -> None:
    at_fault = attack(version)

    with pytest.raises(ParleyError, match=reason) as caught:
        check(site, version)

    assert caught.value.where == str(at_fault) and caught.value.mend


def test_file_that_changes_after_the_check_is_not_read(site: Settings, version: Path) -> None:
    manifest = check(site, version)
    damage(version / "model.onnx")

    with pytest.raises(ParleyError, match="changed after"):
        read_verified(version, "model.onnx", manifest)


# --- whose signature, over what ----------------------------------------------------------------------------------


def test_signature_of_another_model_is_refused(site: Settings, version: Path) -> None:
    shutil.copyfile(site.repo_dir / "barista_tts" / "1" / "model.sig", unsigned(version))

    with pytest.raises(ParleyError, match="altered|missing|not signed"):
        check(site, version)


def test_another_model_in_its_place_is_refused(site: Settings, version: Path) -> None:
    shutil.rmtree(version)
    shutil.copytree(site.repo_dir / "barista_tts" / "1", version)

    with pytest.raises(ParleyError, match="is barista_tts version 1, not barista_nlu version 1"):
        check(site, version)


def test_older_version_under_a_new_number_is_refused(site: Settings, version: Path) -> None:
    shutil.copytree(version, version.parent / "3")

    with pytest.raises(ParleyError, match="is barista_nlu version 1, not barista_nlu version 3"):
        check(site, version.parent / "3", number=3)


def test_other_content_signed_under_the_same_number_differs_from_the_pin(
    site: Settings, version: Path, tmp_path: Path
) -> None:
    other = publish_all(tmp_path / "other", scaler_bundle(tmp_path / "b7", 7))
    shutil.rmtree(version)
    shutil.copytree(other.repo_dir / "barista_nlu" / "1", version)
    keys = [public_key(site), public_key(other)]
    assert verify_version(version, keys, model="barista_nlu", number=1)["version"] == 1

    with pytest.raises(ParleyError, match="not the version this site accepted") as caught:
        verify_version(version, keys, model="barista_nlu", number=1, pin=read_pin(site, "barista_nlu", 1))

    assert caught.value.where == str(version / "manifest.json")


def test_unknown_key_is_refused_and_told_which_are_trusted(site: Settings, version: Path, tmp_path: Path) -> None:
    write_key(tmp_path / "stranger.pem", ec.SECP256R1())
    stranger = site.model_copy(update={"signing_key": tmp_path / "stranger.pem", "state_dir": tmp_path / "stranger"})
    (version / "model.sig").unlink()
    sign(version, stranger)

    with pytest.raises(ParleyError, match=r"does not trust \(it trusts signing.pub.pem\)"):
        check(site, version)
    with pytest.raises(ParleyError, match=r"it trusts none"):
        verify_version(version, [])


def test_trusted_key_that_did_not_sign_is_refused(site: Settings, version: Path, tmp_path: Path) -> None:
    """The signature names a trusted key, but another made it."""
    write_key(tmp_path / "stranger.pem", ec.SECP256R1())
    resign(version, tmp_path / "stranger.pem", lambda statement: None)

    with pytest.raises(ParleyError, match="not its key's"):
        check(site, version)


@pytest.mark.parametrize("content", [b"", b"no key", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_file_among_the_trusted_keys_that_is_none_is_passed_over_and_named_once(
    site: Settings, version: Path, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    bad = tmp_path / "bad.pem"
    bad.write_bytes(content)

    for _ in range(2):
        verify_version(version, [bad, *trusted_keys(site)])

    assert [record.getMessage() for record in caplog.records] == [
        f"{bad} is passed over: not a public key on P-256, P-384 or P-521 in PEM"
    ]
    with pytest.raises(ParleyError, match="does not trust"):
        verify_version(version, [bad])


def test_no_entry_of_the_folder_of_keys_spoils_the_others(
    site: Settings, version: Path, caplog: pytest.LogCaptureFixture
) -> None:
    keys = site.trusted_keys_dir
    keys.mkdir(exist_ok=True)
    (keys / "folder.pem").mkdir()
    (keys / "empty.pem").touch()
    (keys / "gone.pem").symlink_to("nowhere")
    write_key(keys / "other.pem", ec.SECP256K1())
    (keys / "private.pem").write_bytes((site.state_dir / "keys" / "signing.pem").read_bytes())

    assert Trust.of(site).verify(version, "barista_nlu", 1, pinned=True)["version"] == 1
    assert "private.pem is passed over: a private key" in caplog.text
    assert len(caplog.records) == 5


def test_a_folder_of_keys_that_may_not_be_read_holds_none_and_is_named(
    site: Settings, version: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listdir = os.listdir

    def closed(path: Path) -> list[str]:
        if Path(path) == site.trusted_keys_dir.absolute():
            raise PermissionError(13, "Permission denied", str(path))
        return listdir(path)

    site.trusted_keys_dir.mkdir(exist_ok=True)
    monkeypatch.setattr(os, "listdir", closed)

    assert Trust.of(site).key_files() == [site.state_dir / "keys" / "signing.pub.pem"]
    assert "Permission denied" in caplog.text


# --- signatures of the trusted key that say less than everything -------------------------------------------------

# --- the site's own keys and pins --------------------------------------------------------------------------------


def test_private_key_is_its_owners_alone_and_made_once(site: Settings) -> None:
    first = signing_key(site).read_bytes()

    assert signing_key(site).read_bytes() == first
    assert signing_key(site).stat().st_mode & 0o777 == 0o600


def test_another_private_key_is_refused_until_the_old_public_one_is_kept(site: Settings, tmp_path: Path) -> None:
    write_key(tmp_path / "new.pem", ec.SECP256R1())
    changed = site.model_copy(update={"signing_key": tmp_path / "new.pem"})

    with pytest.raises(ParleyError, match="not the one this site published with") as caught:
        signing_key(changed)

    assert str(public_key(site)) in caught.value.mend


def test_pin_is_never_replaced(site: Settings) -> None:
    with pytest.raises(ParleyError, match="accepted here with another manifest"):
        write_pin(site, "barista_nlu", 1, "0" * 64)


def test_pin_whose_writer_is_taken_for_dead_is_written_again(site: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mender sweeps half-written files; who pins without the model's lock may lose one to it."""
    replace, lost = os.replace, []

    def swept_first(source: str, target: Path) -> None:
        if not lost:
            lost.append(source)
            os.unlink(source)
        replace(source, target)

    monkeypatch.setattr(os, "replace", swept_first)

    write_pin(site, "barista_nlu", 7, "0" * 64)

    assert lost and read_pin(site, "barista_nlu", 7) == "0" * 64


def test_checking_imports_neither_the_library_nor_pydantic() -> None:
    """It is imported anew for each version that a server opens."""
    code = (
        "import sys, parley.signatures; print([m for m in ('model_signing', 'pydantic', 'numpy') if m in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
