"""Whether a candidate was taught what it is judged on, by the catalogue's lineage.

A recording is known by the digest of the file that a dataset stores and by its own, a text by its words. What a version
was only tested on before does not count: it learned nothing from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa

from models.dataset import load_dataset
from parley.errors import ParleyError
from registry import tables as t
from registry.catalogue import manifest_of, version
from registry.gating.gate import Leak
from registry.lineage import uses

TEST = "test"
_AT_ONCE = 500


def unknown_lineage(c: sa.Connection, versions: Iterable[tuple[str, int]]) -> list[str]:
    """The versions whose utterances the catalogue does not know."""
    found = []
    for model, number in versions:
        digest = version(c, model, number).dataset_digest
        known = c.scalar(sa.select(t.datasets.c.utterances).where(t.datasets.c.digest == digest))
        if not known:
            found.append(f"{model} {number}")
    return found


def leaks(c: sa.Connection, versions: Iterable[tuple[str, int]], items: Mapping[str, str]) -> list[Leak]:
    """What of ``items`` (digest to a name for people) the versions learned from: everything but their own test rows."""
    wanted = {(model, number) for model, number in versions}
    found: dict[tuple[str, str], Leak] = {}
    digests = list(items)
    for start in range(0, len(digests), _AT_ONCE):
        part = digests[start : start + _AT_ONCE]
        by_digest = {digest: uses(c, [digest]) for digest in _known(c, part)}
        for digest, used in by_digest.items():
            for use in used:
                name = f"{use.version.model} {use.version.number}"
                if (use.version.model, use.version.number) in wanted and use.split != TEST:
                    found[items[digest], name] = Leak(items[digest], name)
    return list(found.values())


def _known(c: sa.Connection, digests: list[str]) -> list[str]:
    table = t.dataset_utterances.c
    return list(c.scalars(sa.select(table.utterance).where(table.utterance.in_(digests)).distinct()))


def leaked_speakers(
    c: sa.Connection, versions: Iterable[tuple[str, int]], speakers: Iterable[str], datasets: Path
) -> list[Leak]:
    """Speakers of the evaluation that a version learned from, where its dataset still lies in ``datasets``.

    The catalogue keeps no names of speakers; a dataset that is gone, or is another by now, says nothing.
    """
    wanted, found = set(speakers), []
    learned = _learned_by_dataset(datasets)
    for model, number in versions:
        digest = manifest_of(c, model, number).lineage.dataset_digest
        known = wanted & learned.get(digest, set())
        found += [Leak(f"speaker {speaker}", f"{model} {number}") for speaker in sorted(known)]
    return found


def _learned_by_dataset(folder: Path) -> dict[str, set[str]]:
    """Digest of each whole dataset in a folder to the recorded speakers that may be learned from."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*/dataset.json")):
        with suppress(ParleyError):
            dataset = load_dataset(path.parent)
            rows = [row for row in dataset.rows if row.source == "recording" and row.split != TEST]
            found.setdefault(dataset.digest, set()).update(row.speaker for row in rows)
    return found
