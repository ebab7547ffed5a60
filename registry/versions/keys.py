"""The public keys that a site trusts, by their ids."""

from __future__ import annotations

from pathlib import Path

from parley.errors import ParleyError
from parley.settings import Settings
from parley.signatures import key_id, load_public_key, pass_over
from registry.versions.signing import public_key, trusted_keys


def key_names(site: Settings) -> dict[str, str]:
    """Id of every key this site trusts, and where it lies; its own is called so."""
    own = public_key(site).absolute()
    found = {}
    for path in trusted_keys(site):
        try:
            key = _trusted_id(path)
        except (ParleyError, OSError) as error:
            pass_over(path, error)
            continue
        found[key] = "this site's own key" if path.absolute() == own else path.name
    return found


def _trusted_id(path: Path) -> str:
    """The id of a public key in a file.

    Raises:
        ParleyError: it is no such key.
    """
    from cryptography.hazmat.primitives import serialization

    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key_id(load_public_key(path).public_bytes(encoding, form))
