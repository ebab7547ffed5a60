"""``parley catalogue check|rebuild|upgrade``: the database that knows every version and release of this site."""

from __future__ import annotations

from parley.arguments import ArgumentParser
from parley.settings import settings


def main(argv: list[str]) -> int:
    """Check the catalogue against the repository, fill it from there, or bring its tables up to date."""
    parser = ArgumentParser(prog="parley catalogue", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("check", help="say where catalogue and repository disagree; exit 1 when they do")
    verbs.add_parser("rebuild", help="take in what the repository holds: after the database was lost or restored")
    verbs.add_parser("upgrade", help="bring the tables up to date; every command does so by itself")
    return {"check": _check, "rebuild": _rebuild, "upgrade": _upgrade}[parser.parse_args(argv).verb]()


def _check() -> int:
    from registry.home import Registry, check

    with Registry.at(settings(), mend=False) as registry:
        found = check(registry)
        where = registry.catalogue.where
    for words in found:
        print(words)
    if not found:
        print(f"catalogue and repository agree ({where})")
    return 1 if found else 0


def _rebuild() -> int:
    from registry.home import Registry, rebuild

    with Registry.at(settings(), mend=False) as registry:
        report = rebuild(registry)
    for words in report.done:
        print(words)
    print(f"{report.versions} versions and {report.releases} releases are known")
    return 0


def _upgrade() -> int:
    from parley.database import newest_migration
    from registry.catalogue import Catalogue

    with Catalogue.at(settings()) as catalogue:  # opening it migrates
        print(f"{catalogue.where}: migration {newest_migration()}, the newest")
    return 0
