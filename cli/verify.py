"""``parley verify``: is everything in the repository what was signed, and what the catalogue took in?"""

from __future__ import annotations

import sys
from pathlib import Path

from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.progress import progress
from parley.settings import settings


def main(argv: list[str]) -> int:
    """Check every version; status 1 and the file's name when anything differs."""
    parser = ArgumentParser(prog="parley verify", description=__doc__)
    parser.add_argument(
        "--repository", type=Path, help="default: this site's; of another, signatures and files are checked"
    )
    args = parser.parse_args(argv)

    from registry.catalogue import Catalogue
    from registry.layout import model_directories, version_numbers
    from registry.site import Registry
    from registry.versions.verification import remnants, verify_repository

    site = settings()
    repo = args.repository or Path(site.repo_dir)
    if not repo.is_dir():
        raise ParleyError("no such repository", where=str(repo), mend="give the folder that holds the models")
    count = sum(len(version_numbers(directory)) for directory in model_directories(repo))
    problems = checked = 0
    own = repo.resolve() == Path(site.repo_dir).resolve()
    # Of another site's repository only the keys of this one are asked, which may have no repository yet.
    opened = Registry.as_recorded(site) if own else Registry(site, Path(site.repo_dir), Catalogue.look(site))
    with opened as registry, progress("verifying", count) as bar:
        for found in verify_repository(registry, repo):
            bar.advance()
            checked += 1
            if found.problem:
                problems += 1
                print(f"{found.model} version {found.number}: {found.problem}", flush=True)
            elif found.note:
                print(f"{found.model} version {found.number}: {found.note}", file=sys.stderr)
    for words in remnants(repo):
        print(words, file=sys.stderr)
    if problems:
        print(f"{problems} of {checked} versions differ")
        return 1
    print(f"{checked} versions verified: signatures, files, identity{_scope(repo, Path(site.repo_dir))}")
    return 0


def _scope(repo: Path, own: Path) -> str:
    return ", pins, catalogue" if repo.resolve() == own.resolve() else ""
