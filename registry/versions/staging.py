"""Building a version beside its place: copied, completed, signed, durable and read-only, before anybody can see it."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from parley.bundle import MANIFEST, SIGNATURE, Manifest
from parley.errors import ParleyError
from parley.files import fsync_path
from parley.folder import list_files
from parley.settings import Settings
from registry.versions.card import CARD, model_card
from registry.versions.model_config import config_files
from registry.versions.signing import sign

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Staged:
    """A complete version that is not visible yet."""

    directory: Path
    manifest: Manifest
    digest: str
    """SHA-256 of its manifest.json."""
    key_id: str


def _generated_names(manifest: Manifest) -> set[str]:
    """Files that publishing writes itself; a bundle that was taken from a published version has older ones."""
    return {*config_files(manifest), CARD}


def check_listing(bundle: Path, manifest: Manifest) -> None:
    """Check that a bundle holds the files its manifest lists and nothing else. Their content is checked when copied.

    Raises:
        ParleyError: names the file that is missing, added, or no plain file.
    """
    present = {name: path for name, path in list_files(bundle).items() if name not in (MANIFEST, SIGNATURE)}
    for name in manifest.files:
        if name not in present:
            raise ParleyError("file is missing", where=str(bundle / name), mend="export the run again")
    for name, path in present.items():
        if name not in manifest.files:
            raise ParleyError("file is not listed in the manifest", where=str(path), mend="remove it, or export again")


def stage(bundle: Path, manifest: Manifest, staging: Path, site: Settings) -> Staged:
    """Fill `staging` with version `manifest.version` and sign it: `copy_content`, then `complete`."""
    return complete(manifest, staging, copy_content(bundle, manifest, staging), site)


def copy_content(bundle: Path, manifest: Manifest, staging: Path) -> dict[str, str]:
    """Copy what the bundle brings. Each byte is read once: hashed while it is copied.

    Returns:
        Relative name to SHA-256 of the copies.

    Raises:
        ParleyError: a file is not what the bundle's manifest says.
        OSError: the disk refuses.
    """
    digests: dict[str, str] = {}
    for name in sorted(manifest.files.keys() - _generated_names(manifest)):
        digests[name] = _copy(bundle / name, staging / name)
        if digests[name] != manifest.files[name]:
            raise ParleyError(
                "file is altered: its SHA-256 is not the manifest's", where=str(bundle / name), mend="export again"
            )
    return digests


def complete(manifest: Manifest, staging: Path, digests: dict[str, str], site: Settings) -> Staged:
    """Write what publishing adds to the copies, and sign all of it.

    Raises:
        ParleyError: the key cannot be used.
        OSError: the disk refuses.
    """
    for name, text in config_files(manifest).items():
        digests[name] = _write(staging / name, text)
    digests[CARD] = _write(staging / CARD, model_card(manifest.model_copy(update={"files": dict(digests)})))
    whole = manifest.model_copy(update={"files": dict(sorted(digests.items()))})
    digest = _write(staging / MANIFEST, whole.model_dump_json(indent=2) + "\n")
    name = f"{manifest.model} {manifest.version}"
    key = sign(staging, site, name=name, digests={**whole.files, MANIFEST: digest})
    return Staged(staging, whole, digest, key)


def make_durable(directory: Path) -> None:
    """Make every file and folder of a staged version read-only and bring it to the disk."""
    files = list(list_files(directory).values())
    folders = {directory, *(path.parent for path in files)}
    for path in files:
        os.chmod(path, 0o444)
    for folder in folders:
        os.chmod(folder, 0o755)  # mkdtemp makes 0700; the server may run as another user
    for path in (*files, *folders):
        fsync_path(path)


def _copy(source: Path, target: Path) -> str:
    """Copy a plain file and return the SHA-256 of what was copied."""
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    # O_NOFOLLOW: the file was seen to be no link; it must not have become one.
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW), "rb", buffering=0) as read, target.open("wb") as write:
        while chunk := read.read(_CHUNK):
            digest.update(chunk)
            write.write(chunk)
    return digest.hexdigest()


def _write(target: Path, text: str) -> str:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode()
    target.write_bytes(content)
    return hashlib.sha256(content).hexdigest()
