"""``parley catalogue check|rebuild|restore|adopt-repository|upgrade``: the database that knows every version and
release of this site, and what was set aside because it did not fit into it."""

from __future__ import annotations

from parley.arguments import ArgumentParser
from parley.settings import settings
from parley.typed import version_number
from registry.catalogue import Catalogue


def main(argv: list[str]) -> int:
    """Check the catalogue against the repository, fill it from there, or bring its tables up to date."""
    parser = ArgumentParser(prog="parley catalogue", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("check", help="say where catalogue and repository disagree; exit 1 when they do")
    verbs.add_parser("rebuild", help="take in what the repository holds: after the database was lost or restored")
    restore = verbs.add_parser("restore", help="put a version back that was set aside; without a model, list them")
    restore.add_argument("model", nargs="?", help="a model's folder: barista_stt")
    restore.add_argument("number", nargs="?", type=version_number, metavar="N", help="default: all of the model's")
    verbs.add_parser("adopt-repository", help="make the repository this site's, whoever it belonged to")
    verbs.add_parser("upgrade", help="bring the tables up to date; every command that writes does so by itself")
    args = parser.parse_args(argv)
    if args.verb == "restore":
        return _restore(args.model, args.number)
    return {"check": _check, "rebuild": _rebuild, "adopt-repository": _adopt, "upgrade": _upgrade}[args.verb]()


def _check() -> int:
    from registry.recovery import check
    from registry.site import Registry

    with Registry.as_recorded(settings()) as registry:
        found = check(registry)
        where = registry.catalogue.where
    for words in found:
        print(words)
    if not found:
        print(f"catalogue and repository agree ({where})")
    return 1 if found else 0


def _rebuild() -> int:
    from registry.recovery import rebuild
    from registry.site import Registry

    with Registry.unmended(settings()) as registry:
        report = rebuild(registry)
    for words in report.done:
        print(words)
    print(f"{report.versions} versions and {report.releases} releases are known")
    return 0


def _restore(model: str | None, number: int | None) -> int:
    from registry.site import Registry
    from registry.versions.mending import put_back, set_aside

    if model is None:
        with Registry.as_recorded(settings()) as registry:
            kept = set_aside(registry.repo)
        for name, n, path in kept:
            print(f"{name} {n}: {path}")
        if not kept:
            print("nothing is set aside")
        return 0
    with Registry.unmended(settings()) as registry:
        numbers = {n for _, n, _ in set_aside(registry.repo, model, number)} or {number or 0}
        for n in sorted(numbers):
            print(put_back(registry, model, n), flush=True)
    return 0


def _adopt() -> int:
    from registry import belonging
    from registry.binding import adopt
    from registry.recovery import mend
    from registry.site import Registry

    site = settings()
    repo = belonging.repository(site)
    with Registry(site, repo, Catalogue.at(site)) as registry:
        before = adopt(registry)
        done = mend(registry)
    for words in done:
        print(words)
    was = f"; it belonged to the site whose state is in {before.state_dir} on {before.host}" if before else ""
    print(f"{repo.absolute()} is this site's repository now{was}")
    return 0


def _upgrade() -> int:
    from parley.database import newest_migration
    from registry import belonging

    belonging.repository(settings())  # a wrong folder gets no database
    with Catalogue.at(settings()) as catalogue:  # opening it migrates
        print(f"{catalogue.where}: migration {newest_migration()}, the newest")
    return 0
