"""``parley push [MODEL N]...``: bring versions to the repository that sites share; without names, everything."""

from __future__ import annotations

from cli.transfers import run_transfers
from parley.arguments import ArgumentParser
from parley.errors import ParleyError
from parley.settings import settings
from parley.typed import is_number


def main(argv: list[str]) -> int:
    """Push and print what became of each; 1 when one was refused."""
    parser = ArgumentParser(prog="parley push", description=__doc__)
    parser.add_argument("version", nargs="*", metavar="MODEL N", help="versions, each a model (or family) and a number")
    parser.add_argument("--bot", help="whose, where several bots have a family")
    args = parser.parse_args(argv)
    names, numbers = args.version[::2], args.version[1::2]
    if len(names) != len(numbers) or not all(is_number(number) for number in numbers):
        raise ParleyError("expected pairs of model and number", where="parley push", mend="parley push stt 3 nlu 2")

    from registry.housekeeping.shared import push
    from registry.housekeeping.shared_store import SharedStore
    from registry.resolve import resolve_model
    from registry.writing import open_for_writing

    store = SharedStore.at(settings())
    with open_for_writing(settings()) as registry:
        refs = [
            (resolve_model(registry, name, args.bot), int(number)) for name, number in zip(names, numbers, strict=True)
        ]
        return run_transfers("pushing", lambda report: push(registry, store, refs, report=report))
