"""``python -m benchmarks.catalogue``: how long a catalogue with 10,000 versions takes to answer.

    fill(catalogue)             # synthetic rows: 10,000 versions of 8 models, 50 datasets of 2,000 utterances
    measure(catalogue)          # {"list_all": {"p50_ms": …, "max_ms": …}, …}

``--database-url`` measures PostgreSQL; an empty database, for it is filled. Without it, a SQLite file of its own.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from parley.arguments import ArgumentParser
from parley.bundle import FAMILIES, Lineage, Manifest, TensorSpec
from parley.errors import ParleyError
from parley.files import write_json
from parley.progress import progress
from parley.settings import settings
from parley.table import aligned
from registry import tables as t
from registry.catalogue import PUBLISHED, Catalogue, version, versions
from registry.lineage import learned_from, origin, utterances
from registry.recovery import mend
from registry.site import Registry
from registry.writing import open_for_writing

BOTS = ("barista", "bank")
_CHUNK = 1000
_FIRST = datetime(2026, 1, 1, tzinfo=UTC)


def digest(*parts: object) -> str:
    """A digest that looks like one, the same for the same parts."""
    return sha256("|".join(map(str, parts)).encode()).hexdigest()


def model_names() -> list[str]:
    """The models of the synthetic catalogue."""
    return [f"{bot}_{family}" for bot in BOTS for family in FAMILIES]


def fill(catalogue: Catalogue, versions: int = 10_000, datasets: int = 50, per_dataset: int = 2_000) -> None:
    """Fill an empty catalogue with synthetic rows; half of every dataset's utterances are also in the next one.

    Raises:
        ParleyError: it is not empty.
    """
    with catalogue.write() as c:
        if c.scalar(sa.select(sa.func.count()).select_from(t.versions)):
            raise ParleyError("the catalogue is not empty", where=catalogue.where, mend="name a fresh database")
        with progress("synthetic datasets", datasets) as bar:
            for number in range(datasets):
                _add_dataset(c, number, per_dataset)
                bar.advance()
        with progress("synthetic versions", versions) as bar:
            for start in range(0, versions, _CHUNK):
                keys = range(start, min(start + _CHUNK, versions))
                c.execute(t.versions.insert(), [_version_row(key, datasets) for key in keys])
                c.execute(t.manifests.insert(), [_manifest_row(key, datasets) for key in keys])
                bar.advance(len(keys))


def _add_dataset(c: sa.Connection, number: int, size: int) -> None:
    c.execute(
        t.datasets.insert().values(digest=digest("dataset", number), bot=BOTS[0], licence="CC BY 4.0", utterances=size)
    )
    first = number * size // 2
    values = [
        {
            "dataset_digest": digest("dataset", number), "position": n, "utterance": digest("utterance", first + n),
            "name": f"syn-{first + n:06d}", "split": "train" if n % 10 < 8 else "dev" if n % 10 == 8 else "test",
        }
        for n in range(size)
    ]  # fmt: skip
    c.execute(t.dataset_utterances.insert(), values)


def _identity(key: int) -> tuple[str, int]:
    models = model_names()
    return models[key % len(models)], key // len(models) + 1


def _version_row(key: int, datasets: int) -> dict[str, Any]:
    model, number = _identity(key)
    bot, family = model.rsplit("_", 1)
    return {
        "id": key + 1, "model": model, "number": number, "family": family, "bot": bot, "digest": digest(model, number),
        "dataset_digest": digest("dataset", number % datasets), "key_id": digest("key"), "size_bytes": 20 << 20,
        "state": PUBLISHED, "published_at": _FIRST + timedelta(minutes=key), "published_by": "ada",
    }  # fmt: skip


def _manifest_row(key: int, datasets: int) -> dict[str, Any]:
    model, number = _identity(key)
    bot, family = model.rsplit("_", 1)
    tensor = [TensorSpec(name="x", dtype="FP32", dims=[80, 200])]
    manifest = Manifest(
        family=family, bot=bot, model=model, version=number, inputs=tensor, outputs=tensor,  # type: ignore[arg-type]
        lineage=Lineage(
            git_commit=digest("commit", number)[:40], dataset_digest=digest("dataset", number % datasets),
            params={f"parameter_{n}": n / 7 for n in range(30)},
            environment={f"library-{n}": "1.2.3" for n in range(9)},
        ),
        evaluation={f"metric_{n}": n / 3 for n in range(40)},
        files={f"file_{n}.json": digest(model, number, n) for n in range(8)},
    )  # fmt: skip
    return {"version_id": key + 1, "text": manifest.model_dump_json(indent=2)}


def measure(catalogue: Catalogue, repeats: int = 20) -> dict[str, dict[str, float]]:
    """Milliseconds of each question, a connection of its own each, as a command would ask it.

    Returns:
        Question to ``p50_ms``, ``max_ms`` and ``rows``.
    """
    with catalogue.read() as c:
        known = versions(c)
        middle = known[len(known) // 2]
        heard = utterances(c, middle.model, middle.number, "train")[0].sha256
    name, number = middle.model, middle.number
    questions: dict[str, Callable[[sa.Connection], int]] = {
        "list_all": lambda c: len(versions(c)),
        "list_model": lambda c: len(versions(c, model=name)),
        "version": lambda c: version(c, name, number).number,
        "lineage": lambda c: sum(origin(c, name, number).splits.values()),
        "lineage_utterances": lambda c: len(utterances(c, name, number)),
        "lineage_of_utterance": lambda c: len(learned_from(c, heard)),
    }
    found = {}
    for question, ask in questions.items():
        took, rows = [], 0
        for _ in range(repeats):
            began = time.perf_counter()
            with catalogue.read() as c:
                rows = ask(c)
            took.append((time.perf_counter() - began) * 1000)
        found[question] = _figures(took, rows)
    return found


def measure_mending(registry: Registry, repeats: int = 10) -> dict[str, float]:
    """Milliseconds to find that nothing has to be mended, with a folder and a pin for each version of the catalogue."""
    with registry.catalogue.read() as c:
        known = versions(c)
    for row in known:
        (registry.repo / row.model / str(row.number)).mkdir(parents=True)
        pin = registry.site.state_dir / "pins" / row.model / str(row.number)
        pin.parent.mkdir(parents=True, exist_ok=True)
        pin.write_text(row.digest + "\n", encoding="utf-8")
    took = []
    for _ in range(repeats):
        began = time.perf_counter()
        done = mend(registry)
        took.append((time.perf_counter() - began) * 1000)
        assert not done, done
    return _figures(took, len(known))


def _figures(took_ms: list[float], rows: int) -> dict[str, float]:
    return {"p50_ms": round(statistics.median(took_ms), 1), "max_ms": round(max(took_ms), 1), "rows": rows}


@contextmanager
def _scratch_registry(database_url: str) -> Iterator[Registry]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        site = settings(
            bots_dir=root / "bots", repo_dir=root / "repo", state_dir=root / "var", database_url=database_url
        )
        site.bots_dir.mkdir()
        with open_for_writing(site, new=True) as registry:
            yield registry


def main(argv: list[str] | None = None) -> None:
    """Fill, measure, print."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--versions", type=int, default=10_000)
    parser.add_argument("--datasets", type=int, default=50)
    parser.add_argument("--per-dataset", type=int, default=2_000, help="utterances of a dataset")
    parser.add_argument("--database-url", default="", help="an empty PostgreSQL database")
    parser.add_argument("--json", type=Path, metavar="OUT")
    args = parser.parse_args(argv)
    with _scratch_registry(args.database_url) as registry:
        fill(registry.catalogue, args.versions, args.datasets, args.per_dataset)
        report = measure(registry.catalogue)
        report["nothing_to_mend"] = measure_mending(registry)
        where = registry.catalogue.where
    rows: list[tuple[str, ...]] = [("question", "p50 ms", "max ms", "rows")]
    for question, figures in report.items():
        rows.append((question, *(f"{figures[key]:g}" for key in ("p50_ms", "max_ms", "rows"))))
    print(f"{args.versions} versions, {where}", aligned(rows, indent=""), sep="\n")
    if args.json:
        write_json(args.json, report)


if __name__ == "__main__":
    from parley.command import exit_with

    exit_with(main)
