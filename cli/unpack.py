"""``parley unpack FILE...``: take in versions that another site packed, once their signatures are verified."""

from __future__ import annotations

from pathlib import Path

from parley.arguments import ArgumentParser
from parley.progress import progress
from parley.settings import settings


def main(argv: list[str]) -> int:
    """Unpack each file and print what became of it."""
    parser = ArgumentParser(prog="parley unpack", description=__doc__)
    parser.add_argument("file", type=Path, nargs="+")
    parser.add_argument("--why", default="", help="kept with the version in the audit")
    args = parser.parse_args(argv)

    from registry.housekeeping.archive import unpack
    from registry.writing import open_for_writing

    with open_for_writing(settings(), new=True) as registry, progress("unpacking", len(args.file)) as bar:
        for file in args.file:
            found = unpack(registry, file, why=args.why)
            bar.advance()
            print(f"{found.model} version {found.number}: {found.outcome}", flush=True)
    return 0
