"""``parley experiment start|ramp|stop|list|assign``."""

from __future__ import annotations

from parley.arguments import ArgumentParser


def main(argv: list[str]) -> int:
    """Hand the line to the experiments' own commands."""
    from experiments.commands import add_arguments

    parser = ArgumentParser(prog="parley")
    add_arguments(parser.add_subparsers(required=True))
    args = parser.parse_args(["experiment", *argv])
    return int(args.run(args) or 0)
