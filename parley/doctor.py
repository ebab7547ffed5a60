"""What this machine lacks: one check per part, each with the way to mend it.

for finding in examine(settings()):
    print(finding)
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parley.bundle import verify_files
from parley.errors import ParleyError
from parley.ports import is_loopback
from parley.settings import Settings
from parley.typed import is_number

Status = Literal["ok", "warning", "missing"]


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    name: str
    status: Status
    """`missing` stops a call from being answered here; `warning` only takes something away."""
    detail: str
    mend: str = ""

    def __str__(self) -> str:
        line = f"{self.status:<8}{self.name}: {self.detail}"
        return f"{line} - {self.mend}" if self.mend else line


def examine(settings: Settings) -> list[Finding]:
    """Run every check; the machine is healthy when no finding is `missing`. Starts nothing and changes nothing."""
    checks: list[Callable[[Settings], Iterator[Finding]]] = [
        _python,
        _compiler,
        _synthesisers,
        _tritonserver,
        _other_users,
        _packages,
        _ports,
        _callers,
        _versions,
    ]
    return [finding for check in checks for finding in check(settings)]


def healthy(findings: list[Finding]) -> bool:
    """Whether a call can be answered on this machine."""
    return all(finding.status != "missing" for finding in findings)


def _python(settings: Settings) -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] < (3, 13):
        yield Finding("python", "ok", version)
    else:
        yield Finding(
            "python",
            "missing",
            f"{version} is not supported",
            "use Python 3.11 (apt-get install python3.11-venv)",
        )


def _compiler(settings: Settings) -> Iterator[Finding]:
    path = shutil.which("gcc")
    if path:
        yield Finding("gcc", "ok", path)
    else:
        yield Finding(
            "gcc", _if_triton(settings), "not found; it builds Triton's backend", "apt-get install gcc libc6-dev"
        )


def _synthesisers(settings: Settings) -> Iterator[Finding]:
    for program in ("espeak-ng", "flite"):
        path = shutil.which(program)
        if path:
            yield Finding(program, "ok", path)
        else:
            # Calls do not need them: they make the data that the speech models learn from.
            yield Finding(
                program,
                "warning",
                "not found; datasets cannot be made without it",
                f"apt-get install {program}",
            )


def _tritonserver(settings: Settings) -> Iterator[Finding]:
    from parley.serving.triton_install import find_triton

    try:
        find_triton()
    except ParleyError as error:
        yield Finding("tritonserver", _if_triton(settings), error.what, error.mend)
        return
    yield Finding(
        "tritonserver",
        "ok",
        f"nvidia-pytriton {importlib.metadata.version('nvidia-pytriton')}",
    )


def _other_users(settings: Settings) -> Iterator[Finding]:
    """What other users of a machine could reach of a server that this site asks."""
    from parley.serving.triton_record import abandoned_memory

    on_a_port = settings.triton_grpc and not settings.triton_grpc.startswith("unix:")
    if on_a_port and not settings.read_secrets().triton_control_key:
        yield Finding(
            "PARLEY_TRITON_GRPC",
            "warning",
            "no key closes model control: whoever reaches that port can run code there",
            "start that server with a key for model control, and set PARLEY_TRITON_CONTROL_KEY; keep its port private",
        )
    if left := abandoned_memory():
        yield Finding(
            "shared memory",
            "warning",
            f"{len(left)} pieces that dead servers left in {left[0].parent}, maybe with callers' voices",
            "parley triton restart, or remove them",
        )


def _packages(settings: Settings) -> Iterator[Finding]:
    # Looked up, not imported: importing ray alone takes seconds.
    for module, distributions in {
        "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
        "tritonclient": ("tritonclient",),
        "ray": ("ray",),
    }.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(module, "missing", "not installed", "pip install -e .")
        else:
            yield Finding(module, "ok", _version(distributions))


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "installed, of unknown version"


def _ports(settings: Settings) -> Iterator[Finding]:
    name = f"port {settings.port}"
    if settings.port == 0:
        yield Finding(name, "ok", "a free one will be picked")
        return
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            yield Finding(
                name,
                "missing",
                f"not to be had on {settings.host} ({error.strerror})",
                "stop what listens there, or set PARLEY_PORT",
            )
            return
    yield Finding(name, "ok", f"free on {settings.host}")


def _callers(settings: Settings) -> Iterator[Finding]:
    if settings.read_secrets().knows_callers:
        yield Finding("callers", "ok", "a call shows the carrier's signature or the site's token")
        return
    alone = is_loopback(settings.host)
    yield Finding(
        "callers",
        "warning" if alone else "missing",
        f"anybody who reaches {'this machine' if alone else settings.host} may open a call",
        "set PARLEY_TWILIO_AUTH_TOKEN or PARLEY_SITE_TOKEN (docs/doors.md)",
    )


def _versions(settings: Settings) -> Iterator[Finding]:
    directories = sorted(
        path.parent for path in settings.repo_dir.glob("*/*/manifest.json") if is_number(path.parent.name)
    )
    if not directories:
        yield Finding(
            "versions",
            "missing",
            f"no published version in {settings.repo_dir}",
            "git checkout triton_repo, or publish a bundle",
        )
    for directory in directories:
        yield _version_finding(directory)


def _version_finding(directory: Path) -> Finding:
    name = f"{directory.parent.name} {directory.name}"
    try:
        manifest = verify_files(directory)
    except ParleyError as error:
        return Finding(name, "missing", f"{error.where}: {error.what}", error.mend)
    return Finding(name, "ok", f"{len(manifest.files)} files as published")


def _if_triton(settings: Settings) -> Status:
    """A part only a Triton of our own needs."""
    return "missing" if settings.engine == "triton" and not settings.triton_grpc else "warning"
