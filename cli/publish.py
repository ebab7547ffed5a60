"""``parley publish RUN...``: make exported runs the next versions of their models; a running server loads them."""

from __future__ import annotations

from pathlib import Path

from parley.arguments import ArgumentParser
from parley.bundle import read_manifest
from parley.errors import ParleyError
from parley.progress import progress
from parley.settings import settings


def main(argv: list[str]) -> int:
    """Publish each run's bundle and print its model and version."""
    parser = ArgumentParser(prog="parley publish", description=__doc__)
    parser.add_argument("run", type=Path, nargs="+", help="run directory, or a bundle directory itself")
    parser.add_argument("--why", default="", help="kept with the version in the audit")
    args = parser.parse_args(argv)

    bundles = [run / "bundle" if (run / "bundle").is_dir() else run for run in args.run]
    for bundle in bundles:
        read_manifest(bundle)  # a wrong path opens nothing

    from registry.served import ServedView
    from registry.versions.publish import publish
    from registry.writing import open_for_writing

    with open_for_writing(settings(), new=True) as registry, progress("publishing", 2 * len(args.run)) as bar:
        for bundle in bundles:
            number = publish(bundle, registry, why=args.why)
            model = read_manifest(bundle).model
            bar.advance()
            print(f"{model} version {number}", flush=True)
            try:
                ServedView(registry).ensure([(model, number)])  # only checks where no server runs
            except ParleyError as error:
                mend = f"it is published; {error.mend}" if error.mend else "it is published; see parley triton logs"
                raise ParleyError(f"not served: {error.what}", where=error.where, mend=mend) from None
            bar.advance()
    return 0
