"""An archive has one form, and everything a hostile one could hide is refused before a byte is written."""

from __future__ import annotations

import gzip
import io
import random
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parley.errors import ParleyError
from registry.housekeeping.canonical_tar import Contents, Limits, check, extract, write

FILES = {
    "configs/gpu.pbtxt": b"name",
    "labels.json": b"[1]\n",
    "manifest.json": b"{}",
    "model.onnx": bytes(range(256)) * 9,
}
PREFIX = "barista_stt/3"


@pytest.fixture
def version(tmp_path: Path) -> Path:
    directory = tmp_path / "version"
    for name, content in FILES.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def _packed(version: Path, *, compress: bool = False) -> bytes:
    out = io.BytesIO()
    write(version, FILES, PREFIX, out, compress=compress)
    return out.getvalue()


def _checked(content: bytes, limits: Limits | None = None) -> Contents:
    return check(io.BytesIO(content), limits)


@pytest.mark.parametrize("compress", [False, True], ids=["plain", "gzip"])
def test_what_was_packed_comes_out_as_it_was(version: Path, tmp_path: Path, compress: bool) -> None:
    packed = io.BytesIO(_packed(version, compress=compress))

    contents = check(packed)
    extract(packed, contents, tmp_path / "out")

    assert contents == Contents("barista_stt", 3, {name: len(content) for name, content in FILES.items()})
    out = tmp_path / "out"
    assert {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()} == FILES


def test_equal_content_is_equal_bytes_whatever_its_times_and_modes(version: Path) -> None:
    first = _packed(version), _packed(version, compress=True)
    for path in version.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)
            path.chmod(0o400)

    assert (_packed(version), _packed(version, compress=True)) == first


def test_the_system_tar_reads_it(version: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(_packed(version))) as tar:
        assert tar.getnames() == [f"{PREFIX}/{name}" for name in sorted(FILES)]


# Hostile archives: each is sound but for one thing.

Member = tuple[tarfile.TarInfo, bytes]


def _file(name: str, content: bytes = b"x", **changes: object) -> Member:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def _tar(*members: Member, form: int = tarfile.USTAR_FORMAT) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def _kind(kind: bytes, link: str = "") -> Callable[[], bytes]:
    return lambda: _tar(_file(f"{PREFIX}/a", b"", type=kind, linkname=link))


def _sparse() -> bytes:
    block = bytearray(_tar(_file(f"{PREFIX}/a"))[:1024])
    block[156:157] = tarfile.GNUTYPE_SPARSE
    return _with_checksum(block) + bytes(9216)


def _with_checksum(block: bytearray) -> bytes:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block[:512])
    return bytes(block)


def _edited(position: int, content: bytes) -> bytes:
    """A sound archive of one file with some bytes of its header replaced."""
    block = bytearray(_tar(_file(f"{PREFIX}/a")))
    block[position : position + len(content)] = content
    return _with_checksum(block)


def _huge_pax_header() -> bytes:
    info, content = _file(f"{PREFIX}/a", pax_headers={"comment": "x" * 5_000_000})
    return _tar((info, content), form=tarfile.PAX_FORMAT)


def _sound() -> bytes:
    return _tar(_file(f"{PREFIX}/a"), _file(f"{PREFIX}/b"))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    "absolute path": (lambda: _tar(_file("/etc/passwd")), "absolute path"),
    "drive letter": (lambda: _tar(_file("C:/barista_stt/3/a")), "absolute path"),
    "parent folder": (lambda: _tar(_file(f"{PREFIX}/../../evil")), "leads out"),
    "backslash": (lambda: _tar(_file(f"{PREFIX}/..\\evil")), "no plain name"),
    "empty part": (lambda: _tar(_file(f"{PREFIX}//a")), "no plain name"),
    "dot part": (lambda: _tar(_file(f"{PREFIX}/./a")), "no plain name"),
    "control character": (lambda: _tar(_file(f"{PREFIX}/a\x1b[2J")), "no plain name"),
    "direction override": (lambda: _tar(_file(f"{PREFIX}/a\u202egpj")), "no plain name"),
    "not UTF-8": (lambda: _edited(len(PREFIX) + 1, b"\xff"), "not UTF-8"),
    "another version beside it": (lambda: _tar(_file(f"{PREFIX}/a"), _file("barista_stt/4/a")), "outside"),
    "no version": (lambda: _tar(_file("a")), "outside"),
    "number with a zero": (lambda: _tar(_file("barista_stt/03/a")), "outside"),
    "hidden model": (lambda: _tar(_file(".releases/3/a")), "outside"),
    "symlink": (_kind(tarfile.SYMTYPE, "/etc/passwd"), "symbolic link"),
    "hard link": (_kind(tarfile.LNKTYPE, f"{PREFIX}/b"), "hard link"),
    "character device": (_kind(tarfile.CHRTYPE), "device"),
    "block device": (_kind(tarfile.BLKTYPE), "device"),
    "pipe": (_kind(tarfile.FIFOTYPE), "pipe"),
    "folder": (_kind(tarfile.DIRTYPE), "folder"),
    "old folder": (lambda: _tar(_file(f"{PREFIX}/a/", b"", type=tarfile.AREGTYPE)), "folder|plain"),
    "contiguous file": (_kind(tarfile.CONTTYPE), "contiguous"),
    "unknown kind": (_kind(b"Z"), "no plain file"),
    "sparse file": (_sparse, "sparse"),
    "sparse file of PAX": (
        lambda: _tar(_file(f"{PREFIX}/a", pax_headers={"GNU.sparse.major": "1", "GNU.sparse.realsize": "9" * 15}),
                     form=tarfile.PAX_FORMAT),
        "extended header",
    ),
    "huge extended header": (_huge_pax_header, "extended header"),
    "global extended header": (_kind(tarfile.XGLTYPE), "extended header"),
    "long name of GNU": (lambda: _tar(_file(f"{PREFIX}/{'a' * 300}"), form=tarfile.GNU_FORMAT), "long-name"),
    "same name twice": (lambda: _tar(_file(f"{PREFIX}/a", b"1"), _file(f"{PREFIX}/a", b"2")), "stands in it twice"),
    "differs by case": (lambda: _tar(_file(f"{PREFIX}/A"), _file(f"{PREFIX}/a")), "one name"),
    "differs by composition": (lambda: _tar(_file(f"{PREFIX}/e\u0301"), _file(f"{PREFIX}/\u00e9")), "one name"),
    "differs by width": (lambda: _tar(_file(f"{PREFIX}/a"), _file(f"{PREFIX}/\uff41")), "one name"),
    "file below a file": (lambda: _tar(_file(f"{PREFIX}/a"), _file(f"{PREFIX}/a/b")), "both a file and a folder"),
    "folder that differs by case": (lambda: _tar(_file(f"{PREFIX}/A/x"), _file(f"{PREFIX}/a/y")), "one name"),
    "too deep": (lambda: _tar(_file(f"{PREFIX}/a/b/c/d/e/f")), "deeper than"),
    "out of order": (lambda: _tar(_file(f"{PREFIX}/b"), _file(f"{PREFIX}/a")), "not in order"),
    "executable": (lambda: _tar(_file(f"{PREFIX}/a", mode=0o4755)), "more than a name and a size"),
    "owner": (lambda: _tar(_file(f"{PREFIX}/a", uname="root", uid=0)), "more than a name and a size"),
    "text in a link name": (lambda: _edited(157, b"hidden"), "more than a name and a size"),
    "text after the header": (lambda: _edited(500, b"hidden"), "more than a name and a size"),
    "negative size": (lambda: _edited(124, b"\xff" * 12), "impossible|more than"),
    "size of 8 EiB": (lambda: _edited(124, b"\x80" + b"\x00" * 3 + b"\x7f" + b"\xff" * 7), "impossible|larger"),
    "size beyond the end": (lambda: _edited(124, b"00000100000\0"), "cut short"),
    "bytes between files": (lambda: _sound()[:700] + b"\x01" + _sound()[701:], "hides bytes"),
    "bytes after the end": (lambda: _sound() + b"PK\x03\x04", "follows its end"),
    "bytes in the last record": (lambda: _sound()[:-1] + b"\x01", "follows its end"),
    "second archive after the end": (lambda: _sound() + _sound(), "follows its end"),
    "cut in a header": (lambda: _sound()[:300], "cut short"),
    "cut in a file": (lambda: _sound()[:513], "cut short"),
    "cut before the end": (lambda: _sound()[:2048], "cut short"),
    "cut in the end": (lambda: _sound()[:-512], "cut short"),
    "empty file": (lambda: b"", "cut short"),
    "empty archive": (lambda: _tar(), "empty"),
    "no archive": (lambda: b"hello " * 500, "not an archive"),
    "bad checksum": (lambda: _sound()[:3] + b"X" + _sound()[4:], "not an archive"),
    "gzip bomb": (lambda: gzip.compress(_tar(_file(f"{PREFIX}/a", bytes(40 << 20)))), "bomb"),
    "gzip bomb after the end": (lambda: gzip.compress(_sound() + bytes(40 << 20)), "follows its end"),
    "bytes after gzip": (lambda: gzip.compress(_sound()) + b"x", "follows its end"),
    "second gzip stream": (lambda: gzip.compress(_sound()) + gzip.compress(b""), "follows its end"),
    "gzip cut short": (lambda: gzip.compress(_sound())[:-9], "cut short"),
    "gzip without its checksum": (lambda: gzip.compress(_sound())[:-4], "cut short"),
    "gzip damaged": (lambda: gzip.compress(_sound())[:-8] + bytes(8), "compression is damaged"),
    "gzip in gzip": (lambda: gzip.compress(gzip.compress(_sound())), "cut short"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archive_is_refused_for_its_own_reason(name: str) -> None:
    make, reason = HOSTILE[name]

    with pytest.raises(ParleyError, match=reason):
        _checked(make())


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(entries=1), "more than 1 files"), (Limits(file_bytes=0), "larger than"),
        (Limits(total_bytes=1), "larger than 1 bytes"), (Limits(depth=-1), "deeper"),
    ],
    ids=["entries", "file", "total", "depth"],
)  # fmt: skip
def test_each_limit_refuses_what_passes_without_it(limits: Limits, reason: str) -> None:
    assert _checked(_sound()).sizes == {"a": 1, "b": 1}

    with pytest.raises(ParleyError, match=reason):
        _checked(_sound(), limits)


def test_archive_that_changes_after_its_check_is_refused_while_it_is_written(version: Path, tmp_path: Path) -> None:
    contents = _checked(_packed(version))
    other = _tar(_file(f"{PREFIX}/labels.json", b"another size"))

    with pytest.raises(ParleyError, match="changed while it was read"):
        extract(io.BytesIO(other), contents, tmp_path / "out")


def test_archive_never_writes_through_what_lies_in_its_way(version: Path, tmp_path: Path) -> None:
    outside, into = tmp_path / "outside", tmp_path / "out"
    into.mkdir()
    (into / "labels.json").symlink_to(outside)
    packed = io.BytesIO(_packed(version))

    with pytest.raises((FileExistsError, ParleyError)):
        extract(packed, check(packed), into)

    assert not outside.exists()


@given(st.integers(0, 2**32), st.booleans())
def test_any_altered_byte_is_refused_or_changes_content_only(seed: int, compress: bool) -> None:
    chance = random.Random(seed)
    sound = _tar(_file(f"{PREFIX}/a", b"A" * 700), _file(f"{PREFIX}/b", b"B"))
    packed = bytearray(gzip.compress(sound, mtime=0) if compress else sound)
    packed[chance.randrange(len(packed))] ^= 1 << chance.randrange(8)

    try:
        contents = _checked(bytes(packed))
    except ParleyError:
        return
    # A header cannot change unseen, except into another sound one: another name or number of the same length.
    assert sorted(contents.sizes.values()) == [1, 700]
    assert contents.model.isascii()
