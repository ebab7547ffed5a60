"""The NLU on public corpora: `python -m benchmarks.quality.nlu --data DIR --runs runs/nlu --out DIR`.

``--data`` holds the folders ``snips``, ``atis``, ``banking77``, ``clinc150``; ``--runs`` the finished trainings
``<corpus>-<seed>`` of `models.nlu.fit` or `models.nlu.pretrained_fit`, all of one configuration a corpus. Each is
exported, its test split is answered by ONNX Runtime on one thread, sentence by sentence, and timed. Means over the
runs, the spread between them, and the 95 % interval over sentences of the middle run are printed beside published
figures, which are not measured here.
"""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.quality.nlu_errors import errors
from benchmarks.quality.nlu_report import draw, markdown
from models.exporting import session
from models.nlu.corpora import CLINC_OUT_OF_SCOPE, Corpus, Sentence, read_corpus
from models.nlu.corpus_client import Reader
from models.nlu.corpus_export import bundle_of, export_corpus
from models.nlu.judge import Answer, figures, out_of_scope_figures
from models.nlu.out_of_scope import PLAIN, Threshold, choose_thresholds
from models.nlu.pretrained_export import PretrainedClient, export_tuned
from models.run_directory import check_data, environment, git_lineage, told_params
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_atomic, write_json
from parley.progress import progress
from parley.runs import Run

CORPORA = ("snips", "atis", "banking77", "clinc150")
PRECISIONS = ("fp32", "fp16", "int8")


class Parser(Protocol):
    """What answers a sentence."""

    def parse(self, words: Sequence[str]) -> Answer:
        """Understand one sentence of at least one word."""
        ...


class LocalParser:
    """An exported run in this process, on one thread and without an engine: what is timed is the model alone."""

    def __init__(self, bundle: Path) -> None:
        self._reader, self._session = Reader(bundle), session(bundle / "model.onnx")

    def parse(self, words: Sequence[str]) -> Answer:
        """Understand one sentence of at least one word."""
        intents, *tags = self._session.run(None, self._reader.feeds(words))
        return self._reader.answer(words, self._reader.scores(words, intents[0]), tags[0][0] if tags else None)


def runs_of(folder: Path, corpus: str) -> list[Path]:
    """The finished runs of a corpus.

    Raises:
        ParleyError: they are not of one configuration.
    """
    found = sorted(path.parent for path in folder.glob(f"{corpus}-*/best"))
    settings = {str(told_params(Run.open(path))) for path in found}
    if len(settings) > 1:
        raise ParleyError("the runs differ in more than their seeds", where=f"{folder}/{corpus}-*",
                          mend="keep one configuration in the folder")  # fmt: skip
    return found


def exported(path: Path, corpus: Corpus, precision: str) -> tuple[Parser, dict[str, Any]]:
    """A run's export at a precision, opened, and how far it is from torch.

    Raises:
        ParleyError: it is too far.
    """
    if Run.open(path).params["family"] == "nlu-pretrained":
        parity = export_tuned(path, corpus.valid, precision)
        return PretrainedClient(bundle_of(path, precision), corpus.intents), parity
    parity = export_corpus(path, corpus.valid, precision)
    return LocalParser(bundle_of(path, precision)), parity


def answer_all(client: Parser, rows: Sequence[Sentence]) -> tuple[list[Answer], list[float]]:
    """Answers one by one, and the milliseconds each took from words to answer."""
    for row in rows[:20]:
        client.parse(row.words)
    answers, took_ms = [], []
    for row in rows:
        start = time.perf_counter()
        answers.append(client.parse(row.words))
        took_ms.append((time.perf_counter() - start) * 1000)
    return answers, took_ms


def judged(rows: Sequence[Sentence], answers: Sequence[Answer], threshold: Threshold | None) -> dict[str, Any]:
    """Figures of a split; with a threshold also those out of scope."""
    if threshold is None:
        return figures(rows, answers)
    answers = threshold.apply(answers)
    return {**figures(rows, answers), **out_of_scope_figures(rows, answers)}


def measure_run(path: Path, corpus: Corpus, precisions: Sequence[str]) -> dict[str, Any]:
    """Test figures, latency and size of one run at each precision; threshold and errors from validation alone."""
    found: dict[str, Any] = {"run": path.name, "parameters": Run.open(path).figures()["parameters"]}
    for precision in precisions:
        try:
            client, parity = exported(path, corpus, precision)
        except ParleyError as error:
            found[precision] = {"refused": str(error)}
            continue
        valid, _ = answer_all(client, corpus.valid)
        thresholds = choose_thresholds(corpus.valid, valid)
        answers, took_ms = answer_all(client, corpus.test)
        entry: dict[str, Any] = {
            "parity": parity["max_abs_error"],
            "megabytes": round((bundle_of(path, precision) / "model.onnx").stat().st_size / 1e6, 2),
            "latency_ms": {f"p{q}": round(float(np.percentile(took_ms, q)), 3) for q in (50, 95)},
            "valid": judged(corpus.valid, valid, thresholds.get("best_overall")),
            "test": judged(corpus.test, answers, thresholds.get("best_overall")),
        }
        for name, threshold in thresholds.items():
            entry[f"test_{name}"] = judged(corpus.test, answers, threshold) | {"threshold": threshold.value}
        found[precision] = entry
        if precision == "fp32":
            found["errors"] = errors(corpus.valid, PLAIN.apply(valid))
    return found


def summarise(measured: Sequence[dict[str, Any]], part: str = "test") -> dict[str, Any]:
    """Mean, smallest and largest of each figure over the runs, and the interval of the run in the middle."""
    tests = [run["fp32"][part] for run in measured]
    summary: dict[str, Any] = {}
    for name in (key for key in tests[0] if not key.endswith("_interval") and key not in ("sentences", "threshold")):
        values = [test[name] for test in tests]
        middle = tests[int(np.argsort(values)[len(values) // 2])]
        summary[name] = {"mean": round(float(np.mean(values)), 5), "min": min(values), "max": max(values),
                         "interval": middle.get(f"{name}_interval"), "runs": len(values)}  # fmt: skip
    return summary


def measure(data: Path, runs: Path, precisions: Sequence[str]) -> dict[str, Any]:
    """Everything there is a run for.

    Raises:
        ParleyError: there is no finished run at all, or a corpus has changed since its training.
    """
    report: dict[str, Any] = {}
    work = [(name, path) for name in CORPORA for path in runs_of(runs, name)]
    if not work:
        raise ParleyError("no finished run", where=str(runs), mend="train with models.nlu.fit --out RUNS/<corpus>-1")
    with progress("nlu", len(work)) as bar:
        for name in dict.fromkeys(name for name, _ in work):
            corpus = read_corpus(data / name)
            measured = []
            for path in (path for of, path in work if of == name):
                check_data(Run.open(path), corpus.digest, str(data / name))
                measured.append(measure_run(path, corpus, precisions))
                bar.advance()
            parts = [p for p in measured[0]["fp32"] if p.startswith(("test", "valid"))]
            params = told_params(Run.open(runs_of(runs, name)[0]))
            rows = {"train": len(corpus.train), "valid": len(corpus.valid), "test": len(corpus.test)}
            outside = sum(row.intent == CLINC_OUT_OF_SCOPE for row in corpus.test)
            report[name] = {"rows": rows, "out_of_scope_rows": outside, "params": params, "runs": measured,
                            "summary": {part: summarise(measured, part) for part in parts}}  # fmt: skip
    return report


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, measure, print and write. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--runs", type=Path, default=Path("runs/nlu"), help="folder of the finished trainings")
    parser.add_argument("--out", type=Path, required=True, help="folder of NAME.json, NAME.md, NAME.png")
    parser.add_argument("--name", default="nlu", help="of the report's files (default nlu)")
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    args = parser.parse_args(argv)
    measured = measure(args.data, args.runs, list(dict.fromkeys(["fp32", *args.precisions])))
    machine = {"cpus": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()}
    header = {"command": " ".join(["python -m benchmarks.quality.nlu", *(argv or sys.argv[1:])]), "machine": machine,
              "environment": environment(), **git_lineage()}  # fmt: skip
    report = {"header": header, "corpora": measured}
    write_json(args.out / f"{args.name}.json", report)
    write_atomic(args.out / f"{args.name}.md", markdown(report) + "\n")
    draw(report, args.out / f"{args.name}.png")
    print(markdown(report))
    return 0


if __name__ == "__main__":
    exit_with(main)
