"""``python -m judging.footprint VERSION_DIR``: the memory one version takes, in MB, on a process of its own.

A session is opened and warmed up as a server does; what counts is the peak above the same process before.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from parley.bundle import read_manifest
from parley.command import exit_with
from parley.errors import ParleyError

_LIMIT_S = 120


def memory_mb(version: Path) -> float:
    """Peak memory of a version, measured in a child process.

    Raises:
        ParleyError: the version cannot be opened; says why.
    """
    command = [sys.executable, "-m", "judging.footprint", str(version.resolve())]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", timeout=_LIMIT_S, check=False, cwd=root
    )
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ParleyError(f"its memory cannot be measured: {said}", where=str(version), mend="publish it again")
    return float(done.stdout)


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise ParleyError("this system does not tell a process's peak memory", where="/proc/self/status")


def _run(version: Path) -> float:
    import onnxruntime

    from parley.serving.onnx_engine import NUMPY_TYPES

    manifest = read_manifest(version)
    before = _peak_mb()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(version / "model.onnx"), sess_options=options, providers=["CPUExecutionProvider"]
    )
    feeds = {
        spec.name: np.zeros([1, *manifest.warmup.get(spec.name, [max(d, 1) for d in spec.dims])],
                            NUMPY_TYPES[spec.dtype])
        for spec in manifest.inputs
    }  # fmt: skip
    session.run(None, feeds)
    return _peak_mb() - before


def main() -> int:
    """Print the megabytes."""
    print(f"{_run(Path(sys.argv[1])):.2f}")
    return 0


if __name__ == "__main__":
    exit_with(main)
