"""What `parley bench quality` can measure, in the order of the report, and the command line of each family.

A family is a module with ``--out DIR``, which writes ``<family>.json``, ``<family>.md`` and ``<family>*.png`` into it.
What it needs besides is looked up here: the folder of data (its layout is that of docs/quality.md) and the runs that
training made, under their usual names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from parley.errors import ParleyError

Step = list[str]
"""A module and its arguments."""


@dataclass(frozen=True)
class Place:
    """Where a family finds its data and runs, and where its results go."""

    data: Path
    runs: Path
    out: Path
    """The family's own folder."""
    champion: bool = False
    """Measure the release that answers calls, on recordings that it never learned from."""

    def data_at(self, name: str) -> Path:
        """A file or folder of the data.

        Raises:
            ParleyError: it is not there.
        """
        path = self.data / name
        if not path.exists():
            raise ParleyError("no such data", where=str(path), mend="docs/quality.md says what --data holds")
        return path

    def runs_at(self, pattern: str, mend: str) -> list[Path]:
        """The runs of a pattern, sorted.

        Raises:
            ParleyError: there is none; ``mend`` is the command that makes one.
        """
        found = sorted(path for path in self.runs.glob(pattern) if path.is_dir())
        if not found:
            raise ParleyError("no such run", where=str(self.runs / pattern), mend=mend)
        return found


@dataclass(frozen=True)
class Family:
    """One command of the report."""

    name: str
    title: str
    module: str
    steps_of: Callable[[Place], list[Step]]

    def steps(self, place: Place) -> list[Step]:
        """What is to be run, one after the other.

        Raises:
            ParleyError: data or a run is missing, or the module is; the family is skipped with this reason.
        """
        if find_spec(self.module) is None:
            raise ParleyError("there is no such benchmark", where=self.module, mend="update this checkout")
        return self.steps_of(place)


def _slu(place: Place) -> list[Step]:
    recordings, noise = place.data_at("barista/manifest.jsonl"), place.data_at("barista/noise_kitchen.flac")
    command = ["benchmarks.quality.slu", "--manifest", str(recordings), "--noise", str(noise), "--out", str(place.out)]
    if not place.champion:
        # A release has learned from most speakers there are; each run of a fold judges those it never heard.
        folds = place.runs_at("fold[0-4]", "train and export the folds (benchmarks/quality/README.md), or --champion")
        command += ["--runs", *map(str, folds)]
    if not (place.data / "digits").is_dir():
        return [command]
    outside = place.out / "outside"
    made = ["benchmarks.quality.outside", "--digits", str(place.data_at("digits/audio")), "--count", "100",
            "--out", str(outside)]  # fmt: skip
    return [made, [*command, "--outside", str(outside / "manifest.jsonl")]]


def _turns(place: Place) -> list[Step]:
    recordings, noise = place.data_at("barista/manifest.jsonl"), place.data_at("barista/noise_kitchen.flac")
    return [["benchmarks.quality.turns", "--manifest", str(recordings), "--noise", str(noise), "--out", str(place.out)]]


def _digits(place: Place) -> list[Step]:
    data = place.data_at("digits/audio")
    place.runs_at("digits-*", "train and export a run for each speaker left out (docs/quality-digits.md)")
    command = ["benchmarks.quality.digits", "--data", str(data), "--runs", str(place.runs), "--out", str(place.out)]
    noise = place.data / "barista" / "noise_kitchen.flac"
    return [[*command, "--noise", str(noise)] if noise.is_file() else command]


def _nlu(place: Place) -> list[Step]:
    data, runs = place.data_at("nlu"), place.runs / "nlu"
    place.runs_at("nlu/*-*/best", f"python -m benchmarks.quality.nlu_train --data {data} --runs {runs}")
    return [["benchmarks.quality.nlu", "--data", str(data), "--runs", str(runs), "--out", str(place.out)]]


def _nlu_pretrained(place: Place) -> list[Step]:
    data, runs = place.data_at("nlu"), place.runs / "nlu-pretrained"
    place.runs_at("nlu-pretrained/*-*/best", f"python -m models.nlu.pretrained_fit --corpus {data}/banking77 "
                  f"--out {runs}/banking77-1")  # fmt: skip
    return [["benchmarks.quality.nlu", "--data", str(data), "--runs", str(runs), "--out", str(place.out),
             "--name", "nlu-pretrained"]]  # fmt: skip


def _nlg(place: Place) -> list[Step]:
    data = place.data_at("nlg/e2e")
    runs = place.runs_at(
        "nlg-e2e-*", f"python -m models.nlg.fit --corpus {data}/devel.csv --out runs/nlg-e2e-1 --seed 1"
    )
    return [["benchmarks.quality.nlg", "--data", str(data), "--split", "test", "--out", str(place.out),
             "--runs", *map(str, runs)]]  # fmt: skip


def _tts(place: Place) -> list[Step]:
    found = place.runs_at("tts-*/corpus", "parley train tts --bot barista --out runs/tts-barista, and export it")
    corpus = next((path for path in found if (path.parent / "bundle").is_dir()), None)
    if corpus is None:
        raise ParleyError("not exported", where=str(found[0].parent), mend=f"parley export tts {found[0].parent}")
    bundle = corpus.parent / "bundle"
    return [["benchmarks.quality.tts", "--bundle", str(bundle), "--corpus", str(corpus), "--out", str(place.out)]]


def _speed(place: Place) -> list[Step]:
    command = ["benchmarks.speed", "--runs", str(place.runs), "--out", str(place.out)]
    recordings = place.data / "barista" / "manifest.jsonl"
    return [[*command, "--manifest", str(recordings)] if recordings.is_file() else command]


FAMILIES = (
    Family("slu", "STT and NLU on real callers", "benchmarks.quality.slu", _slu),
    Family("turns", "Turns of real callers", "benchmarks.quality.turns", _turns),
    Family("digits", "Strings of digits", "benchmarks.quality.digits", _digits),
    Family("nlu", "NLU on public corpora", "benchmarks.quality.nlu", _nlu),
    Family("nlu-pretrained", "NLU on a small pre-trained encoder", "benchmarks.quality.nlu", _nlu_pretrained),
    Family("nlg", "NLG on cleaned E2E", "benchmarks.quality.nlg", _nlg),
    Family("tts", "TTS on sentences never trained on", "benchmarks.quality.tts", _tts),
    Family("speed", "Precision, size and speed", "benchmarks.speed", _speed),
)


def chosen(names: str) -> tuple[Family, ...]:
    """The families of a list separated by commas; all for an empty one.

    Raises:
        ParleyError: one is unknown.
    """
    known = {family.name: family for family in FAMILIES}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise ParleyError(f"unknown family {name!r}", where="--only", mend=f"one of {', '.join(known)}")
    return tuple(family for family in FAMILIES if not wanted or family.name in wanted)
