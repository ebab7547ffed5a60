"""How long publishing takes beside what it cannot do without: hashing the bundle and copying it to the disk.

    python -m benchmarks.publishing [--rounds 9] [--megabytes 20]

Both are timed in turns in one process that has published before (the first publish of a process also imports the
signing library; it is reported as `first_s`). The floor hashes each file while it copies it, and syncs every file and
the folder, as publishing must; publishing also inspects, signs, renames, catalogues and pins.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from parley.arguments import ArgumentParser
from parley.bundle import Lineage, Manifest, TensorSpec, write_bundle
from parley.command import exit_with
from parley.files import fsync_dir
from parley.folder import list_files
from parley.settings import Settings
from parley.utterances import Utterances, of_texts, write_utterances
from registry.versions.publish import publish
from registry.writing import open_for_writing

_WIDTH = 512


def measure_publish(rounds: int = 9, megabytes: int = 20) -> dict[str, Any]:
    """Medians in seconds and their ratio, measured in a process of its own: `publish_s`, `copy_s`, `ratio`, …"""
    command = [sys.executable, "-m", "benchmarks.publishing", "--rounds", str(rounds), "--megabytes", str(megabytes)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WANDB_MODE": "disabled"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True, env=environment)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def make_bundle(directory: Path, megabytes: int) -> int:
    """A bundle of about so many megabytes, weights for the most part, and its exact size."""
    directory.mkdir(parents=True)
    rng = np.random.default_rng(7)
    layers = max(1, (megabytes << 20) // (_WIDTH * _WIDTH * 4))
    nodes, weights = [], []
    for layer in range(layers):
        array = rng.standard_normal((_WIDTH, _WIDTH), dtype=np.float32)
        weights.append(numpy_helper.from_array(array, f"w{layer}"))
        nodes.append(helper.make_node("MatMul", [f"x{layer}", f"w{layer}"], [f"x{layer + 1}"]))
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["b", _WIDTH]) for name in ("x0", f"x{layers}")]
    graph = helper.make_graph(nodes, "layers", values[:1], values[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, str(directory / "model.onnx"))
    (directory / "labels.json").write_text(json.dumps([f"label {n}" for n in range(300)]), encoding="utf-8")
    dataset = hashlib.sha256(b"benchmark").hexdigest()
    rows = of_texts([("train", (f"sentence {n}" for n in range(1000)))])
    write_utterances(directory, Utterances(dataset, "bench", "CC0", tuple(rows)))
    specs = [TensorSpec(name=name, dtype="FP32", dims=[_WIDTH]) for name in ("x0", f"x{layers}")]
    manifest = Manifest(
        family="nlu", bot="bench", model="bench_nlu", inputs=specs[:1], outputs=specs[1:],
        lineage=Lineage(dataset_digest=dataset),
    )  # fmt: skip
    write_bundle(directory, manifest)
    return sum(path.stat().st_size for path in list_files(directory).values())


def hash_and_copy(bundle: Path, target: Path) -> None:
    """The floor: every file hashed while it is copied, everything on the disk at the end."""
    target.mkdir()
    for name, source in list_files(bundle).items():
        digest = hashlib.sha256()
        with source.open("rb", buffering=0) as read, (target / name).open("wb") as write:
            while chunk := read.read(1 << 20):
                digest.update(chunk)
                write.write(chunk)
            write.flush()
            os.fsync(write.fileno())
    fsync_dir(target)
    fsync_dir(target.parent)


def _measure(folder: Path, rounds: int, megabytes: int) -> dict[str, Any]:
    bundle = folder / "bundle"
    size = make_bundle(bundle, megabytes)
    site = Settings(
        bots_dir=folder / "bots", repo_dir=folder / "repo", state_dir=folder / "var", trusted_keys_dir=folder / "keys"
    )
    publishing: list[float] = []
    copying: list[float] = []
    site.repo_dir.mkdir(parents=True)
    with open_for_writing(site) as registry:
        first = _timed(lambda: publish(bundle, registry))
        for turn in range(rounds):
            copying.append(_timed(lambda turn=turn: hash_and_copy(bundle, folder / f"copy{turn}")))
            publishing.append(_timed(lambda: publish(bundle, registry)))
    published, copied = statistics.median(publishing), statistics.median(copying)
    return {
        "bytes": size, "rounds": rounds, "publish_s": round(published, 4), "copy_s": round(copied, 4),
        "ratio": round(published / copied, 3),
        "ratio_by_round": [round(p / c, 2) for p, c in zip(publishing, copying, strict=True)],
        "first_s": round(first, 3),
    }  # fmt: skip


def _timed(act: Any) -> float:
    begun = time.perf_counter()
    act()
    return time.perf_counter() - begun


def main(argv: list[str] | None = None) -> int:
    """Measure and print JSON."""
    parser = ArgumentParser(description="Publishing beside copying.")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--megabytes", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: a temporary folder")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        print(json.dumps(_measure(Path(folder), options.rounds, options.megabytes)))
    return 0


if __name__ == "__main__":
    exit_with(main)
