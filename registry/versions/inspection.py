"""What may be published: files are accepted by what they contain, never by what they are called.

    inspect_bundle(Path("runs/nlu/bundle"))      # raises ParleyError naming the file and the reason

Accepted are ONNX models (see `registry.versions.onnx_inspection`), JSON, UTF-8 text, and a TensorRT plan under the name
`model.plan`. Everything else is refused, and pickle in every disguise is refused by name: loading one runs its code.

The content is read in a child process with a limit on memory, on processor time and on the wall clock: a file made to
kill its reader kills that child, and is refused with the limit it met.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import functools
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from parley.errors import ParleyError
from parley.folder import list_files
from parley.secrets import without_secrets
from registry.versions import file_content
from registry.versions.file_content import Limits
from registry.versions.onnx_inspection import GraphLimits

_MEND = "publish only what `parley export` made; see docs/registry.md for what is accepted"


def inspect_bundle(directory: Path, limits: Limits | None = None) -> None:
    """Look at every file of a bundle or version. The default limits fit every model that is exported here many times.

    Raises:
        ParleyError: names the file that is not accepted and why.
        OSError: a file cannot be read.
    """
    with inspecting(directory, limits):
        pass


@contextlib.contextmanager
def inspecting(directory: Path, limits: Limits | None = None) -> Iterator[None]:
    """Look at the files that are there now while the block does something else; the verdict falls at its end.

    The block must not change them, nor let others. See `inspect_bundle`.
    """
    limits = limits or Limits()
    files = list_files(directory)
    if len(files) > limits.files:
        raise ParleyError(f"{len(files)} files; {limits.files} is most", where=str(directory), mend=_MEND)
    total = 0
    for path in files.values():
        size = path.stat().st_size
        total += size
        if size > limits.file_bytes or total > limits.bundle_bytes:
            most = limits.file_bytes if size > limits.file_bytes else limits.bundle_bytes
            raise ParleyError(f"larger than {most >> 20} MB", where=str(path), mend=_MEND)
    pid, read = _start(directory, list(files), limits)
    try:
        until = time.monotonic() + limits.wall_s
        yield
        verdict = _verdict(pid, read, until, limits)
    except BaseException:
        _end(pid)
        raise
    finally:
        os.close(read)
    if verdict:
        name, reason = verdict
        raise ParleyError(reason, where=str(directory / name if name else directory), mend=_MEND)


# --- the process --------------------------------------------------------------------------------------------------


def _start(directory: Path, names: list[str], limits: Limits) -> tuple[int, int]:
    """Begin `file_content.examine` in a process of its own: its number, and where its answer comes from."""
    read, write = os.pipe()
    try:
        if _alone():
            _warm()
            return _fork(directory, names, limits, write), read
        return _spawn(directory, names, limits, write), read
    except BaseException:
        os.close(read)
        raise
    finally:
        os.close(write)


@functools.cache
def _warm() -> None:
    """Import the checker once for all children to come, and let it fill its tables."""
    import onnx

    onnx.defs.has("Add")


def _verdict(pid: int, read: int, until: float, limits: Limits) -> tuple[str, str] | None:
    """What the child found, or how it died."""
    lines, late = _listen(read, until)
    if late:
        os.kill(pid, signal.SIGKILL)
    status = os.waitpid(pid, 0)[1]
    reports = [json.loads(line) for line in lines]
    if reports and "verdict" in reports[-1]:
        verdict = reports[-1]["verdict"]
        return (verdict[0], verdict[1]) if verdict else None
    name = reports[-1]["at"] if reports else ""
    how = f"took longer than {limits.wall_s:g} s" if late else _death(status, limits)
    return name, f"its inspection {how}"


def _end(pid: int) -> None:
    """The caller has failed elsewhere: nobody waits for the verdict."""
    with contextlib.suppress(ProcessLookupError, ChildProcessError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _alone() -> bool:
    """Whether this process has one thread only, so that a fork copies no lock that somebody holds."""
    tasks = Path("/proc/self/task")
    return tasks.is_dir() and len(list(tasks.iterdir())) == 1


def _fork(directory: Path, names: list[str], limits: Limits, write: int) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            # The publisher's locks are open files: they must not outlive it in this child.
            os.closerange(3, write)
            os.closerange(write + 1, os.sysconf("SC_OPEN_MAX"))
            _work(directory, names, limits, write)
        finally:
            os._exit(1)
    return pid


def _spawn(directory: Path, names: list[str], limits: Limits, write: int) -> int:
    """The same from a fresh interpreter, which costs half a second."""
    request = {"directory": str(directory.resolve()), "names": names, "limits": dataclasses.asdict(limits)}
    command = [sys.executable, "-m", "registry.versions.inspection", json.dumps(request)]
    alone = without_secrets(os.environ)
    return os.posix_spawn(sys.executable, command, alone, file_actions=[(os.POSIX_SPAWN_DUP2, write, 3)])


def _work(directory: Path, names: list[str], limits: Limits, write: int) -> NoReturn:
    """The child: give up what it may not use, look, answer, end."""

    def tell(message: dict[str, Any]) -> None:
        os.write(write, json.dumps(message).encode() + b"\n")

    _warm()  # before the limits, which are for the content
    faulthandler.disable()  # a crash is an answer here, not news for the terminal
    _limit(limits)

    verdict = file_content.examine(directory, names, limits, lambda name: tell({"at": name}))
    tell({"verdict": verdict})
    os._exit(0)


def _limit(limits: Limits) -> None:
    pages = (
        int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
        if Path("/proc/self/statm").is_file()
        else 0
    )
    memory = pages * os.sysconf("SC_PAGE_SIZE") + limits.memory_bytes
    used = int(time.process_time()) + 1
    for what, most in (
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_CPU, used + limits.cpu_s),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(what, (allowed, allowed))


def _listen(read: int, deadline: float) -> tuple[list[bytes], bool]:
    """The child's lines until it has answered or ended, and whether the deadline came first."""
    answer, late = b"", False
    while b'"verdict"' not in answer or not answer.endswith(b"\n"):
        ready, _, _ = select.select([read], [], [], max(0.0, deadline - time.monotonic()))
        late = not ready
        chunk = b"" if late else os.read(read, 1 << 16)
        if not chunk:
            break
        answer += chunk
    return answer.split(b"\n")[:-1], late


def _death(status: int, limits: Limits) -> str:
    if not os.WIFSIGNALED(status):
        return f"ended with status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    if number in (signal.SIGXCPU, signal.SIGKILL):
        return f"took more than {limits.cpu_s} s of processor time, or the system killed it for its memory"
    return f"crashed its process ({signal.Signals(number).name})"


def _main() -> NoReturn:
    request = json.loads(sys.argv[1])
    graph = GraphLimits(**request["limits"].pop("graph"))
    _work(Path(request["directory"]), request["names"], Limits(**request["limits"], graph=graph), 3)


if __name__ == "__main__":
    _main()
