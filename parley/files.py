"""Writing and hashing files so that a crash leaves the old content or the new, never half of it."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, BinaryIO


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(obj: Any) -> str:
    """JSON with sorted keys and no spaces: equal objects give equal text, so its digest names the object."""
    return json.dumps(obj, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def sha256_json(obj: Any) -> str:
    """Hex SHA-256 of :func:`canonical_json`."""
    return hashlib.sha256(canonical_json(obj).encode()).hexdigest()


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read; a pipe or device, which could keep a reader waiting for ever, is refused.

    Raises:
        OSError: it is no ordinary file, or cannot be read.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "no ordinary file", str(path))
    return os.fdopen(handle, "rb")


def fsync_path(path: Path) -> None:
    """Bring a file's content, or a folder's names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def fsync_dir(path: Path) -> None:
    """Make renames inside ``path`` durable."""
    fsync_path(path)


def write_atomic(path: Path, content: str | bytes, mode: int = 0o644) -> None:
    """Replace ``path`` in one rename, after the new content is on disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, mode)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    fsync_dir(path.parent)


def readable_json(obj: Any) -> str:
    """``obj`` as JSON for people and machines. A figure that is NaN or infinite is null: JSON has no word for it."""
    try:
        return json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_with_nulls(obj), indent=2, ensure_ascii=False, allow_nan=False)


def _with_nulls(obj: Any) -> Any:
    if isinstance(obj, dict):
        return {key: _with_nulls(value) for key, value in obj.items()}
    if isinstance(obj, list | tuple):
        return [_with_nulls(value) for value in obj]
    return None if isinstance(obj, float) and not math.isfinite(obj) else obj


def write_json(path: Path, obj: Any) -> None:
    """Write ``obj`` as readable JSON, atomically. For our own files: infinity comes back as it was."""
    write_atomic(path, json.dumps(obj, indent=2, ensure_ascii=False, sort_keys=True) + "\n")
