"""``parley publish RUN``: make an exported run the next version of its model."""

from __future__ import annotations

import argparse
from pathlib import Path

from parley.bundle import read_manifest
from parley.settings import settings


def main(argv: list[str]) -> int:
    """Publish each run's bundle and print its model and version."""
    parser = argparse.ArgumentParser(prog="parley publish", description=__doc__)
    parser.add_argument("run", type=Path, nargs="+", help="run directory, or a bundle directory itself")
    args = parser.parse_args(argv)

    from registry.publish import publish

    for run in args.run:
        bundle = run / "bundle" if (run / "bundle").is_dir() else run
        number = publish(bundle, settings().repo_dir)
        print(f"{read_manifest(bundle).model} version {number}")
    return 0
