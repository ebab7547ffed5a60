"""``parley VERB ...``: finds the verb and hands it the rest of the line.

An expected failure is one line on standard error and exit status 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cli.verbs import VERBS, Loaded, Verb
from parley.arguments import called_as
from parley.command import exit_with
from parley.errors import ParleyError
from parley.priority import step_back

STEPS_BACK = ("dataset", "train", "export", "evaluate")
"""Verbs that work for long while nobody waits: on a machine that also answers calls, they come after those."""
_TRAINING = ("torch", "transformers", "wandb", "sacrebleu", "pocketsphinx", "safetensors")


def _usage() -> str:
    lines = ["usage: parley VERB ...", ""]
    lines += [f"  {name:<12}{verb.text}" for name, verb in VERBS.items()]
    return "\n".join([*lines, "", "parley VERB --help says more."])


def _usage_of(name: str, verb: Verb) -> str:
    usage = f"usage: parley {name} {'|'.join(verb.kinds)} ..."
    return "\n".join([usage, "", verb.text, "", f"parley {name} {next(iter(verb.kinds))} --help says more."])


def _loader_of(name: str, verb: Verb, rest: list[str]) -> tuple[Loaded, list[str]]:
    if verb.load is not None:
        return verb.load, rest
    if not rest or rest[0] not in verb.kinds:
        given = rest[0] if rest else "nothing"
        mend = f"one of {', '.join(verb.kinds)}"
        raise ParleyError(f"expected a {verb.kind}, got {given}", where=f"parley {name}", mend=mend)
    return verb.kinds[rest[0]], rest[1:]


def run(argv: Sequence[str]) -> int:
    """Run a command line and return its exit status.

    Raises:
        ParleyError: an expected failure; :func:`main` words it for the user.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if argv else 2
    name, verb = argv[0], VERBS.get(argv[0])
    if verb is None:
        raise ParleyError(f"unknown verb {name!r}", where="parley", mend=f"one of {', '.join(VERBS)}")
    if verb.kinds and argv[1:2] in (["-h"], ["--help"]):
        print(_usage_of(name, verb))
        return 0
    load, rest = _loader_of(name, verb, list(argv[1:]))
    command = " ".join(["parley", *argv[: len(argv) - len(rest)]])
    try:
        verb_main = load()
    except ModuleNotFoundError as error:
        if error.name in _TRAINING:
            raise ParleyError(
                f"{error.name} is not installed", where=f"parley {name}", mend="pip install -e '.[train]'"
            ) from None
        raise
    with called_as(command):
        return verb_main(rest) or 0


def main() -> None:
    """Entry point of the ``parley`` command."""
    if sys.argv[1:2] and sys.argv[1] in STEPS_BACK:
        step_back()
    exit_with(lambda: run(sys.argv[1:]))


if __name__ == "__main__":
    main()
