"""What a file of a bundle contains. Runs in the child process of `registry.versions.inspection`, under its limits."""

from __future__ import annotations

import errno
import io
import json
import mmap
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

from registry.versions.onnx_inspection import GraphLimits, Refused, inspect_onnx


@dataclass(frozen=True)
class Limits:
    """What a bundle may hold, and what its inspection may use."""

    files: int = 64
    file_bytes: int = 1 << 30
    bundle_bytes: int = 2 << 30
    text_bytes: int = 256 << 20
    json_depth: int = 64
    memory_bytes: int = 4 << 30
    """Beside what the process has when it starts."""
    cpu_s: int = 60
    wall_s: float = 120.0
    graph: GraphLimits = field(default_factory=GraphLimits)


def examine(directory: Path, names: list[str], limits: Limits, report: Callable[[str], None]) -> tuple[str, str] | None:
    """The first file that is not accepted, and why; None when all are.

    Args:
        directory: the bundle.
        names: relative names of its files.
        limits: what they may hold.
        report: is told each name before its content is looked at.
    """
    for name in names:
        report(name)
        try:
            _examine_file(directory / name, limits)
        except Refused as error:
            return name, str(error)
        except MemoryError:
            return name, f"takes more than {limits.memory_bytes >> 20} MB to read"
        except RecursionError:
            return name, "nested too deeply"
    return None


def _examine_file(path: Path, limits: Limits) -> None:
    content = _mapped(path)
    if disguise := _forbidden(content):
        raise Refused(disguise)
    if path.suffix == ".onnx":
        inspect_onnx(memoryview(content), limits.graph)
    elif path.name == "model.plan":
        if not content[:8].startswith(_PLAN_MAGICS):
            raise Refused("no TensorRT plan")
    elif len(content) > limits.text_bytes:
        raise Refused(f"text larger than {limits.text_bytes >> 20} MB")
    else:
        _examine_text(content[:], path.suffix in (".json", ".sig"), limits.json_depth)


def _mapped(path: Path) -> mmap.mmap:
    """The file's pages, all at once where the system can: a fault for each costs as much as parsing them."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if not size:
            raise Refused("an empty file")
        flags = mmap.MAP_PRIVATE | getattr(mmap, "MAP_POPULATE", 0)
        try:
            return mmap.mmap(file.fileno(), size, flags=flags, prot=mmap.PROT_READ)
        except OSError as error:
            raise (MemoryError() if error.errno == errno.ENOMEM else error) from None


_ZIP_TAIL = 1 << 17
"""A zip archive's directory ends within the last 64 KB and its own header."""
_PLAN_MAGICS = (b"ftrt", b"ptrt")
_ARCHIVES = {
    b"PK\x03\x04": "a zip archive (a torch checkpoint, or files that nobody looks into)",
    b"PK\x05\x06": "a zip archive",
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstandard",
    b"\x93NUMPY": "a numpy array, which may hold pickled objects",
    b"\x89HDF": "HDF5",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}


def _forbidden(content: mmap.mmap) -> str:
    """What a file is when that is something no bundle needs."""
    head = content[:512]
    for magic, what in _ARCHIVES.items():
        if head.startswith(magic):
            return f"{what}, not an accepted kind of file"
    if head[257:262] == b"ustar" or _old_tar(head):
        return "a tar archive, not an accepted kind of file"
    if zipfile.is_zipfile(io.BytesIO(content[-_ZIP_TAIL:])):  # whatever stands before its directory
        return "a zip archive behind other content, not an accepted kind of file"
    return "a pickle: loading one runs its code" if _is_pickle(content) else ""


def _old_tar(head: bytes) -> bool:
    """A tar header from before POSIX: its checksum field is right."""
    if len(head) < 512 or not head[148:156].strip(b" \0").isdigit():
        return False
    try:
        return int(head[148:156].strip(b" \0"), 8) == sum(head[:148]) + 8 * 32 + sum(head[156:512])
    except ValueError:
        return False


def _is_pickle(content: mmap.mmap) -> bool:
    """Whether the file reads as a pickle of any protocol, from its first opcode to STOP.

    Protocols 2 and later open with their number. 0 and 1 have no mark: their opcodes are read, which loads nothing. A
    short text can be one by chance (`N.` is None); that is no harm, so a pickle must build something.
    """
    import pickletools

    building = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "PUT", "BINPUT"}
    building |= {"LONG_BINPUT", "MEMOIZE", "PROTO", "PERSID", "BINPERSID", "EXT1", "EXT2", "EXT4"}
    seen: set[str] = set()
    if content[:1] == b"\x80":
        return True
    try:
        for opcode, _, _ in pickletools.genops(cast(IO[bytes], content)):
            seen.add(opcode.name)
    except (ValueError, OverflowError):
        # No STOP, or an unknown opcode: a file that imports before it breaks off is one all the same.
        return "REDUCE" in seen and bool(seen & {"GLOBAL", "INST", "STACK_GLOBAL"})
    return bool(seen & building)


def _examine_text(content: bytes, is_json: bool, deepest: int) -> None:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused("neither ONNX nor JSON nor UTF-8 text") from None
    if any(ord(sign) < 32 and sign not in "\t\n\r" for sign in set(text)):
        raise Refused("neither ONNX nor JSON nor text: it holds control characters")
    if text.startswith("#!"):
        raise Refused("a script")
    if is_json:
        _examine_json(text, deepest)


def _examine_json(text: str, deepest: int) -> None:
    try:
        loaded = json.loads(text)
    except ValueError as error:
        raise Refused(f"not JSON ({error})") from None
    level, depth = [loaded], 0
    while level := [inner for value in level for inner in _children(value)]:
        depth += 1
        if depth > deepest:
            raise Refused(f"JSON nested more than {deepest} deep")


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
