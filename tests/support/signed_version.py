"""A published version, its signature, and what an attacker makes of them."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import model_signing
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from parley.settings import Settings
from parley.signatures import PAYLOAD_TYPE, verify_version
from registry.versions.signing import trusted_keys


def check(site: Settings, version: Path, **asked: Any) -> dict[str, Any]:
    return verify_version(version, trusted_keys(site), **{"model": "barista_nlu", "number": 1} | asked)


def library_verifies(version: Path, key: Path, tmp_path: Path) -> None:
    """What the library says to the same file. It wants the signature outside of what it checks."""
    signature, copy = tmp_path / "apart.sig", tmp_path / "apart" / version.name
    shutil.copytree(version, copy)
    shutil.move(copy / "model.sig", signature)
    whole = model_signing.hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False)
    config = model_signing.verifying.Config().set_hashing_config(whole)
    config.use_elliptic_key_verifier(public_key=key).verify(copy, signature)


def resign(version: Path, key: Path, change: Callable[[dict[str, Any]], None], **envelope: Any) -> None:
    """Sign another statement with a key: what an attacker who holds a trusted key, or a careless publisher, may do."""
    path = version / "model.sig"
    path.chmod(0o644)
    bundle = json.loads(path.read_text())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    change(statement)
    payload = json.dumps(statement).encode()
    pae = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    signature = private.sign(envelope.pop("signed", pae), ec.ECDSA(hashes.SHA256()))
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
    bundle["dsseEnvelope"]["signatures"] = [{"sig": base64.b64encode(signature).decode(), "keyid": ""}]
    path.write_text(json.dumps(bundle))


def list_as_on_disk(version: Path) -> Callable[[dict[str, Any]], None]:
    """Make the statement list the files as they are now."""

    def change(statement: dict[str, Any]) -> None:
        files = sorted(p for p in version.rglob("*") if p.is_file() and p.name != "model.sig")
        digests = {p.relative_to(version).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
        statement["predicate"]["resources"] = [
            {"name": name, "algorithm": "sha256", "digest": digest} for name, digest in digests.items()
        ]
        root = hashlib.sha256(b"".join(bytes.fromhex(d) for d in digests.values())).hexdigest()
        statement["subject"][0]["digest"]["sha256"] = root

    return change


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path.chmod(0o644)
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def add(version: Path, name: str, content: bytes = b"x") -> Path:
    path = version / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path
