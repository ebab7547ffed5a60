"""``parley pull [MODEL [N]]``: take versions from the repository that sites share; without a name, everything."""

from __future__ import annotations

from cli.transfers import run_transfers
from parley.arguments import ArgumentParser
from parley.bundle import FAMILIES
from parley.settings import settings
from parley.typed import version_number


def main(argv: list[str]) -> int:
    """Pull and print what became of each; 1 when one was refused."""
    parser = ArgumentParser(prog="parley pull", description=__doc__)
    parser.add_argument("model", nargs="?", help="a model (barista_stt), or a family (stt) that is known here")
    parser.add_argument("number", type=version_number, nargs="?", help="default: all of its versions")
    args = parser.parse_args(argv)

    from registry.housekeeping.shared import pull
    from registry.housekeeping.shared_store import SharedStore
    from registry.resolve import resolve_model
    from registry.writing import open_for_writing

    store = SharedStore.at(settings())
    with open_for_writing(settings(), new=True) as registry:
        model = resolve_model(registry, args.model) if args.model in FAMILIES else args.model
        return run_transfers("pulling", lambda report: pull(registry, store, model, args.number, report=report))
