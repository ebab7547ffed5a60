"""Where the tritonserver of the `nvidia-pytriton` wheel is, and the environment in which it can serve Python models.

The wheel lays the parts out for its own front end; a plain `tritonserver` needs the Python stub beside the Python
backend, the wheel's libraries and `libpython3.x.so` on the library path, and this environment's packages on Python's
path.
"""

from __future__ import annotations

import ctypes.util
import filecmp
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

import parley
from parley.errors import ParleyError
from parley.serving.trust import Trust

BACKEND = "parley"
"""The backend that versions' configurations name."""
BACKEND_FILE = Path(__file__).parent / "triton_backend" / "model.py"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_STUB = "triton_python_backend_stub"


def view_of(state_dir: Path) -> Path:
    """The model repository that a site's server is started on: links to the versions that are served now."""
    return state_dir.absolute() / "triton" / "models"


@dataclass(frozen=True)
class TritonInstall:
    """Paths inside the installed wheel."""

    binary: Path
    backends: Path
    stub: Path
    libraries: Path


def find_triton() -> TritonInstall:
    """The parts of the installed wheel.

    Raises:
        ParleyError: the wheel is not installed, or has no stub for this Python.
    """
    # find_spec of the top package imports nothing of it.
    spec = importlib.util.find_spec("pytriton")
    if spec is None or not spec.submodule_search_locations:
        raise ParleyError(
            "there is no tritonserver in this environment",
            where="nvidia-pytriton",
            mend="on Linux x86-64: pip install nvidia-pytriton==0.7.0; elsewhere: PARLEY_ENGINE=onnx",
        )
    package = Path(next(iter(spec.submodule_search_locations)))
    server = package / "tritonserver"
    install = TritonInstall(
        binary=server / "bin" / "tritonserver",
        backends=server / "backends",
        stub=server / "python_backend_stubs" / PYTHON / _STUB,
        libraries=package.parent / "nvidia_pytriton.libs",
    )
    for part in (install.binary, install.backends / "python", install.libraries):
        if not part.exists():
            raise ParleyError(
                "missing from the wheel",
                where=str(part),
                mend="pip install --force-reinstall nvidia-pytriton",
            )
    if not install.stub.is_file():
        raise ParleyError(f"the wheel has no stub for Python {PYTHON}", where=str(install.stub), mend="use Python 3.11")
    return install


def find_libpython() -> Path | None:
    """`libpython3.x.so` of this Python's version: a full path, a bare name when the system's loader knows it, None if
    absent."""
    name = f"libpython{PYTHON}.so.1.0"
    folders = [sysconfig.get_config_var("LIBDIR") or "", str(Path(sys.base_prefix) / "lib")]
    folders += os.environ.get("LD_LIBRARY_PATH", "").split(":")
    for folder in folders:
        if folder and (Path(folder) / name).is_file():
            return Path(folder) / name
    found = ctypes.util.find_library(f"python{PYTHON}")
    return Path(found) if found else None


def server_environment(install: TritonInstall, libpython: Path | None, trust: Trust | None = None) -> dict[str, str]:
    """Environment of the server and its stubs: library path, this environment's Python and Parley, one thread, what
    the site trusts (None: nothing, so that no version would open), and none of its secrets."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PARLEY_", "PYTHON"))}
    libraries = [str(install.libraries)]
    if libpython is not None and libpython.is_absolute():
        libraries.append(str(libpython.parent))
    if inherited := os.environ.get("LD_LIBRARY_PATH"):
        libraries.append(inherited)
    # The stub reads no .pth files, so an editable install must be named.
    own = Path(next(iter(parley.__path__))).parent
    packages = dict.fromkeys((sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(own)))
    trusted = trust.environment() if trust else {}
    return kept | {
        "LD_LIBRARY_PATH": ":".join(libraries),
        # The stub embeds Python and looks for its home beside the first `python3` on PATH.
        "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ.get('PATH', '')}",
        "PYTHONPATH": ":".join(packages),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONNOUSERSITE": "1",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
        **trusted,
    }


def check_stub(install: TritonInstall, environment: dict[str, str]) -> None:
    """Ask the loader whether the Python stub can start, since a server whose stub cannot start waits for ever.

    Raises:
        ParleyError: names the library that is missing and the package that brings it.
    """
    # ld.so lists the libraries instead of running the program; this is all that `ldd` does.
    listing = subprocess.run(
        [install.stub],
        env=environment | {"LD_TRACE_LOADED_OBJECTS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    missing = [line.split()[0] for line in listing.stdout.splitlines() if "not found" in line]
    for name in missing:
        raise missing_library(name)


def missing_library(name: str) -> ParleyError:
    """The error for a shared library that the loader does not find."""
    package = f"libpython{PYTHON}" if name.startswith("libpython") else "the package that holds it"
    return ParleyError(
        f"{name} is missing, so Triton's Python backend cannot start",
        where="tritonserver",
        mend=f"apt-get install {package}",
    )


def lay_out_backends(install: TritonInstall, directory: Path) -> Path:
    """Build the folder that `--backend-directory` wants: the wheel's Python backend with this Python's stub beside it,
    and the backend `parley`, which is Python code that runs in such stubs.

    Copies, since Triton refuses libraries that links take out of the backend directory. Whatever else lies there is
    removed, compiled files too: Python would run those in place of the source.
    """
    python = [part for part in (install.backends / "python").iterdir() if part.is_file()]
    for name, parts in (("python", [*python, install.stub]), (BACKEND, [BACKEND_FILE])):
        _mirror(parts, directory / name)
    return directory


def _mirror(parts: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    names = {part.name for part in parts}
    for stale in folder.iterdir():
        if stale.is_dir() and not stale.is_symlink():
            shutil.rmtree(stale)
        elif stale.is_symlink() or stale.name not in names:
            stale.unlink()
    for part in parts:
        copy = folder / part.name
        if not copy.is_file() or not filecmp.cmp(part, copy, shallow=False):
            fresh = folder / f".{part.name}"
            shutil.copy2(part, fresh)
            fresh.replace(copy)  # a file that some process still runs cannot be written to, but it can be replaced
