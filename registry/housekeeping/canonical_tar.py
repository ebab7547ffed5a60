"""Tar files in one canonical form: equal content is equal bytes, and whatever differs from that form is refused.

    with target.open("wb") as out:
        write(directory, ["manifest.json", "model.onnx"], "barista_stt/3", out)
    with target.open("rb") as file:
        contents = check(file)                  # reads it all, writes nothing
        extract(file, contents, staging)

A tar file can hide much: links, devices, sparse files, extended headers of any size, names that leave the folder,
bytes between and after the members. Each header here must equal, byte for byte, the one `write` would have made of
its name and size, in sorted order, the padding zero and the end where it belongs; so there is no room to hide in.
"""

from __future__ import annotations

import gzip
import re
import tarfile
import unicodedata
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Protocol

from parley import names
from parley.errors import ParleyError

_CHUNK = 1 << 20
_GZIP_MAGIC = b"\x1f\x8b"
_PREFIX = re.compile(rf"({names.MODEL})/([1-9][0-9]{{0,8}})/")
_SLACK_BYTES = 1 << 20
"""A small archive may unfold by any ratio up to here: four kilobytes of zeros are no bomb."""
_KINDS = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
    tarfile.DIRTYPE: "a folder of its own",
    tarfile.CONTTYPE: "a contiguous file",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
    tarfile.GNUTYPE_LONGNAME: "a long-name header",
    tarfile.GNUTYPE_LONGLINK: "a long-link header",
    tarfile.XHDTYPE: "an extended header",
    tarfile.XGLTYPE: "an extended header",
    tarfile.SOLARIS_XHDTYPE: "an extended header",
}


@dataclass(frozen=True)
class Limits:
    """What an archive may at most hold. Nothing beyond is read."""

    entries: int = 1000
    file_bytes: int = 4 << 30
    total_bytes: int = 8 << 30
    ratio: int = 100
    """Unfolded bytes per byte of the archive."""
    depth: int = 4
    """Folders below the version's own."""


@dataclass(frozen=True)
class Contents:
    """What a checked archive holds."""

    model: str
    number: int
    sizes: dict[str, int]
    """Bytes by name, relative to the version's folder."""


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def write(directory: Path, names: Iterable[str], prefix: str, out: BinaryIO, *, compress: bool = False) -> None:
    """Write files of `directory` under `prefix` into `out`.

    Raises:
        ParleyError: a name is too long, or a file too large, for the format (256 bytes, 8 GiB).
    """
    if compress:
        with gzip.GzipFile(filename="", mode="wb", fileobj=out, mtime=0, compresslevel=6) as zipped:
            write(directory, names, prefix, zipped)  # type: ignore[arg-type]
        return
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(names):
            path = directory / name
            try:
                header = _header(f"{prefix}/{name}", path.stat().st_size)
                with path.open("rb") as file:
                    tar.addfile(header, file)
            except ValueError as error:
                raise ParleyError(f"does not fit into an archive: {error}", where=str(path)) from None


def check(file: BinaryIO, limits: Limits | None = None) -> Contents:
    """Read a whole archive without writing anything.

    Raises:
        ParleyError: it is damaged, breaks a limit, or holds anything but plain files of one version; says which.
    """
    prefix, sizes = "", {}
    for member, body in _members(file, limits or Limits()):
        found = _PREFIX.match(member.name)
        if not found or (prefix and found[0] != prefix):
            raise _refused(file, f"{member.name!r} lies outside {prefix or '<model>/<number>/'}")
        prefix = found[0]
        sizes[member.name.removeprefix(prefix)] = member.size
        while body.read(_CHUNK):
            pass
    if not sizes:
        raise _refused(file, "it is empty")
    model, number, _ = prefix.split("/")
    return Contents(model, int(number), sizes)


def extract(file: BinaryIO, contents: Contents, into: Path, limits: Limits | None = None) -> None:
    """Write the files of a checked archive into the empty folder `into`.

    The check is made again while writing, on the same code: a file that changed meanwhile is refused too.

    Raises:
        ParleyError: as :func:`check`; `into` may hold a part then.
        OSError: the disk refuses.
    """
    prefix = f"{contents.model}/{contents.number}/"
    for member, body in _members(file, limits or Limits()):
        name = member.name.removeprefix(prefix)
        if contents.sizes.get(name) != member.size:
            raise _refused(file, "it changed while it was read")
        member.name = name
        try:
            tarfile.data_filter(member, str(into))  # Python's own idea of what is safe, after ours
        except tarfile.FilterError as error:
            raise _refused(file, str(error)) from None
        target = into / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            while chunk := body.read(_CHUNK):
                out.write(chunk)


def _header(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size  # everything else keeps its default: no owner, no time, mode 0644
    return info


def _members(file: BinaryIO, limits: Limits) -> Iterator[tuple[tarfile.TarInfo, _Body]]:
    """Every member and its content, each checked before it is given out; the end is checked too."""
    stream = _open(file, limits)
    names = _Names(file, limits)
    total, length = 0, 0
    while member := _next(file, stream):
        names.add(member.name)
        total += member.size
        if member.size > limits.file_bytes or total > limits.total_bytes:
            raise _refused(file, f"{member.name!r} makes it larger than {limits.total_bytes} bytes")
        body = _Body(file, stream, member.size)
        yield member, body
        body.finish()
        length += tarfile.BLOCKSIZE + member.size + body.padding
    _check_end(file, stream, length)


def _open(file: BinaryIO, limits: Limits) -> _Readable:
    size = file.seek(0, 2)
    file.seek(0)
    zipped = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    return _Unzipped(file, size * limits.ratio + _SLACK_BYTES) if zipped else file


def _next(file: BinaryIO, stream: _Readable) -> tarfile.TarInfo | None:
    """The next header; None at the first block of zeros."""
    block = stream.read(tarfile.BLOCKSIZE)
    try:
        member = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # not in typeshed
        return None
    except UnicodeDecodeError:
        raise _refused(file, "a name is not UTF-8") from None
    except tarfile.HeaderError:
        raise _refused(file, "it is cut short, or not an archive") from None
    if member.type != tarfile.REGTYPE:
        kind = _KINDS.get(member.type, "something that is no plain file")
        raise _refused(file, f"{member.name!r} is {kind}; a version holds plain files only")
    _check_name(file, member.name)
    if block != _canonical(file, member):
        raise _refused(file, f"the header of {member.name!r} says more than a name and a size")
    return member


def _canonical(file: BinaryIO, member: tarfile.TarInfo) -> bytes:
    try:
        return _header(member.name, member.size).tobuf(tarfile.USTAR_FORMAT, "utf-8", "strict")
    except ValueError:
        raise _refused(file, f"the size of {member.name!r} is impossible") from None


def _check_name(file: BinaryIO, name: str) -> None:
    if name.startswith("/") or PurePosixPath(name).is_absolute() or re.match(r"[A-Za-z]:", name):
        raise _refused(file, f"{name!r} is an absolute path")
    parts = name.split("/")
    if ".." in parts:
        raise _refused(file, f"{name!r} leads out of its folder")
    odd = any(unicodedata.category(letter)[0] == "C" or letter == "\\" for letter in name)
    if odd or any(part in ("", ".") for part in parts):
        raise _refused(file, f"{name!r} is no plain name")


class _Names:
    """The names seen so far: sorted, few, shallow, and different on any file system."""

    def __init__(self, file: BinaryIO, limits: Limits) -> None:
        self._file, self._limits = file, limits
        self._last, self._files = "", 0
        self._spelled: dict[str, tuple[str, bool]] = {}
        """Folded path to its spelling, and whether it is a file."""

    def add(self, name: str) -> None:
        """Take one more file, or refuse it."""
        self._files += 1
        if self._files > self._limits.entries:
            raise _refused(self._file, f"it holds more than {self._limits.entries} files")
        if name.count("/") > self._limits.depth + 2:
            raise _refused(self._file, f"{name!r} lies deeper than {self._limits.depth} folders")
        for parent in reversed(PurePosixPath(name).parents[:-1]):
            self._take(str(parent), is_file=False)
        self._take(name, is_file=True)
        if name < self._last:
            raise _refused(self._file, "its files are not in order")
        self._last = name

    def _take(self, path: str, *, is_file: bool) -> None:
        folded = unicodedata.normalize("NFKC", path).casefold()
        spelled, was_file = self._spelled.setdefault(folded, (path, is_file))
        if spelled != path:
            raise _refused(self._file, f"{path!r} and {spelled!r} are one name on other file systems")
        if was_file != is_file:
            raise _refused(self._file, f"{path!r} is both a file and a folder")
        if is_file and path == self._last:
            raise _refused(self._file, f"{path!r} stands in it twice")


class _Body:
    """The content of one member."""

    def __init__(self, file: BinaryIO, stream: _Readable, size: int) -> None:
        self._file, self._stream, self._left = file, stream, size
        self.padding = -size % tarfile.BLOCKSIZE

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; nothing at the end."""
        chunk = self._stream.read(min(size, self._left)) if self._left else b""
        if self._left and not chunk:
            raise _refused(self._file, "it is cut short")
        self._left -= len(chunk)
        return chunk

    def finish(self) -> None:
        """Check what follows the content."""
        if self._left:
            raise AssertionError("the caller left a part unread")
        padding = self._stream.read(self.padding)
        if len(padding) < self.padding:
            raise _refused(self._file, "it is cut short")
        if padding.strip(b"\0"):
            raise _refused(self._file, "it hides bytes between its files")


class _Unzipped:
    """A gzip stream of one member, unfolded in bounded steps."""

    def __init__(self, file: BinaryIO, most: int) -> None:
        self._file, self._most, self._total = file, most, 0
        self._unfolder = zlib.decompressobj(wbits=31)
        self._ready = b""

    def read(self, size: int, /) -> bytes:
        """Exactly `size` bytes, fewer at the end."""
        parts, missing = [self._ready[:size]], size - len(self._ready[:size])
        self._ready = self._ready[size:]
        while missing > 0 and (chunk := self._unfold()):
            parts.append(chunk[:missing])
            self._ready, missing = chunk[missing:], missing - len(chunk[:missing])
        return b"".join(parts)

    def _unfold(self) -> bytes:
        """Some more bytes; nothing at the end."""
        while not self._unfolder.eof:
            folded = self._unfolder.unconsumed_tail or self._file.read(_CHUNK)
            try:
                chunk = self._unfolder.decompress(folded, _CHUNK)
            except zlib.error as error:
                raise _refused(self._file, f"its compression is damaged ({error})") from None
            if not folded and not chunk and not self._unfolder.eof:
                raise _refused(self._file, "it is cut short")
            self._total += len(chunk)
            if self._total > self._most:
                raise _refused(self._file, "it unfolds to far more than it is (a bomb)")
            if chunk:
                return chunk
        if self._unfolder.unused_data or self._file.read(1):
            raise _refused(self._file, "something follows its end")
        return b""


def _check_end(file: BinaryIO, stream: _Readable, length: int) -> None:
    """After the first block of zeros: zeros to the end of the record, and then nothing."""
    rest = -(length + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE + tarfile.BLOCKSIZE
    end = stream.read(rest)
    if len(end) < rest:
        raise _refused(file, "it is cut short")
    if end.strip(b"\0") or stream.read(1):
        raise _refused(file, "something follows its end")


def _refused(file: BinaryIO, what: str) -> ParleyError:
    return ParleyError(
        f"the archive is refused: {what}",
        where=str(getattr(file, "name", "archive")),
        mend="ask the site that made it for a new one (`parley pack`)",
    )
