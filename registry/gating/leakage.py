"""Whether a candidate was taught what it is judged on, by the catalogue's lineage.

A recording is known by the digest of the file that a dataset stores and by its own, a text by its words. What a version
was only tested on before does not count: it learned nothing from that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import sqlalchemy as sa

from parley.text_files import split_lines
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
    folders = [path.parent for path in sorted(datasets.glob("*/dataset.json"))]
    for model, number in versions:
        digest = manifest_of(c, model, number).lineage.dataset_digest
        rows = [row for folder in folders for row in _dataset_rows(folder, digest)]
        learned = {r["speaker"] for r in rows if r.get("source") == "recording" and r.get("split") != TEST}
        found += [Leak(f"speaker {speaker}", f"{model} {number}") for speaker in sorted(wanted & learned)]
    return found


def _dataset_rows(folder: Path, digest: str) -> list[dict[str, str]]:
    try:
        if json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["digest"] != digest:
            return []
        return [json.loads(line) for line in split_lines((folder / "dataset.jsonl").read_text(encoding="utf-8"))]
    except (OSError, ValueError, KeyError, TypeError):
        return []
