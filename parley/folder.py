"""What lies in a version's folder. Standard library only: every loader imports it."""

from __future__ import annotations

import os
from pathlib import Path

from parley.errors import ParleyError

MANIFEST = "manifest.json"
SIGNATURE = "model.sig"
UTTERANCES = "utterances.tsv"


def list_files(directory: Path) -> dict[str, Path]:
    """Every file below ``directory`` by its relative name, sorted, whatever it is called.

    Raises:
        ParleyError: names what is not a plain file of its own: a symlink, a hard link, a device, an empty folder.
        OSError: a folder cannot be read.
    """
    found: dict[str, Path] = {}
    folders = [directory]
    while folders:
        folder = folders.pop()
        with os.scandir(folder) as entries:
            listed = list(entries)
        if not listed and folder != directory:
            raise ParleyError("an empty folder", where=str(folder), mend="remove it")
        for entry in listed:
            path = folder / entry.name
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif not entry.is_file(follow_symlinks=False) or entry.stat(follow_symlinks=False).st_nlink > 1:
                raise ParleyError(_kind(path), where=str(path), mend="put a copy of the file in its place")
            else:
                found[path.relative_to(directory).as_posix()] = path
    return dict(sorted(found.items()))


def _kind(path: Path) -> str:
    kind = "a symlink" if path.is_symlink() else "a hard link" if path.is_file() else "neither file nor folder"
    return f"{kind}, not a plain file of its own"
