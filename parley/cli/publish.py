"""``parley publish RUN...``: make exported runs the next versions of their models; a running server loads them."""

from __future__ import annotations

import argparse
from pathlib import Path

from parley.bundle import read_manifest
from parley.progress import progress
from parley.settings import settings


def main(argv: list[str]) -> int:
    """Publish each run's bundle and print its model and version."""
    parser = argparse.ArgumentParser(prog="parley publish", description=__doc__)
    parser.add_argument("run", type=Path, nargs="+", help="run directory, or a bundle directory itself")
    parser.add_argument("--why", default="", help="kept with the version in the audit")
    args = parser.parse_args(argv)

    from registry.home import Registry
    from registry.publish import publish

    with Registry.at(settings()) as registry, progress("publishing", len(args.run)) as bar:
        for run in args.run:
            bundle = run / "bundle" if (run / "bundle").is_dir() else run
            number = publish(bundle, registry, why=args.why)
            bar.advance()
            print(f"{read_manifest(bundle).model} version {number}", flush=True)
    return 0
