"""``parley pack MODEL N FILE``: a version as one file, for another site. FILE.gz and FILE.tgz are compressed."""

from __future__ import annotations

from pathlib import Path

from parley.arguments import ArgumentParser
from parley.progress import progress
from parley.settings import settings
from parley.typed import version_number


def main(argv: list[str]) -> int:
    """Verify a version and write it into one file."""
    parser = ArgumentParser(prog="parley pack", description=__doc__)
    parser.add_argument("model", help="a model (barista_stt), or a family (stt) where one bot has it")
    parser.add_argument("number", type=version_number)
    parser.add_argument("file", type=Path)
    parser.add_argument("--bot", help="whose, where several bots have the family")
    args = parser.parse_args(argv)

    from registry.housekeeping.archive import pack
    from registry.reading import open_for_reading
    from registry.resolve import resolve_model
    from registry.versions.signing import public_key

    with open_for_reading(settings()) as registry, progress("packing") as bar:
        model = resolve_model(registry, args.model, args.bot)
        path = pack(registry, model, args.number, args.file)
        bar.advance()
        key = public_key(registry.site)
    print(f"{path} {path.stat().st_size} bytes: {model} version {args.number}")
    print(f"A site that does not trust this one yet needs {key} in its folder of trusted keys.")
    return 0
