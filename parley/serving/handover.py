"""Check a version and hand its tensors and its graph to Triton's backend, on standard output.

    python -m parley.serving.handover DIRECTORY MODEL NUMBER

The backend (`triton_backend/parley.c`) runs this once for each version that it opens, so that what is trusted is
decided in one place and language. What it opens are the bytes that it reads here.

    input FP32 x          a line for each tensor of the manifest
    output FP32 y
    graph                 the rest is model.onnx

A version that may not be served makes it print the reason instead, in one line, and end with status 1.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from parley.errors import ParleyError
from parley.folder import MANIFEST
from parley.implementation import implementation_of, model_of, served_name
from parley.serving.trust import Trust
from parley.signatures import read_verified


def handover(directory: Path, model: str, number: int, trust: Trust) -> bytes:
    """What the backend reads.

    Args:
        directory: the version as Triton sees it, where links lead into the repository.
        model: as Triton calls it (`parley.implementation.served_name`).

    Raises:
        ParleyError: the version is not what this site published or imported; names the file.
        OSError: a file cannot be read.
    """
    seen = directory / MANIFEST
    directory = seen.readlink().parent if seen.is_symlink() else directory
    manifest = trust.verify(directory, model_of(model), number, pinned=True)
    family = manifest["family"]
    reader = implementation_of(family, manifest.get("implementation", ""), manifest["files"])
    name = served_name(manifest["model"], family, reader, manifest.get("sizes", ""))
    if name != model:
        raise ParleyError(
            f"is read by {reader} and served as {name}, and lies under the name {model}",
            where=str(directory), mend="serve the view of the site: parley triton start",
        )  # fmt: skip
    lines = [f"input {spec['dtype']} {spec['name']}" for spec in manifest["inputs"]]
    lines += [f"output {spec['dtype']} {spec['name']}" for spec in manifest["outputs"]]
    if any(len(line.splitlines()) > 1 for line in lines):
        raise ParleyError("a tensor's name has a line break", where=str(directory), mend="export it again")
    return "".join(f"{line}\n" for line in [*lines, "graph"]).encode() + read_verified(
        directory, "model.onnx", manifest
    )


def main(arguments: list[str]) -> int:
    """Print the handover; 1 with the reason when there is none."""
    directory, model, number = arguments
    try:
        content = handover(Path(directory), model, int(number), Trust.of_environment(os.environ))
    except Exception as error:
        sys.stdout.buffer.write(" ".join(str(error).split()).encode())
        return 1
    sys.stdout.buffer.write(content)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
