"""A document on its way between sites, signed: the store that carries it is not trusted.

    text = seal(document_bytes, site)                      # a DSSE envelope, JSON
    document_bytes = unseal(text, trusted_keys(site), where)

The envelope is DSSE 1.0 (https://github.com/secure-systems-lab/dsse), signed with the key that signs versions, checked
against the same trusted keys.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from parley.errors import ParleyError
from parley.files import canonical_json
from parley.settings import Settings
from parley.signatures import HASHES, key_id, load_public_key, pre_authentication
from parley.text_files import parse_json
from registry.versions.signing import public_key, signing_key

RELEASE_TYPE = "application/vnd.parley.release+json"
_MEND = "do not use it; its site may push it again once it is removed there"


def seal(content: bytes, site: Settings) -> str:
    """The signed form of a document.

    Raises:
        ParleyError: the site's key cannot be used.
    """
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    private: Any = serialization.load_pem_private_key(signing_key(site).read_bytes(), password=None)
    digest = getattr(hashes, HASHES[private.curve.name])()
    signed = private.sign(pre_authentication(RELEASE_TYPE, content), ec.ECDSA(digest))
    signature = {"keyid": key_id(public_key(site).read_bytes()), "sig": base64.b64encode(signed).decode()}
    envelope = {"payload": base64.b64encode(content).decode(), "payloadType": RELEASE_TYPE, "signatures": [signature]}
    return canonical_json(envelope) + "\n"


def unseal(text: bytes, trusted: Iterable[Path], where: str) -> bytes:
    """The document of an envelope that a trusted key signed.

    Args:
        where: how to name it.

    Raises:
        ParleyError: it is no envelope, or nobody this site trusts signed it.
    """
    try:
        envelope = parse_json(text.decode("utf-8"), where)
    except UnicodeDecodeError:
        envelope = None
    if not isinstance(envelope, dict) or envelope.get("payloadType") != RELEASE_TYPE:
        _refuse("nobody signed it", where)
    content, signatures = _bytes(envelope.get("payload"), where), envelope.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1 or not isinstance(signatures[0], dict):
        _refuse("expected exactly one signature", where)
    _check(content, signatures[0], trusted, where)
    return content


def _check(content: bytes, signature: dict[str, Any], trusted: Iterable[Path], where: str) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    keys = {key_id(key.public_bytes(*form)): key for key in map(load_public_key, trusted)}
    named = signature.get("keyid")
    if named not in keys:
        _refuse(f"signed with key {str(named)[:12]}, which this site does not trust", where)
    key = keys[named]
    try:
        digest = getattr(hashes, HASHES[key.curve.name])()
        key.verify(_bytes(signature.get("sig"), where), pre_authentication(RELEASE_TYPE, content), ec.ECDSA(digest))
    except InvalidSignature:
        _refuse("the signature is not its key's: it was changed after it was signed", where)


def _bytes(text: object, where: str) -> bytes:
    try:
        return base64.b64decode(text if isinstance(text, str) else "!", validate=True)
    except (binascii.Error, ValueError):
        _refuse("not base64 where an envelope has it", where)


def _refuse(what: str, where: str) -> NoReturn:
    raise ParleyError(what, where=where, mend=_MEND)
