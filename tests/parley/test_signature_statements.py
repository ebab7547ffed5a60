"""Signatures of a trusted key that say less than everything, or are no signatures: refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving_models import publish_all, scaler_bundle
from signed_version import add, check, edit, library_verifies, list_as_on_disk, resign

from parley.errors import ParleyError
from parley.settings import Settings
from parley.signatures import PAYLOAD_TYPE
from registry.versions.signing import public_key, signing_key


@pytest.fixture
def site(tmp_path: Path) -> Settings:
    """`barista_nlu` 1."""
    return publish_all(tmp_path, scaler_bundle(tmp_path / "b2", 2))


@pytest.fixture
def version(site: Settings) -> Path:
    return site.repo_dir / "barista_nlu" / "1"


def ignoring(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"]["ignore_paths"] = ["notes.txt"]


def ignoring_nothing(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"]["ignore_paths"] = []


def with_symlinks(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"]["allow_symlinks"] = True


def in_shards(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"] |= {"method": "shards", "shard_size": 1000}


def otherwise_hashed(statement: dict[str, Any]) -> None:
    statement["predicate"]["serialization"]["hash_type"] = "blake2"


def before_1_0(statement: dict[str, Any]) -> None:
    """The encoding of the library before its version 1.0: files as subjects."""
    files = {entry["name"]: entry["digest"] for entry in statement["predicate"]["resources"]}
    statement["subject"] = [{"name": name, "digest": {"sha256": digest}} for name, digest in files.items()]
    statement["predicateType"] = "https://model_signing/Digests/v0.1"


def listed_twice(statement: dict[str, Any]) -> None:
    resources = statement["predicate"]["resources"]
    resources.append(resources[0])


def two_subjects(statement: dict[str, Any]) -> None:
    statement["subject"] *= 2


def other_root(statement: dict[str, Any]) -> None:
    statement["subject"][0]["digest"]["sha256"] = "0" * 64


def other_statement(statement: dict[str, Any]) -> None:
    statement["_type"] = "https://in-toto.io/Statement/v0.1"


def weakly_hashed(statement: dict[str, Any]) -> None:
    statement["predicate"]["resources"][0]["algorithm"] = "md5"


def without_manifest(statement: dict[str, Any]) -> None:
    resources = statement["predicate"]["resources"]
    statement["predicate"]["resources"] = [entry for entry in resources if entry["name"] != "manifest.json"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (ignoring, "ignored paths"),
        (ignoring_nothing, "ignored paths"),
        (with_symlinks, "symlinks"),
        (in_shards, "hashed otherwise"),
        (otherwise_hashed, "hashed otherwise"),
        (before_1_0, "v1.0"),
        (listed_twice, "twice"),
        (two_subjects, "one subject"),
        (other_root, "digest of its list"),
        (other_statement, "v1.0"),
        (weakly_hashed, "SHA-256"),
        (without_manifest, r"manifest\.json"),
        (lambda statement: statement["predicate"].update(extra=1), "other parts"),
        (lambda statement: statement["predicate"].update(resources=["model.onnx"]), "no file"),
    ],
)
def test_statement_of_a_trusted_key_in_any_other_form_is_refused(
    site: Settings, version: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    resign(version, signing_key(site), change)

    with pytest.raises(ParleyError, match=reason):
        check(site, version)


def test_encoding_from_before_1_0_is_refused_though_the_library_takes_it(
    site: Settings, version: Path, tmp_path: Path
) -> None:
    payload = base64.b64decode(json.loads((version / "model.sig").read_text())["dsseEnvelope"]["payload"])
    statement = json.dumps(json.loads(payload)).encode()
    compat = f"DSSEV1 {len(PAYLOAD_TYPE)} {PAYLOAD_TYPE} {len(statement)} {statement!r}".encode()
    resign(version, signing_key(site), lambda statement: None, signed=compat)
    library_verifies(version, public_key(site), tmp_path)

    with pytest.raises(ParleyError, match="not its key's"):
        check(site, version)


def test_file_that_is_signed_and_not_in_the_manifest_is_refused(site: Settings, version: Path) -> None:
    add(version, "notes.txt")
    resign(version, signing_key(site), list_as_on_disk(version))

    with pytest.raises(ParleyError, match=r"disagree about notes\.txt"):
        check(site, version)


# --- broken signature files --------------------------------------------------------------------------------------


def second_signature(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] *= 2


def other_payload_type(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payloadType"] = "text/plain"


def unknown_media(bundle: dict[str, Any]) -> None:
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2"


def no_hint(bundle: dict[str, Any]) -> None:
    del bundle["verificationMaterial"]["publicKey"]["hint"]


def not_base64(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["payload"] = bundle["dsseEnvelope"]["payload"][:-1] + "!"


def signature_not_base64(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"][0]["sig"] = "*"


def no_signature(bundle: dict[str, Any]) -> None:
    bundle["dsseEnvelope"]["signatures"] = []


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (second_signature, "exactly one signature"),
        (no_signature, "exactly one signature"),
        (other_payload_type, "text/plain"),
        (unknown_media, "v0.3"),
        (no_hint, "name its key"),
        (not_base64, "base64"),
        (signature_not_base64, "base64"),
        (lambda bundle: bundle.pop("dsseEnvelope"), "no DSSE envelope"),
    ],
)
def test_broken_envelope_is_refused(
    site: Settings, version: Path, change: Callable[[dict[str, Any]], None], reason: str
) -> None:
    edit(version / "model.sig", change)

    with pytest.raises(ParleyError, match=reason) as caught:
        check(site, version)

    assert caught.value.where == str(version / "model.sig")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 200_000, b'{"mediaType": 1, "mediaType": 2}'])
def test_signature_that_is_no_json_object_is_refused(site: Settings, version: Path, content: bytes) -> None:
    (version / "model.sig").chmod(0o644)
    (version / "model.sig").write_bytes(content)

    with pytest.raises(ParleyError, match="JSON") as caught:
        check(site, version)

    assert caught.value.where == str(version / "model.sig")
