"""Signing what this site publishes, and remembering what its catalogue accepted.

    key_id = sign(staged_directory, settings())
    write_pin(settings(), "barista_nlu", 3, digest_of_manifest)

Signatures are made by the `model_signing` library (OpenSSF Model Signing) with the site's elliptic curve key, offline.
Loaders check them with `parley.signatures`. The private key is `Settings.signing_key`, or is made at the first need in
the site's state folder, readable by its owner alone; the public one lies beside it and may be given to other sites.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from parley.errors import ParleyError
from parley.files import fsync_dir, sha256_file, write_atomic
from parley.folder import SIGNATURE, list_files
from parley.names import is_sha256
from parley.serving.trust import Trust
from parley.settings import Settings
from parley.signatures import key_id
from parley.typed import is_number
from registry.layout import file_lock


def sign(directory: Path, site: Settings, *, name: str = "", digests: Mapping[str, str] | None = None) -> str:
    """Sign every file of `directory` and write `model.sig` beside them. Nothing is ignored, and no link is followed.

    Args:
        directory: a staged version without a signature.
        site: whose key signs; it is made where there is none.
        name: what the signature calls it; default the folder's name.
        digests: relative name to SHA-256 of every file, where the caller hashed them already.

    Returns:
        The key's id.

    Raises:
        ParleyError: the key cannot be used.
    """
    # Here, because importing the library takes more than half a second and most commands sign nothing.
    from model_signing import manifest
    from model_signing._hashing.hashing import Digest
    from model_signing._signing import sign_ec_key, signing

    private = signing_key(site)
    if digests is None:
        digests = {file: sha256_file(path) for file, path in list_files(directory).items() if file != SIGNATURE}
    items = [
        manifest.FileManifestItem(path=PurePosixPath(file), digest=Digest("sha256", bytes.fromhex(digest)))
        for file, digest in digests.items()
    ]
    form = manifest.SerializationType.from_args({"method": "files", "hash_type": "sha256", "allow_symlinks": False})
    listing = manifest.Manifest(name or directory.name, items, form)
    sign_ec_key.Signer(private).sign(signing.Payload(listing)).write(directory / SIGNATURE)
    return key_id(public_key(site).read_bytes())


def signing_key(site: Settings) -> Path:
    """The private key of this site, made where there is none.

    Raises:
        ParleyError: `PARLEY_SIGNING_KEY` names no elliptic curve key, or another key than this site published with.
    """
    private = site.signing_key or _folder(site) / "signing.pem"
    with file_lock(_folder(site) / ".lock"):
        if site.signing_key is None and not private.is_file():
            _make_key(private)
        _write_public(private, public_key(site))
    return private


def public_key(site: Settings) -> Path:
    """Where this site's own public key lies, once it has published."""
    return _folder(site) / "signing.pub.pem"


def trusted_keys(site: Settings) -> list[Path]:
    """Public keys whose signatures this site accepts: those its operator put there, and its own."""
    return Trust.of(site).key_files()


def write_pin(site: Settings, model: str, number: int, digest: str) -> None:
    """Remember the SHA-256 of the manifest that the catalogue accepted for this version. Loaders compare.

    Raises:
        ParleyError: another one is remembered, which is never replaced.
    """
    while read_pin(site, model, number) != digest:
        # Without the model's lock a mender may take the half-written pin for a remnant and sweep it away: once more.
        with contextlib.suppress(FileNotFoundError), staged_pin(site, model, number, digest) as place:
            place()


@contextlib.contextmanager
def staged_pin(site: Settings, model: str, number: int, digest: str) -> Iterator[Callable[[], None]]:
    """Write a pin beside its place, so that a full disk is met before the version is accepted, not after.

    Yields:
        What puts it into its place, with a rename.

    Raises:
        ParleyError: another digest is remembered for this version, which is never replaced.
    """
    path = pins(site) / model / str(number)
    before = read_pin(site, model, number)
    if before not in (None, digest) or not is_sha256(digest):
        raise ParleyError(
            f"version {number} was accepted here with another manifest ({str(before)[:12]}, this is {digest[:12]})",
            where=str(path),
            mend="publish the bundle as a new version",
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, staged = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(digest + "\n")
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())

        def place() -> None:
            os.replace(staged, path)
            fsync_dir(path.parent)

        yield place
    finally:
        Path(staged).unlink(missing_ok=True)


def remove_pin(site: Settings, model: str, number: int) -> None:
    """Forget what was accepted for a version, so that nobody loads it any more."""
    (pins(site) / model / str(number)).unlink(missing_ok=True)


def read_pin(site: Settings, model: str, number: int) -> str | None:
    """The digest that was accepted here for this version; None when there was none."""
    return Trust.of(site).pin(model, number)


def pinned_numbers(site: Settings, model: str) -> list[int]:
    """Every version number of a model that was ever accepted here."""
    folder = pins(site) / model
    return sorted(int(name) for name in os.listdir(folder) if is_number(name)) if folder.is_dir() else []


def pins(site: Settings) -> Path:
    """The folder of the pins."""
    return Path(site.state_dir) / "pins"


def _folder(site: Settings) -> Path:
    return Path(site.state_dir) / "keys"


def _make_key(path: Path) -> None:
    """A fresh P-256 key, complete under its name or not there."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    for remnant in path.parent.glob(f".{path.name}.*"):  # a killed maker's, which signed nothing
        remnant.unlink(missing_ok=True)
    write_atomic(path, pem, mode=0o600)


def _write_public(private: Path, public: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key = serialization.load_pem_private_key(private.read_bytes(), None)
    except (OSError, ValueError, TypeError) as error:
        detail = error.strerror if isinstance(error, OSError) else "not an unencrypted private key in PEM"
        raise ParleyError(
            str(detail), where=str(private), mend="openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
        ) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
        raise ParleyError("not a key on P-256, P-384 or P-521", where=str(private), mend="make one with openssl")
    pem = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    if not public.is_file():
        write_atomic(public, pem)
    elif public.read_bytes() != pem:
        raise ParleyError(
            "the signing key is not the one this site published with",
            where=str(private),
            mend=f"move {public} into the folder of trusted keys, so that what it signed stays trusted",
        )
