"""The verbs of ``parley``. Each imports its room when it is called: ``parley doctor`` works where half the packages are
missing, and serving never imports torch. The imports are written out, so that linters and type checkers follow them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

Main = Callable[[list[str]], int | None]
"""What runs a verb: the rest of the command line in, the exit status out; None is 0."""
Loaded = Callable[[], Main]


def _doctor() -> Main:
    from cli.doctor import main

    return main


def _demo() -> Main:
    from cli.demo import main

    return main


def _serve() -> Main:
    from cli.serve import main

    return main


def _call() -> Main:
    from cli.call import main

    return main


def _check() -> Main:
    from cli.check import main

    return main


def _dataset() -> Main:
    from cli.dataset import main

    return main


def _train_stt() -> Main:
    from models.stt.train import main

    return main


def _train_nlu() -> Main:
    from models.nlu.train import main

    return main


def _train_nlg() -> Main:
    from models.nlg.train import main

    return main


def _train_tts() -> Main:
    from models.tts.train import main

    return main


def _export_stt() -> Main:
    from models.stt.export import main

    return main


def _export_nlu() -> Main:
    from models.nlu.export import main

    return main


def _export_nlg() -> Main:
    from models.nlg.export import main

    return main


def _export_tts() -> Main:
    from models.tts.export import main

    return main


def _evaluate_stt() -> Main:
    from models.stt.evaluate import main

    return main


def _evaluate_nlu() -> Main:
    from models.nlu.evaluate import main

    return main


def _evaluate_nlg() -> Main:
    from models.nlg.evaluate import main

    return main


def _evaluate_tts() -> Main:
    from models.tts.evaluate import main

    return main


def _evaluate_slu() -> Main:
    from judging.slu import main

    return main


def _bench_quality() -> Main:
    from benchmarks.quality.__main__ import main

    return main


def _bench_speed() -> Main:
    from benchmarks.speed.__main__ import main

    return main


def _publish() -> Main:
    from cli.publish import main

    return main


def _verify() -> Main:
    from cli.verify import main

    return main


def _lineage() -> Main:
    from cli.lineage import main

    return main


def _catalogue() -> Main:
    from cli.catalogue import main

    return main


def _show() -> Main:
    from cli.show import main

    return main


def _diff() -> Main:
    from cli.diff import main

    return main


def _pack() -> Main:
    from cli.pack import main

    return main


def _unpack() -> Main:
    from cli.unpack import main

    return main


def _push() -> Main:
    from cli.push import main

    return main


def _pull() -> Main:
    from cli.pull import main

    return main


def _gc() -> Main:
    from cli.gc import main

    return main


def _gate() -> Main:
    from cli.gate import main

    return main


def _releases() -> Main:
    from cli.releases import main

    return main


def _promote() -> Main:
    from cli.promote import main

    return main


def _rollback() -> Main:
    from cli.rollback import main

    return main


def _triton() -> Main:
    from cli.triton import main

    return main


def _experiment() -> Main:
    from cli.experiment import main

    return main


@dataclass(frozen=True)
class Verb:
    """One verb: what it is for, and what runs it, alone or by the word that follows."""

    text: str
    load: Loaded | None = None
    kinds: dict[str, Loaded] = field(default_factory=dict)
    """By the word that must follow: ``parley train stt``."""
    kind: str = "family"
    """What that word is called."""


VERBS: dict[str, Verb] = {
    "doctor": Verb("say what this machine lacks", _doctor),
    "demo": Verb("serve the starter versions and call them with a recording", _demo),
    "serve": Verb("answer calls: Triton, Ray Serve, the telephone wires", _serve),
    "call": Verb("call a serving Parley with recordings", _call),
    "check": Verb("say everything that is wrong with a bot file, and what of it is not trained yet", _check),
    "dataset": Verb("make a speech dataset for a bot", _dataset),
    "train": Verb(
        "train a family: stt, nlu, nlg, tts",
        kinds={"stt": _train_stt, "nlu": _train_nlu, "nlg": _train_nlg, "tts": _train_tts},
    ),
    "export": Verb(
        "export a run to a bundle",
        kinds={"stt": _export_stt, "nlu": _export_nlu, "nlg": _export_nlg, "tts": _export_tts},
    ),
    "evaluate": Verb(
        "measure a bundle; `evaluate slu` measures STT and NLU together",
        kinds={
            "stt": _evaluate_stt,
            "nlu": _evaluate_nlu,
            "nlg": _evaluate_nlg,
            "tts": _evaluate_tts,
            "slu": _evaluate_slu,
        },
    ),
    "bench": Verb(
        "measure all families: `bench quality` on data, `bench speed` the graphs",
        kinds={"quality": _bench_quality, "speed": _bench_speed},
        kind="bench",
    ),
    "publish": Verb("publish a run's bundle as the next version", _publish),
    "verify": Verb("check every version: signature, files, pin, catalogue", _verify),
    "lineage": Verb("from a version to its utterances, and back", _lineage),
    "catalogue": Verb("check, rebuild or upgrade the database of versions and releases", _catalogue),
    "show": Verb("say what is known about a version, who needs it, whether it is as signed", _show),
    "diff": Verb("say what changed between two versions", _diff),
    "pack": Verb("write a version into one file, for another site", _pack),
    "unpack": Verb("verify and take in a version that another site packed", _unpack),
    "push": Verb("bring versions and releases to the repository that sites share", _push),
    "pull": Verb("take versions and releases from the repository that sites share", _pull),
    "gc": Verb("remove versions that nothing needs, saying why each stays or goes", _gc),
    "gate": Verb("judge a release against the champion; accepted, it becomes the candidate", _gate),
    "releases": Verb("list, show and make releases; what was champion when", _releases),
    "promote": Verb("let a release answer new calls; calls in progress keep theirs", _promote),
    "rollback": Verb("let the release answer that did before", _rollback),
    "triton": Verb("start, stop and look at the Triton server", _triton),
    "experiment": Verb("start, ramp, stop, list experiments; assign ids", _experiment),
}
