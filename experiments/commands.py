"""``parley experiment start|ramp|stop|list|assign``: the product owner's hands on a terminal.

parley experiment start stt-2 --stage stt --control 1 --treatment 2 --coverage 0.1 --why "more look-ahead"
parley experiment ramp stt-2 --coverage 0.5
parley experiment stop stt-2 --why "done"
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from calls.pseudonyms import pseudonym_key, unit_of_id
from experiments import assignment
from experiments.assignment import ALGORITHMS, STAGES, Experiment, arm_of, find
from experiments.store import ExperimentStore, snapshot_of
from experiments.versions import check_start, model_of, two_arms
from parley.errors import ParleyError
from parley.files import readable_json
from parley.progress import progress
from parley.settings import Settings, settings
from parley.table import aligned
from parley.text_files import read_lines
from parley.typed import version_number
from registry import belonging
from registry.site import Registry
from registry.site import who as user
from registry.writing import open_for_writing

_BLOCK = 2000


def start(
    name: str,
    stage: str,
    control: int,
    treatment: int,
    weights: tuple[float, ...] = (0.5, 0.5),
    coverage: float = 1.0,
    who: str = "",
    why: str = "",
    *,
    bot: str | None = None,
    algorithm: str = "sha256",
    salt: str = "",
    site: Settings | None = None,
) -> Experiment:
    """Start an experiment of two published versions; every replica follows within a second.

    Raises:
        ParleyError: a rule refuses it, a version is not published, or the database does not answer.
    """
    site = site or settings()
    with open_for_writing(site), ExperimentStore.at(site) as store:  # the registry takes in what was not yet
        pseudonym_key(site)  # made now, so that `assign` says what calls will get
        with store.read() as c:
            model = model_of(c, stage, bot, (control, treatment))
            arms = two_arms(c, model, control, treatment, weights)

        def rule(known: Sequence[Experiment]) -> Experiment:
            return assignment.start(name, stage, model, arms, coverage, known, algorithm=algorithm, salt=salt)

        return store.change(who or user(), "start", why, rule, check_start)


def ramp(name: str, coverage: float, who: str = "", why: str = "", *, site: Settings | None = None) -> Experiment:
    """Change the coverage; nobody moves between arms.

    Raises:
        ParleyError: there is no such live experiment, the coverage is no share, or the database does not answer.
    """
    with _store(site or settings()) as store:
        return store.change(who or user(), "ramp", why, lambda known: assignment.ramp(find(name, known), coverage))


def stop(name: str, who: str = "", why: str = "", *, site: Settings | None = None) -> Experiment:
    """Stop it: new calls are answered by the release, calls in progress keep their versions.

    Raises:
        ParleyError: there is no such live experiment, or the database does not answer.
    """
    with _store(site or settings()) as store:
        return store.change(who or user(), "stop", why, lambda known: assignment.stop(find(name, known)))


def list_experiments(site: Settings | None = None) -> tuple[Experiment, ...]:
    """All experiments in their newest epoch. Nothing is changed.

    Raises:
        ParleyError: the database does not answer.
    """
    with Registry.as_recorded(site or settings()) as registry, registry.catalogue.read() as c:
        return snapshot_of(c).experiments


def _store(site: Settings) -> ExperimentStore:
    """The store of a site that is there: a wrong folder gets no database."""
    belonging.repository(site)
    belonging.check(site)
    return ExperimentStore.at(site)


def assign(
    ids_file: Path,
    csv_out: Path | None = None,
    *,
    bot: str | None = None,
    raw: bool = False,
    site: Settings | None = None,
) -> dict[str, Counter[str]]:
    """Write each id's arm in every live experiment: column ``id``, then one per experiment, empty where the id is
    not in.

    Args:
        ids_file: one id per line, UTF-8. An id is taken as a caller, exactly as a call from it would be; 64 hex digits
            are taken as the pseudonym they are.
        csv_out: left out, standard output.
        raw: hash the ids as they are.

    Returns:
        Experiment name to how many ids each arm has (``""``: not in).

    Raises:
        ParleyError: a file cannot be read or written, holds no id, or no experiment is live.
    """
    site = site or settings()
    live = [e for e in list_experiments(site) if e.state == "live" and bot in (None, e.bot)]
    if not live:
        raise ParleyError("no experiment is live", mend="start one: parley experiment start --help")
    key = b"" if raw else pseudonym_key(site, make=False)
    counts: dict[str, Counter[str]] = {e.name: Counter() for e in live}
    ids = _read_ids(ids_file)
    with ExitStack() as stack:
        writer = csv.writer(_open_csv(csv_out, stack), lineterminator="\n")
        writer.writerow(["id", *counts])
        with progress("assigning ids", len(ids)) as bar:
            source = iter(ids)
            while block := list(islice(source, _BLOCK)):
                for given in block:
                    unit = given if raw else unit_of_id(given, key, site.region)
                    row = [arm.name if unit and (arm := arm_of(e, unit)) else "" for e in live]
                    writer.writerow([given, *row])
                    for counter, name in zip(counts.values(), row, strict=True):
                        counter[name] += 1
                bar.advance(len(block))
    return counts


def _read_ids(path: Path) -> list[str]:
    ids = [line.strip() for line in read_lines(path) if line.strip()]
    if not ids:
        raise ParleyError("holds no id", where=str(path), mend="write one id per line")
    return ids


def _open_csv(path: Path | None, stack: ExitStack) -> TextIO:
    if path is None:
        return sys.stdout
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return stack.enter_context(path.open("w", encoding="utf-8", newline=""))
    except OSError as error:
        raise ParleyError(f"cannot be written: {error.strerror}", where=str(path), mend="name another file") from None


def experiments_table(experiments: Sequence[Experiment]) -> str:
    """The experiments, one a line."""
    rows = [("experiment", "model", "state", "coverage", "arms", "algorithm", "epoch", "config")]
    for e in experiments:
        arms = ", ".join(f"{arm.name} v{arm.version} {arm.weight:g} ({arm.digest[:8]})" for arm in e.arms)
        rows.append(
            (e.name, e.model, e.state, f"{e.coverage:g}", arms, e.algorithm, str(e.epoch), str(e.config_version))
        )
    return aligned(rows, indent="")


def counts_table(counts: dict[str, Counter[str]]) -> str:
    """How many ids each arm has."""
    rows = [("experiment", "arm", "ids", "share")]
    for name, counter in counts.items():
        total = sum(counter.values())
        rows += [(name, arm or "(not in)", str(n), f"{n / total:.4f}") for arm, n in sorted(counter.items())]
    return aligned(rows, indent="")


def _weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.replace("/", ",").split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of shares, like 0.5,0.5") from None


def _run_start(args: argparse.Namespace) -> int:
    new = start(
        args.name, args.stage, args.control, args.treatment, args.weights, args.coverage, args.who, args.why,
        bot=args.bot, algorithm=args.algorithm, salt=args.salt,
    )  # fmt: skip
    print(experiments_table([new]))
    return 0


def _run_ramp(args: argparse.Namespace) -> int:
    print(experiments_table([ramp(args.name, args.coverage, args.who, args.why)]))
    return 0


def _run_stop(args: argparse.Namespace) -> int:
    print(experiments_table([stop(args.name, args.who, args.why)]))
    return 0


def _run_list(args: argparse.Namespace) -> int:
    found = [e for e in list_experiments() if args.all or e.state == "live"]
    if args.json:
        from experiments.api import as_json  # FastAPI is loaded only where it is asked for

        print(readable_json([as_json(e) for e in found]))
    elif found:
        print(experiments_table(found))
    else:
        print("no experiment is live" if not args.all else "there was no experiment yet")
    return 0


def _run_assign(args: argparse.Namespace) -> int:
    counts = assign(args.ids, args.csv, bot=args.bot, raw=args.raw)
    print(counts_table(counts), file=sys.stderr)  # standard output may be the CSV
    return 0


def _verbs(verbs: argparse._SubParsersAction[Any]) -> Iterator[argparse.ArgumentParser]:
    """The parsers of the verbs that change something, for the arguments they share."""

    def verb(name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        parser = verbs.add_parser(name, help=text, description=text)
        parser.set_defaults(run=run)
        return parser

    parser = verb("start", "start an experiment of two published versions of one stage", _run_start)
    parser.add_argument("name", help="a new name: lower-case letters, digits and . _ -")
    parser.add_argument("--stage", required=True, choices=STAGES)
    parser.add_argument(
        "--control", required=True, type=version_number, metavar="N", help="version of the arm 'control'"
    )
    parser.add_argument(
        "--treatment", required=True, type=version_number, metavar="N", help="version of the arm 'treatment'"
    )
    parser.add_argument("--weights", type=_weights, default=(0.5, 0.5), metavar="C,T", help="shares of the arms; sum 1")
    parser.add_argument(
        "--coverage", type=float, default=1.0, metavar="SHARE", help="share of callers that are in, 0 to 1"
    )
    parser.add_argument("--bot", help="may be left out where only one bot has these versions")
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="sha256", help="gb2: GrowthBook's hash version 2")
    parser.add_argument("--salt", default="", help="left out: MODEL/NAME")
    yield parser
    parser = verb("ramp", "change the coverage; nobody moves between arms", _run_ramp)
    parser.add_argument("name")
    parser.add_argument("--coverage", required=True, type=float, metavar="SHARE", help="0 to 1")
    yield parser
    parser = verb("stop", "stop it; calls in progress keep their versions", _run_stop)
    parser.add_argument("name")
    yield parser
    parser = verb("list", "show the live experiments", _run_list)
    parser.add_argument("--all", action="store_true", help="the stopped ones too")
    parser.add_argument("--json", action="store_true")
    parser = verb("assign", "write each id's arm in every live experiment", _run_assign)
    parser.add_argument(
        "--ids", required=True, type=Path, metavar="FILE", help="one id (a caller or a pseudonym) per line"
    )
    parser.add_argument(
        "--csv", type=Path, metavar="OUT", help="columns: id, then one per experiment; left out: stdout"
    )
    parser.add_argument("--bot", help="only this bot's experiments")
    parser.add_argument(
        "--raw", action="store_true", help="hash the ids as they are, without making pseudonyms of them"
    )


def add_arguments(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Register ``experiment`` and its verbs; each parser's default ``run`` takes the namespace and returns the exit
    status."""
    text = "split a stage's traffic between two versions"
    parser = subparsers.add_parser("experiment", help=text, description=text)
    for changing in _verbs(parser.add_subparsers(dest="verb", required=True, metavar="VERB")):
        changing.add_argument("--who", default="", help="for the audit; left out: the user of this session")
        changing.add_argument("--why", default="", help="for the audit")
