"""Where the tritonserver of the `nvidia-pytriton` wheel is, and the backend with which it serves versions.

The backend is our own, in C (`triton_backend/`): it runs the ONNX Runtime of the `onnxruntime` wheel inside the server.
It is compiled when a server starts for the first time, into the site's state folder.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import parley
from parley.errors import ParleyError
from parley.secrets import without_secrets
from parley.serving.trust import Trust

BACKEND = "parley"
"""The backend that versions' configurations name."""
SOURCES = Path(__file__).parent / "triton_backend"
COMPILE = ("gcc", "-std=gnu11", "-O1", "-fPIC", "-shared", "-fvisibility=hidden")


def view_of(state_dir: Path) -> Path:
    """The model repository that a site's server is started on: links to the versions that are served now."""
    return state_dir.absolute() / "triton" / "models"


@dataclass(frozen=True)
class TritonInstall:
    """Where the parts of this environment are."""

    binary: Path
    libraries: Path
    onnxruntime: Path
    python: Path
    """Runs `parley.serving.handover` for the backend."""


def find_triton() -> TritonInstall:
    """The parts of the installed wheels.

    Raises:
        ParleyError: a wheel is not installed, or lacks a part.
    """
    package = _package("pytriton")
    if package is None:
        raise ParleyError(
            "there is no tritonserver in this environment",
            where="nvidia-pytriton",
            mend="on Linux x86-64: pip install nvidia-pytriton==0.7.0; elsewhere: PARLEY_ENGINE=onnx",
        )
    runtimes = sorted(((_package("onnxruntime") or Path()) / "capi").glob("libonnxruntime.so.*"))
    install = TritonInstall(
        binary=package / "tritonserver" / "bin" / "tritonserver",
        libraries=package.parent / "nvidia_pytriton.libs",
        onnxruntime=runtimes[-1] if runtimes else Path("libonnxruntime.so"),
        python=Path(sys.executable),
    )
    for part, wheel in (
        (install.binary, "nvidia-pytriton"),
        (install.libraries, "nvidia-pytriton"),
        (install.onnxruntime, "onnxruntime-gpu"),
    ):
        if not part.exists():
            raise ParleyError("missing from the wheel", where=str(part), mend=f"pip install --force-reinstall {wheel}")
    return install


def _package(name: str) -> Path | None:
    # find_spec of a top package imports nothing of it.
    spec = importlib.util.find_spec(name)
    return Path(next(iter(spec.submodule_search_locations))) if spec and spec.submodule_search_locations else None


def server_environment(install: TritonInstall, trust: Trust | None = None) -> dict[str, str]:
    """Environment of the server and of the checks it starts: libraries, this environment's Python and Parley, one
    thread, what the site trusts (None: nothing, so that no version would open), and none of its secrets."""
    kept = {n: v for n, v in without_secrets(os.environ).items() if not n.startswith(("PARLEY_", "PYTHON"))}
    libraries = [str(install.libraries)]
    if inherited := os.environ.get("LD_LIBRARY_PATH"):
        libraries.append(inherited)
    own = Path(next(iter(parley.__path__))).parent
    packages = dict.fromkeys((str(own), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    trusted = trust.environment() if trust else {}
    return kept | {
        "LD_LIBRARY_PATH": ":".join(libraries),
        "PARLEY_PYTHON": str(install.python),
        "PARLEY_ONNXRUNTIME": str(install.onnxruntime),
        "PYTHONPATH": ":".join(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        **trusted,
    }


def missing_library(name: str) -> ParleyError:
    """The error for a shared library that the loader does not find."""
    return ParleyError(
        f"{name} is missing, so tritonserver cannot start",
        where="tritonserver",
        mend="apt-get install the package that holds it",
    )


def lay_out_backends(directory: Path, compiler: Sequence[str] = COMPILE) -> Path:
    """Make the folder that `--backend-directory` wants: our backend, and nothing else.

    It is compiled where it is not what this source became last time; that takes a quarter of a second.

    Args:
        directory: the folder.
        compiler: the command, up to its output and sources.

    Raises:
        ParleyError: there is no compiler, or it refuses the source.
    """
    library = directory / BACKEND / f"libtriton_{BACKEND}.so"
    stamp = directory / "compiled.sha256"
    sources = sorted(SOURCES.glob("*.[ch]"))
    source = b"".join([repr(tuple(compiler)).encode(), *(path.read_bytes() for path in sources)])
    if stamp.is_file() and stamp.read_text(encoding="ascii") == _digest(source, library):
        return directory
    shutil.rmtree(directory, ignore_errors=True)
    library.parent.mkdir(parents=True)
    _compile(compiler, [path for path in sources if path.suffix == ".c"], library)
    stamp.write_text(_digest(source, library), encoding="ascii")
    return directory


def _digest(source: bytes, library: Path) -> str:
    compiled = library.read_bytes() if library.is_file() else b""
    return hashlib.sha256(hashlib.sha256(source).digest() + compiled).hexdigest()


def _compile(compiler: Sequence[str], sources: list[Path], library: Path) -> None:
    mend = "apt-get install gcc libc6-dev"
    try:
        done = subprocess.run([*compiler, "-o", library, *sources], capture_output=True, check=False)
    except FileNotFoundError:
        raise ParleyError("there is no C compiler to build Triton's backend with", where="gcc", mend=mend) from None
    if done.returncode != 0:
        reason = " ".join(done.stderr.decode("utf-8", errors="replace").split())[:300]
        raise ParleyError(f"Triton's backend does not compile: {reason}", where=str(SOURCES), mend=mend)
