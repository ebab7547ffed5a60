"""The repository that sites share, as a store of files that are written once: a folder, or an object store.

    store = SharedStore.at(settings())
    store.put("barista_stt/3.tar", Path("packed.tar"))     # FileExistsError when somebody was faster
    store.fetch("barista_stt/3.tar", Path("here.tar"))

The address is any of fsspec's. In a folder a file appears by one hard link, in S3 by one conditional write
(`If-None-Match: *`): of two who write one name, one wins, and nobody ever sees half a file. Other stores are as good as
fsspec's `mode="create"` is there. Credentials come from the environment only, `AWS_ENDPOINT_URL` names another server.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from parley import names
from parley.errors import ParleyError
from parley.files import fsync_dir
from parley.settings import Settings

_CHUNK = 1 << 20
_PART = ".part-"
_PART_STAYS_S = 86400.0
_VERSION = re.compile(rf"({names.MODEL})/([1-9][0-9]{{0,8}})\.tar")
_RELEASE = re.compile(rf"releases/({names.BOT})/([1-9][0-9]{{0,8}})\.json")


class SharedStore:
    """Files under one address.

    Args:
        address: an fsspec address, or a path.

    Raises:
        ParleyError: it is none, holds a password, or what opens it is not installed.
    """

    def __init__(self, address: str) -> None:
        if ":" in urlsplit(address).netloc.rpartition("@")[0]:
            raise ParleyError(
                "an address with a password in it",
                where="PARLEY_SHARED_REPO",
                mend="give credentials by the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_PROFILE)",
            )
        self.where = address
        self._files, self._root = _open(address, self.where)
        self._local = "file" in _protocols(self._files)

    @classmethod
    def at(cls, site: Settings) -> SharedStore:
        """The shared repository of a site.

        Raises:
            ParleyError: it has none, the address is none, or what opens it is not installed.
        """
        if not site.shared_repo:
            raise ParleyError(
                "this site shares no repository",
                where="PARLEY_SHARED_REPO",
                mend="set it to a folder or an address such as s3://bucket/folder",
            )
        return cls(site.shared_repo)

    def versions(self, model: str | None = None) -> list[tuple[str, int]]:
        """Every (model, number) that lies there, sorted.

        Raises:
            ParleyError: the store does not answer.
        """
        found = [(name[1], int(name[2])) for name in self._named(model or "", _VERSION)]
        return sorted(ref for ref in found if model in (None, ref[0]))

    def releases(self) -> list[tuple[str, int]]:
        """Every (bot, number) of a release document that lies there, sorted.

        Raises:
            ParleyError: the store does not answer.
        """
        return sorted((name[1], int(name[2])) for name in self._named("releases", _RELEASE))

    def put(self, name: str, source: Path) -> None:
        """Write a file that must not exist yet: it appears whole or not at all.

        Raises:
            FileExistsError: it exists, from before or since a moment ago; it was not touched.
            ParleyError: the store does not answer or refuses.
        """
        path = self._path(name)
        with self._answering(name):
            if self._local:
                _link(source, Path(path))
            else:
                self._files.put_file(str(source), path, mode="create")

    def fetch(self, name: str, target: Path, most: int) -> None:
        """Copy a file of at most `most` bytes to `target`.

        Raises:
            ParleyError: there is none, it is larger, or the store does not answer.
        """
        path = self._path(name)
        with self._answering(name), self._files.open(path, "rb") as read, target.open("wb") as out:
            left = most
            while chunk := read.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise ParleyError(f"larger than {most} bytes", where=f"{self.where}/{name}")
                out.write(chunk)

    def _path(self, name: str) -> str:
        """Where a file lies; no name leads out of the address."""
        if not (_VERSION.fullmatch(name) or _RELEASE.fullmatch(name)):
            raise ParleyError(f"{name!r} is no name of a version or release", where=self.where, mend="correct it")
        return f"{self._root}/{name}"

    def _named(self, folder: str, pattern: re.Pattern[str]) -> list[re.Match[str]]:
        """Names below a folder that are of the form; whatever else lies there is not ours."""
        top = f"{self._root}/{folder}".rstrip("/")
        with self._answering(folder):
            paths = self._files.find(top) if self._files.exists(top) else []
        names = (str(path).removeprefix(f"{self._root}/") for path in paths)
        return [match for name in names if (match := pattern.fullmatch(name))]

    @contextlib.contextmanager
    def _answering(self, name: str) -> Iterator[None]:
        """Word what a store says."""
        where = f"{self.where}/{name}".rstrip("/")
        try:
            yield
        except (ParleyError, FileExistsError):
            raise
        except FileNotFoundError as error:
            raise ParleyError(
                f"not there ({_short(error)})", where=where, mend="parley pull without a number"
            ) from None
        except Exception as error:  # each store has errors of its own, of no common kind
            raise ParleyError(
                f"the shared repository does not answer or refuses: {_short(error)}",
                where=where,
                mend="check PARLEY_SHARED_REPO, the network, and the store's own variables (AWS_…)",
            ) from None


def _open(address: str, where: str) -> tuple[Any, str]:
    """The file system of an address, and its path there."""
    import fsspec

    try:
        # No caches: what another site wrote a moment ago must be seen.
        files, root = fsspec.core.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
    except ImportError:
        scheme = address.partition("://")[0]
        name = "pip install 'parley[s3]'" if scheme in ("s3", "s3a") else f"install fsspec's part for {scheme}://"
        raise ParleyError("what opens this address is not installed", where=where, mend=name) from None
    except (ValueError, OSError) as error:
        raise ParleyError(
            f"no address of a shared repository: {_short(error)}", where=where, mend="a folder, or s3://bucket/folder"
        ) from None
    return files, str(root).rstrip("/")


def _protocols(files: Any) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)


def _link(source: Path, target: Path) -> None:
    """Copy into the folder under a hidden name, bring it to the disk, and let it appear by a link, which fails where
    the name is taken."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _sweep(target.parent)
    handle, part = tempfile.mkstemp(dir=target.parent, prefix=_PART)
    try:
        with os.fdopen(handle, "wb") as out, source.open("rb") as read:
            while chunk := read.read(_CHUNK):
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        os.chmod(part, 0o444)
        os.link(part, target)
    finally:
        os.unlink(part)
    fsync_dir(target.parent)


def _sweep(folder: Path) -> None:
    """Remove what a killed writer left; a writer that still writes is younger."""
    for path in folder.glob(f"{_PART}*"):
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_mtime < time.time() - _PART_STAYS_S:
                path.unlink()


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
