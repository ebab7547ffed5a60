"""The NLG on cleaned E2E: `python -m benchmarks.quality.nlg --data DIR --runs runs/nlg-1 … --split test --out DIR`.

``--data`` holds ``devel.csv``, ``test.csv`` and ``peer_outputs/<system>.run<n>.txt`` (a text a line, for the
meanings of the test in order of first appearance); ``--runs`` are finished runs of `models.nlg.fit`, of one
configuration. Each is exported, says every meaning of the split through `CorpusClient` and ONNX Runtime on one thread,
one at a time, and is scored with the peers by the same code: sacreBLEU and slot errors, with 95 % intervals over
meanings. ``--split valid`` (the usual one) looks at the validation part of ``devel.csv`` only, where no peer has
outputs.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import sacrebleu

from benchmarks.quality.nlg_report import write_report
from models.nlg.corpora import Meaning, by_meaning, read_references
from models.nlg.corpus_client import CorpusClient
from models.nlg.corpus_export import bundle_of, export_corpus
from models.nlg.fit import splits
from models.nlg.realisations import Patterns
from models.nlg.scoring import bleu_of, bleu_statistics, drawn_bleu, figures, interval
from models.run_directory import environment, git_lineage
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.runs import Run
from parley.serving.onnx_engine import OnnxEngine
from parley.text_files import read_lines

SIGNATURE = f"nrefs:var|case:mixed|eff:no|tok:13a|smooth:exp|version:{sacrebleu.__version__}"
_MEANS = ("bleu", "bleu_lowercase", "length_ratio", "slot_error_rate", "missing", "added", "wrong",
          "replies_without_error")  # fmt: skip
References = Mapping[Meaning, Sequence[str]]


def read_peers(folder: Path) -> dict[str, list[list[str]]]:
    """The outputs of each system, a list a run."""
    found: dict[str, list[list[str]]] = defaultdict(list)
    for path in sorted(folder.glob("*.run*.txt")):
        found[path.name.split(".run")[0]].append(read_lines(path))
    return dict(found)


def merged(references: References) -> dict[Meaning, list[str]]:
    """Meanings as a system sees them that keeps one value a slot, the last: those that become alike are one.

    This is how SC-LSTM's lines are to be read: its 1,800 are exactly these, in order of first appearance.
    """
    found: dict[Meaning, list[str]] = {}
    for meaning, texts in references.items():
        found.setdefault(tuple(dict(meaning).items()), []).extend(texts)
    return found


def aligned(lines: Sequence[str], references: References, name: str) -> References:
    """The meanings that a system's lines are for.

    Raises:
        ParleyError: their number fits neither the meanings nor the merged ones.
    """
    for candidate in (references, merged(references)):
        if len(candidate) == len(lines):
            return candidate
    raise ParleyError(f"{len(lines)} lines for {len(references)} meanings", where=name, mend="give a line a meaning")


async def say_all(bundle: Path, meanings: Sequence[Meaning]) -> tuple[list[str], dict[str, Any]]:
    """Every meaning said by a bundle, and how fast."""
    async with OnnxEngine.from_bundle(bundle, threads=1) as engine:
        client = CorpusClient(bundle, engine)
        for meaning in meanings[:5]:
            await client.say(meaning)
        before, texts, took_ms = asdict(client.counts), [], []
        with progress("say", len(meanings)) as bar:
            for meaning in meanings:
                start = time.perf_counter()
                texts.append((await client.say(meaning)).text)
                took_ms.append((time.perf_counter() - start) * 1000)
                bar.advance()
    counts = {name: value - before[name] for name, value in asdict(client.counts).items()}
    return texts, {**counts, "tokens_per_s": round(counts["tokens"] / sum(took_ms) * 1000, 1),
                   "latency_ms": {f"p{q}": round(float(np.percentile(took_ms, q)), 2) for q in (50, 95)}}  # fmt: skip


def serve(
    runs: Sequence[Path], precision: str, meanings: Sequence[Meaning]
) -> tuple[list[list[str]], list[dict[str, Any]]]:
    """Export every run at a precision and let it say the meanings: texts and speeds, a run each.

    Raises:
        ParleyError: a run is not finished, or its graph is too far from torch at that precision.
    """
    texts, speeds = [], []
    for path in runs:
        export_corpus(path, precision)
        bundle = bundle_of(path, precision)
        said, speed = asyncio.run(say_all(bundle, meanings))
        texts.append(said)
        speeds.append({"run": path.name, "parameters": Run.open(path).figures()["parameters"], **speed,
                       "megabytes": round((bundle / "model.onnx").stat().st_size / 1e6, 2)})  # fmt: skip
    return texts, speeds


def sliced(texts: Sequence[str], references: References, patterns: Patterns) -> dict[str, Any]:
    """Figures by the number of slots, and over the meanings without and with second values of a slot."""
    parts: dict[str, list[int]] = defaultdict(list)
    for i, meaning in enumerate(references):
        parts[f"{len(meaning)} slots"].append(i)
        parts["a slot with two values" if len(dict(meaning)) < len(meaning) else "one value a slot"].append(i)
    meanings = list(references)
    return {
        name: figures([texts[i] for i in at], {meanings[i]: references[meanings[i]] for i in at}, patterns, 200)
        for name, at in sorted(parts.items(), key=lambda part: (part[0][:1].isalpha(), len(part[0]), part[0]))
    }


def score(runs: Sequence[Sequence[str]], references: References, patterns: Patterns) -> dict[str, Any]:
    """Figures of a system: each run's, the mean of the runs, and slices of the run in the middle by BLEU."""
    found = [figures(texts, references, patterns) for texts in runs]
    middle = int(np.argsort([one["bleu"] for one in found])[len(found) // 2])
    mean = {name: round(float(np.mean([one[name] for one in found])), 5) for name in _MEANS}
    statistics = [bleu_statistics(texts, list(references.values())) for texts in runs]
    drawn = np.mean([drawn_bleu(one) for one in statistics], 0)
    return {"runs": found, "mean": {**mean, "bleu_interval": interval(drawn)},
            "slices": sliced(runs[middle], references, patterns)}  # fmt: skip


def against(
    ours: Sequence[Sequence[str]], theirs: Sequence[Sequence[str]], references: References, *, lowercase: bool = False
) -> dict[str, Any]:
    """Paired bootstrap (Koehn 2004) of the difference of two systems' BLEU, each the mean of its runs."""
    drawn, value = [], []
    for runs in (ours, theirs):
        statistics = [bleu_statistics(texts, list(references.values()), lowercase=lowercase) for texts in runs]
        drawn.append(np.mean([drawn_bleu(one) for one in statistics], 0))
        value.append(float(np.mean([bleu_of(one.sum(0)) for one in statistics])))
    return {"bleu_difference": round(value[0] - value[1], 3), "interval": interval(drawn[0] - drawn[1]),
            "share_of_draws_not_below": round(float((drawn[0] >= drawn[1]).mean()), 4)}  # fmt: skip


def samples(texts: Sequence[str], references: References, patterns: Patterns, count: int = 8) -> list[dict[str, Any]]:
    """Replies with slot errors and those of least BLEU, for a person to read."""
    rows: list[dict[str, Any]] = []
    for text, (meaning, known) in zip(texts, references.items(), strict=True):
        diff = patterns.errors(text, meaning)
        bleu = bleu_of(bleu_statistics([text], [known])[0])
        rows.append({"meaning": ", ".join(f"{s}[{v}]" for s, v in meaning), "text": text, "reference": known[0],
                     "slot_errors": diff.errors, "bleu": round(bleu, 1)})  # fmt: skip
    worst = sorted(rows, key=lambda row: (-row["slot_errors"], row["bleu"]))
    return worst[:count] + rows[:: max(1, len(rows) // count)][:count]


def measure(data: Path, runs: Sequence[Path], split: str, precisions: Sequence[str]) -> dict[str, Any]:
    """Everything; see the module's text.

    Raises:
        ParleyError: a run is not finished, or a peer's lines cannot be aligned.
    """
    known = read_references(data / "devel.csv")
    rows = read_references(data / "test.csv") if split == "test" else splits(known, "valid")[1]
    references = by_meaning(rows)
    patterns = Patterns.of_e2e({pair for row in rows for pair in row.meaning})
    report: dict[str, Any] = {"meanings": len(references), "references": len(rows), "systems": {}, "against": {}}
    ours: list[list[str]] = []
    for precision in precisions:
        try:
            texts, speeds = serve(runs, precision, list(references))
        except ParleyError as error:
            if precision == "fp32":
                raise
            report.setdefault("refused", {})[precision] = str(error)
            continue
        name = "Parley" if precision == "fp32" else f"Parley {precision}"
        report["systems"][name] = {**score(texts, references, patterns), "serving": speeds}
        ours = ours or texts
    if split == "test":
        for name, outputs in read_peers(data / "peer_outputs").items():
            of = aligned(outputs[0], references, name)
            report["systems"][name] = {**score(outputs, of, patterns), "meanings": len(of)}
            if of is references:
                # TGen writes cuisines in lower case: the comparison that leaves case aside is the kinder one to it.
                report["against"][name] = against(ours, outputs, references)
                report["against"][f"{name}, case aside"] = against(ours, outputs, references, lowercase=True)
    report["examples"] = samples(ours[0], references, patterns)
    report["outputs"] = ours
    return report


def main(argv: list[str] | None = None) -> int:
    """Parse the command line, measure and write. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpus")
    parser.add_argument("--runs", type=Path, nargs="+", required=True, help="finished trainings, of other seeds")
    parser.add_argument("--split", choices=("valid", "test"), default="valid")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "int8"), default=["fp32"])
    parser.add_argument("--out", type=Path, required=True, help="folder for nlg.json, nlg.md, nlg.png")
    args = parser.parse_args(argv)
    measured = measure(args.data, args.runs, args.split, list(dict.fromkeys(["fp32", *args.precisions])))
    machine = {"cpus": os.cpu_count(), "processor": platform.machine(), "load": os.getloadavg()}
    report = {"command": " ".join(["python -m benchmarks.quality.nlg", *(argv or sys.argv[1:])]), "machine": machine,
              "environment": environment(), **git_lineage(), "split": args.split, "sacrebleu": SIGNATURE,
              "params": Run.open(args.runs[0]).params, **measured}  # fmt: skip
    write_json(args.out / "nlg.json", report)
    print(write_report(report, args.out))
    return 0


if __name__ == "__main__":
    exit_with(main)
