"""``parley VERB ...``: finds the verb's module and hands it the rest of the line.

A verb imports what it needs when it is called, so that ``parley doctor`` works where half the packages are missing
and serving never imports torch. An expected failure is one line on standard error and exit status 2.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from parley.arguments import called_as
from parley.command import exit_with
from parley.errors import ParleyError
from parley.priority import step_back

VERBS: dict[str, tuple[str, str]] = {
    "doctor": ("parley.cli.doctor", "say what this machine lacks"),
    "demo": ("parley.cli.demo", "serve the starter versions and call them with a recording"),
    "serve": ("parley.cli.serve", "answer calls: Triton, Ray Serve, the telephone wires"),
    "call": ("parley.cli.call", "call a serving Parley with recordings"),
    "check": ("parley.cli.check", "say everything that is wrong with a bot file, and what of it is not trained yet"),
    "dataset": ("parley.cli.dataset", "make a speech dataset for a bot"),
    "train": ("models.{family}.train", "train a family: stt, nlu, nlg, tts"),
    "export": ("models.{family}.export", "export a run to a bundle"),
    "evaluate": ("models.{family}.evaluate", "measure a bundle; `evaluate slu` measures STT and NLU together"),
    "bench": ("parley.cli.bench", "measure all families: `bench quality` on data, `bench speed` the graphs"),
    "publish": ("parley.cli.publish", "publish a run's bundle as the next version"),
    "verify": ("parley.cli.verify", "check every version: signature, files, pin, catalogue"),
    "lineage": ("parley.cli.lineage", "from a version to its utterances, and back"),
    "catalogue": ("parley.cli.catalogue", "check, rebuild or upgrade the database of versions and releases"),
    "show": ("parley.cli.show", "say what is known about a version, who needs it, whether it is as signed"),
    "diff": ("parley.cli.diff", "say what changed between two versions"),
    "pack": ("parley.cli.pack", "write a version into one file, for another site"),
    "unpack": ("parley.cli.unpack", "verify and take in a version that another site packed"),
    "push": ("parley.cli.push", "bring versions and releases to the repository that sites share"),
    "pull": ("parley.cli.pull", "take versions and releases from the repository that sites share"),
    "gc": ("parley.cli.gc", "remove versions that nothing needs, saying why each stays or goes"),
    "gate": ("parley.cli.gate", "judge a release against the champion; accepted, it becomes the candidate"),
    "releases": ("parley.cli.releases", "list, show and make releases; what was champion when"),
    "promote": ("parley.cli.promote", "let a release answer new calls; calls in progress keep theirs"),
    "rollback": ("parley.cli.rollback", "let the release answer that did before"),
    "triton": ("parley.cli.triton", "start, stop and look at the Triton server"),
    "experiment": ("parley.cli.experiment", "start, ramp, stop, list experiments; assign ids"),
}
STEPS_BACK = ("dataset", "train", "export", "evaluate")
"""Verbs that work for long while nobody waits: on a machine that also answers calls, they come after those."""
_FAMILIES = ("stt", "nlu", "nlg", "tts")


def _usage() -> str:
    lines = ["usage: parley VERB ...", ""]
    lines += [f"  {verb:<12}{text}" for verb, (_, text) in VERBS.items()]
    return "\n".join([*lines, "", "parley VERB --help says more."])


def _families(verb: str) -> list[str]:
    return [*_FAMILIES, *(["slu"] if verb == "evaluate" else [])]


def _family_usage(verb: str) -> str:
    usage = f"usage: parley {verb} {'|'.join(_families(verb))} ..."
    return "\n".join([usage, "", VERBS[verb][1], "", f"parley {verb} stt --help says more."])


def _module_of(verb: str, rest: list[str]) -> tuple[str, list[str]]:
    module, _ = VERBS[verb]
    if "{family}" not in module:
        return module, rest
    known = _families(verb)
    if not rest or rest[0] not in known:
        given = rest[0] if rest else "nothing"
        raise ParleyError(f"expected a family, got {given}", where=f"parley {verb}", mend=f"one of {', '.join(known)}")
    if rest[0] == "slu":
        return "benchmarks.slu", rest[1:]
    return module.format(family=rest[0]), rest[1:]


def run(argv: Sequence[str]) -> int:
    """Run a command line and return its exit status.

    Raises:
        ParleyError: an expected failure; :func:`main` words it for the user.
    """
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(_usage())
        return 0 if argv else 2
    if argv[0] not in VERBS:
        raise ParleyError(f"unknown verb {argv[0]!r}", where="parley", mend=f"one of {', '.join(VERBS)}")
    if "{family}" in VERBS[argv[0]][0] and argv[1:2] in (["-h"], ["--help"]):
        print(_family_usage(argv[0]))
        return 0
    name, rest = _module_of(argv[0], list(argv[1:]))
    command = " ".join(["parley", *argv[: len(argv) - len(rest)]])
    try:
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name in ("torch", "transformers", "wandb", "sacrebleu", "pocketsphinx", "safetensors"):
            raise ParleyError(
                f"{error.name} is not installed", where=f"parley {argv[0]}", mend="pip install -e '.[train]'"
            ) from None
        raise
    with called_as(command):
        return module.main(rest) or 0


def main() -> None:
    """Entry point of the ``parley`` command."""
    if sys.argv[1:2] and sys.argv[1] in STEPS_BACK:
        step_back()
    exit_with(lambda: run(sys.argv[1:]))


if __name__ == "__main__":
    main()
