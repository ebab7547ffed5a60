"""Train what `benchmarks.quality.nlu` measures: `python -m benchmarks.quality.nlu_train --data DIR --runs runs/nlu`.

For each corpus with slots first the teachers, runs of their own seeds under ``RUNS/teachers``; then, for each of
``--seeds``, a run that learns from the labels and from the teachers' mean answer. Where there are only intents a run
learns from the labels alone. Stopped, it continues where it was; a finished run is left alone. One thread; hours, so
that a call may train a part: ``--teachers 101 --seeds`` one teacher alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from models.nlu.fit import FitConfig, fit
from parley.arguments import ArgumentParser
from parley.command import exit_with
from parley.errors import ParleyError

_SNIPS = FitConfig(
    Path("snips"), epochs=16, width=128, swap=0.2, dropout=0.4, word_drop=0.2, batch=48, lr=3e-3, lexicon=True,
    sentence_dropout=True,
)  # fmt: skip
_BANKING = FitConfig(Path("banking77"), epochs=16, width=128, recurrent=0, dropout=0.4, batch=48, linear=16384)
RECIPES: Mapping[str, FitConfig] = {
    "snips": _SNIPS,
    "atis": replace(
        _SNIPS, corpus=Path("atis"), epochs=20, swap=0.1, tag_weight=0.3, batch=32, lr=2e-3, sentence_dropout=False
    ),
    "banking77": _BANKING,
    "clinc150": replace(_BANKING, corpus=Path("clinc150")),
}
"""By corpus, which lies in the folder of all. docs/quality-nlu.md says which knobs were
measured on validation and which were not yet."""


@dataclass(frozen=True)
class Plan:
    """What is trained how."""

    recipes: Mapping[str, FitConfig] = field(default_factory=lambda: RECIPES)
    """By corpus."""
    teachers: tuple[int, ...] = (101, 102, 103)
    """Seeds of the teachers."""
    teaching: float = 0.7
    """Weight of the teachers' mean answer."""
    taught: tuple[str, ...] = ("snips", "atis")
    """Corpora with teachers."""


PLAN = Plan()


def train_corpus(
    data: Path, runs: Path, corpus: str, teaching: Sequence[int], seeds: Sequence[int], plan: Plan = PLAN
) -> list[Path]:
    """The runs of a corpus, trained or finished: the teachers named, then the seeds, which need them all.

    Raises:
        ParleyError: a teacher is not finished that a seed learns from.
    """
    texts = tuple(data / name for name in plan.recipes if (data / name).is_dir())
    recipe = plan.recipes[corpus]
    recipe = replace(recipe, corpus=data / recipe.corpus, texts=texts)
    if corpus in plan.taught:
        teachers = tuple(runs / "teachers" / f"{corpus}-{seed}" for seed in plan.teachers)
        for seed, path in zip(plan.teachers, teachers, strict=True):
            if seed in teaching:
                _train(replace(recipe, seed=seed), path)
        recipe = replace(recipe, teaching=plan.teaching, teachers=teachers)
    paths = [runs / f"{corpus}-{seed}" for seed in seeds]
    for seed, path in zip(seeds, paths, strict=True):
        _train(replace(recipe, seed=seed), path)
    return paths


def _train(config: FitConfig, out: Path) -> None:
    """Train a run, go on with one that was stopped, or leave a finished one alone."""
    if not (out / "best").is_dir():
        fit(config, out, resume=True)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and train. Returns the exit status."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the corpora")
    parser.add_argument("--runs", type=Path, default=Path("runs/nlu"))
    parser.add_argument("--corpora", nargs="+", choices=sorted(PLAN.recipes), default=list(PLAN.recipes))
    parser.add_argument("--seeds", nargs="*", type=int, default=[1, 2, 3])
    parser.add_argument("--teachers", nargs="*", type=int, choices=PLAN.teachers, default=list(PLAN.teachers))
    args = parser.parse_args(argv)
    if set(args.seeds) & set(PLAN.teachers):
        raise ParleyError("a seed is a teacher's", mend=f"any but {', '.join(map(str, PLAN.teachers))}")
    for corpus in args.corpora:
        train_corpus(args.data, args.runs, corpus, args.teachers, args.seeds)
    return 0


if __name__ == "__main__":
    exit_with(main)
