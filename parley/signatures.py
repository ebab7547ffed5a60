"""Whether a published version is what somebody this site trusts has signed: checked by every loader, before it loads.

    manifest = verify_version(Path("triton_repo/barista_nlu/1"), [Path("keys/site.pem")], model="barista_nlu", number=1)

`model.sig` is an OpenSSF model signature (OMS 1.0): a Sigstore bundle v0.3 whose DSSE envelope holds an in-toto
statement with the SHA-256 of every file, signed with an elliptic curve key. The registry makes it with the
`model_signing` library; this module verifies it with the standard library and `cryptography` alone, because it is
imported anew for each version that Triton's backend opens.

It is stricter than the library: nothing may be ignored, no link may stand for a file, no file may be unsigned, and the
encodings that came before OMS 1.0 are refused.

Sources: https://github.com/sigstore/model-transparency (signature v1.0),
https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md, https://in-toto.io/Statement/v1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from parley.errors import ParleyError
from parley.folder import MANIFEST, SIGNATURE, list_files
from parley.names import is_sha256

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
_SERIALISATION = {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
_LARGEST_SIGNATURE = 4 << 20
_LARGEST_MANIFEST = 16 << 20
_log = logging.getLogger(__name__)
_passed_over: set[Path] = set()
_FORGED = "do not serve it; publish or import the version again from a bundle you trust"


class Altered(ParleyError):
    """Proof, made with the right key, that content is not what was signed. Nothing less may condemn a version."""


def verify_version(
    directory: Path,
    trusted: Iterable[Path],
    *,
    model: str | None = None,
    number: int | None = None,
    pin: str | None = None,
) -> dict[str, Any]:
    """Check signature, files, identity and pin of a published version.

    Args:
        directory: the version's folder, or a link to it; its files are read, nothing is written.
        trusted: public keys (PEM, P-256, P-384 or P-521). No key, no trust.
        model: what it must be called, where the caller knows.
        number: the version it must be.
        pin: SHA-256 of the `manifest.json` that this site accepted under that number. A version that was signed by the
            right key but is not the one accepted, an older one put back or another site's, differs from it.

    Returns:
        The manifest.

    Raises:
        Altered: a file, or what the signature signs, was changed.
        ParleyError: names the file that is missing, added, a link, or not signed, or says what is wrong with the
            signature; it may be that this site cannot tell.
        OSError: a file cannot be read; this says nothing about the version.
    """
    directory = directory.resolve()
    if not directory.is_dir():
        raise ParleyError("there is no such version", where=str(directory), mend="publish it, or correct the release")
    present = list_files(directory)
    if SIGNATURE not in present:
        _refuse("not signed", directory / SIGNATURE, "publish the version again: publishing signs it")
    resources = signed_files(present[SIGNATURE], trusted)
    _compare(directory, {name: path for name, path in present.items() if name != SIGNATURE}, resources)
    manifest = _manifest(directory, resources)
    _check_identity(directory, manifest, model, number)
    if pin is not None and resources[MANIFEST] != pin:
        _refuse(
            "signed, but not the version this site accepted under its number (an older one put back, or another's)",
            directory / MANIFEST,
            _FORGED,
        )
    return manifest


def signed_files(signature: Path, trusted: Iterable[Path]) -> dict[str, str]:
    """Check the signature itself and return what it signs: relative name to SHA-256.

    Raises:
        ParleyError: it is none, is of a form that is not accepted, or no trusted key made it.
    """
    envelope, hint = _envelope(signature)
    payload = _base64(envelope.get("payload"), signature)
    _check_signature(payload, envelope["signatures"][0], _key(hint, trusted, signature), signature)
    return _resources(_json(payload, signature), signature)


def signed_by(signature: Path) -> str:
    """The id of the key that a signature names; `verify_version` proves that it is that key's.

    Raises:
        ParleyError: it is no signature.
    """
    return _envelope(signature)[1]


def read_verified(directory: Path, name: str, manifest: dict[str, Any]) -> bytes:
    """The content of one file of a verified version, checked again as it is read.

    A loader that opens a path after the check may meet another file there; one that takes these bytes cannot.

    Raises:
        ParleyError: the file is not listed, or changed since it was verified.
    """
    path = directory / name
    expected = manifest["files"].get(name)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != expected:
        _refuse("changed after it was verified", path, _FORGED)
    return content


def copy_verified(directory: Path, manifest: dict[str, Any], into: Path) -> None:
    """Write what a verified version holds beside its graphs into a folder of the caller's own, and its manifest.

    What is read there afterwards is what was verified, whatever becomes of the version's folder meanwhile.

    Raises:
        ParleyError: a file changed since it was verified.
    """
    for name in manifest["files"]:
        if not name.endswith((".onnx", ".plan")):
            target = into / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(read_verified(directory, name, manifest))
    (into / MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")


def key_id(public_pem: bytes) -> str:
    """SHA-256 of a public key's PEM text, as signatures name their key."""
    return hashlib.sha256(public_pem).hexdigest()


def _envelope(path: Path) -> tuple[dict[str, Any], str]:
    """The DSSE envelope of a Sigstore bundle, and the name of its key."""
    if path.stat().st_size > _LARGEST_SIGNATURE:
        _refuse(f"larger than {_LARGEST_SIGNATURE >> 20} MB", path, _FORGED)
    bundle = _json(path.read_bytes(), path)
    if bundle.get("mediaType") != MEDIA_TYPE:
        _refuse(f"no Sigstore bundle v0.3 (mediaType {bundle.get('mediaType')!r})", path, _FORGED)
    envelope, material = bundle.get("dsseEnvelope"), bundle.get("verificationMaterial")
    if not isinstance(envelope, dict) or not isinstance(material, dict):
        _refuse("no DSSE envelope with verification material", path, _FORGED)
    if envelope.get("payloadType") != PAYLOAD_TYPE:
        _refuse(f"signs a payload of type {envelope.get('payloadType')!r}, not {PAYLOAD_TYPE}", path, _FORGED)
    signatures = envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        _refuse("expected exactly one signature", path, _FORGED)
    public = material.get("publicKey")
    hint = public.get("hint") if isinstance(public, dict) else None
    if not isinstance(hint, str) or not is_sha256(hint):
        _refuse("does not name its key", path, _FORGED)
    return envelope, hint


def _key(hint: str, trusted: Iterable[Path], signature: Path) -> Any:
    """The trusted key a signature names."""
    from cryptography.hazmat.primitives import serialization

    known = []
    for path in trusted:
        try:
            key = load_public_key(path)
        except (ParleyError, OSError) as error:
            pass_over(path, error)
            continue
        pem = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        if key_id(pem) == hint:
            return key
        known.append(path.name)
    _refuse(
        f"signed with key {hint[:12]}, which this site does not trust (it trusts {', '.join(known) or 'none'})",
        signature,
        "if you trust its publisher, put their public key into the folder of trusted keys",
    )


def pass_over(path: Path, error: Exception) -> None:
    """Say, once, that something among the trusted keys is no key: one bad entry spoils none of the others."""
    if path not in _passed_over:
        _passed_over.add(path)
        _log.warning("%s is passed over: %s", path, error.what if isinstance(error, ParleyError) else error)


def load_public_key(path: Path) -> Any:
    """Read a trusted key.

    Raises:
        ParleyError: it is no elliptic curve public key in PEM.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        pem = path.read_bytes()
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
        if b"PRIVATE KEY-----" in pem:
            _refuse("a private key", path, "take it away from here: these are the keys that others may see")
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in HASHES:
        _refuse("not a public key on P-256, P-384 or P-521 in PEM", path, "remove it from the trusted keys, or mend it")
    return key


HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
"""Curve to hash, as Sigstore pairs them."""


def pre_authentication(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE signature is made of. `model_signing` also takes a wrong form, of before 1.0; we do not."""
    return b"DSSEv1 %d %s %d %s" % (len(payload_type), payload_type.encode(), len(payload), payload)


def _check_signature(payload: bytes, signature: dict[str, Any], key: Any, path: Path) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    signed = pre_authentication(PAYLOAD_TYPE, payload)
    try:
        key.verify(_base64(signature.get("sig"), path), signed, ec.ECDSA(getattr(hashes, HASHES[key.curve.name])()))
    except InvalidSignature:
        raise Altered(
            "the signature is not its key's: what it signs was changed", where=str(path), mend=_FORGED
        ) from None


def _resources(statement: dict[str, Any], path: Path) -> dict[str, str]:
    """The files a statement lists, when it is of the one form that is accepted."""
    if statement.get("_type") != STATEMENT_TYPE or statement.get("predicateType") != PREDICATE_TYPE:
        _refuse("signs no model signature v1.0 statement", path, _FORGED)
    predicate = statement.get("predicate")
    if not isinstance(predicate, dict) or predicate.keys() != {"serialization", "resources"}:
        _refuse("signs a predicate with other parts than serialization and resources", path, _FORGED)
    serialization = predicate["serialization"]
    if isinstance(serialization, dict) and "ignore_paths" in serialization:
        _refuse(f"records ignored paths {serialization['ignore_paths']!r}", path, _FORGED)
    if isinstance(serialization, dict) and serialization.get("allow_symlinks") is not False:
        _refuse("allows symlinks", path, _FORGED)
    if serialization != _SERIALISATION:
        _refuse(f"hashed otherwise than file by file with SHA-256: {serialization!r}", path, _FORGED)
    files = _listed(predicate["resources"], path)
    root = hashlib.sha256(b"".join(bytes.fromhex(digest) for digest in files.values())).hexdigest()
    subjects = statement.get("subject")
    if not isinstance(subjects, list) or len(subjects) != 1 or not isinstance(subjects[0], dict):
        _refuse("expected exactly one subject", path, _FORGED)
    if subjects[0].get("digest") != {"sha256": root}:
        _refuse("its subject is not the digest of its list of files", path, _FORGED)
    return files


def _listed(resources: Any, path: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    for entry in resources if isinstance(resources, list) else []:
        if not isinstance(entry, dict) or entry.keys() != {"name", "algorithm", "digest"}:
            _refuse("lists something that is no file with a digest", path, _FORGED)
        name, digest = entry["name"], entry["digest"]
        if entry["algorithm"] != "sha256" or not isinstance(digest, str) or not is_sha256(digest):
            _refuse(f"lists {name!r} without a SHA-256", path, _FORGED)
        if not isinstance(name, str) or name in files:
            _refuse(f"lists {name!r} twice or not by name", path, _FORGED)
        files[name] = digest
    if MANIFEST not in files:
        _refuse(f"does not sign {MANIFEST}", path, _FORGED)
    return files


def _compare(directory: Path, present: dict[str, Path], signed: dict[str, str]) -> None:
    """The files on disk must be those signed: no more, no fewer, no other."""
    for name in signed:
        if name not in present:
            _refuse("file is missing", directory / name, "restore it from git, or publish the version again")
    for name, path in present.items():
        if name not in signed:
            _refuse("file is not signed", path, "remove it")
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != signed[name]:
            raise Altered(
                "file is altered: its SHA-256 is not the signed one",
                where=str(path),
                mend="restore it from git, or publish the version again",
            )


def _manifest(directory: Path, signed: dict[str, str]) -> dict[str, Any]:
    """The manifest, whose own list must be the signed one."""
    path = directory / MANIFEST
    if path.stat().st_size > _LARGEST_MANIFEST:
        _refuse(f"larger than {_LARGEST_MANIFEST >> 20} MB", path, _FORGED)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != signed[MANIFEST]:
        _refuse("file is altered while it is checked", path, _FORGED)
    manifest = _json(content, path)
    expected = {name: digest for name, digest in signed.items() if name != MANIFEST}
    listed = manifest.get("files")
    if listed != expected:
        theirs = listed if isinstance(listed, dict) else {}
        odd = sorted(name for name in expected.keys() | theirs.keys() if expected.get(name) != theirs.get(name))
        _refuse(f"the manifest and the signature disagree about {odd[0] if odd else 'the files'}", path, _FORGED)
    return manifest


def _check_identity(directory: Path, manifest: dict[str, Any], model: str | None, number: int | None) -> None:
    found = (manifest.get("model"), manifest.get("version"))
    expected = (found[0] if model is None else model, found[1] if number is None else number)
    if found != expected or not isinstance(found[0], str) or type(found[1]) is not int:
        _refuse(
            f"is {found[0]} version {found[1]}, not {expected[0]} version {expected[1]}",
            directory / MANIFEST,
            "do not copy versions by hand: publish the bundle",
        )


def _json(content: bytes, path: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):  # two readers could take different ones
            raise ValueError("a key twice")
        return found

    try:
        loaded = json.loads(content.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        _refuse(f"not JSON ({' '.join(str(error).split())[:80]})", path, _FORGED)
    if not isinstance(loaded, dict):
        _refuse("not a JSON object", path, _FORGED)
    return loaded


def _base64(text: Any, path: Path) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "!", validate=True)
    except (binascii.Error, ValueError):
        _refuse("not base64 where the signature has it", path, _FORGED)


def _refuse(what: str, path: Path, mend: str) -> NoReturn:
    raise ParleyError(what, where=str(path), mend=mend)
