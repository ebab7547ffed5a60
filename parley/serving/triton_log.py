"""Reading from Triton's log why a server or a model did not start: its API often waits or says less."""

from __future__ import annotations

import re
from pathlib import Path

from parley.errors import ParleyError
from parley.serving.triton_install import missing_library

_KEPT_BYTES = 10_000_000
_LIBRARY = re.compile(r"error while loading shared libraries: (\S+?):")
_REFUSAL = re.compile(
    r"failed to load '([^']+)' version (\d+): (?:\w+: )?(?:TritonModelException: )?(.*?)(?:\\n\\nAt:|\"?$)",
    re.MULTILINE,
)
_ABORT = re.compile(r"^Signal \((?!2\)|15\))(\d+)\) received", re.MULTILINE)
"""What Triton writes when it is about to crash; it ends in order by signals 2 and 15."""
_ERROR = re.compile(r"^(?:\S+ )?E(?:\d{4})?\b.*?\] ?\"?(.*)", re.MULTILINE)


def rotate(path: Path) -> None:
    """Make the log's folder, and put a log that grew large aside as `<name>.1`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and path.stat().st_size > _KEPT_BYTES:
        path.replace(path.with_name(path.name + ".1"))


def aborted(path: Path, start: int) -> bool:
    """Whether the server that began to write at byte `start` crashed, or is about to: it may hang before it ends."""
    return _ABORT.search(_read(path, start)) is not None


def server_reason(path: Path, start: int) -> ParleyError | str:
    """Why the server that began to write at byte `start` failed; "" when the log does not say."""
    text = _read(path, start)
    if found := _LIBRARY.search(text):
        return missing_library(found.group(1))
    if found := re.search(r"[^\n]*(?:already in use|Address already)[^\n]*", text):
        return ParleyError(
            f"a port is in use: {found.group(0).strip()[-200:]}",
            where="tritonserver",
            mend="stop what listens there",
        )
    if found := _ABORT.search(text):
        return f"signal {found.group(1)}"
    errors = _ERROR.findall(text)
    return str(errors[-1])[:300] if errors else ""


def model_reason(path: Path, start: int, model: str) -> str:
    """What Triton's log says about each version of `model` it refused since byte `start`, in one line; "" when
    nothing."""
    text = _read(path, start)
    if found := _LIBRARY.search(text):
        return str(missing_library(found.group(1)))
    reasons = {}
    for name, version, reason in _REFUSAL.findall(text):
        if name == model:
            reasons[version] = f"version {version}: " + " ".join(reason.replace("\\n", " ").split())[:400]
    return "; ".join(reasons.values())


def _read(path: Path, start: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(_KEPT_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
