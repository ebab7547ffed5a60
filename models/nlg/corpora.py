"""The cleaned E2E corpus (Dušek et al. 2019), read from a path given: meaning representations and their references.

A file is a CSV with the columns ``mr`` (``name[Cotto], eatType[pub], …``) and ``ref``; ``orig_mr``, where it is, is
what the writers of a reference had before them. Nothing here is part of the project: the corpus has
its own licence.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.nlg.realisations import Pair
from parley.errors import ParleyError
from parley.files import sha256_json
from parley.text_files import read_text

SLOTS = ("name", "eatType", "food", "priceRange", "customer rating", "area", "familyFriendly", "near")
_PAIR = re.compile(r"\s*([A-Za-z ]+?)\s*\[([^\]]*)\]\s*,?")

Meaning = tuple[Pair, ...]
"""A meaning representation: slots and values, in the corpus's order of slots, then of values."""


@dataclass(frozen=True)
class Reference:
    """One way to say a meaning."""

    meaning: Meaning
    text: str
    group: str
    """What the writer was shown: references of one group are near each other."""


def parse_meaning(text: str) -> Meaning:
    """Read ``name[Cotto], eatType[pub]``.

    Raises:
        ParleyError: it is not of that form, or a slot is not of the corpus.
    """
    pairs, at = [], 0
    for match in _PAIR.finditer(text):
        if match.start() != at or match[1] not in SLOTS:
            break
        pairs.append((match[1], match[2].strip()))
        at = match.end()
    if at != len(text) or not pairs:
        raise ParleyError("not a meaning representation", where=text[:80], mend="slot[value], slot[value], …")
    return tuple(sorted(pairs, key=lambda pair: (SLOTS.index(pair[0]), pair[1])))


def read_references(path: Path) -> list[Reference]:
    """All rows of a file, in its order.

    Raises:
        ParleyError: no such file, or a row is not a reference.
    """
    if not path.is_file():
        raise ParleyError("no such corpus file", where=str(path), mend="give a CSV with columns mr, ref")
    rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    if not rows or not {"mr", "ref"} <= set(rows[0]):
        raise ParleyError("not a corpus file", where=str(path), mend="give a CSV with columns mr, ref")
    return [
        Reference(parse_meaning(row["mr"]), " ".join(row["ref"].split()), row.get("orig_mr") or row["mr"])
        for row in rows
    ]


def by_meaning(rows: Iterable[Reference]) -> dict[Meaning, list[str]]:
    """Meanings in order of first appearance, each with its references."""
    found: dict[Meaning, list[str]] = {}
    for row in rows:
        found.setdefault(row.meaning, []).append(row.text)
    return found


def split(rows: Sequence[Reference], seed: int, share: float = 0.2) -> tuple[list[Reference], list[Reference]]:
    """Training and validation: about ``share`` of the groups, by hash; no meaning and no group is in both."""
    parent: dict[object, object] = {}

    def root(node: object) -> object:
        while parent.setdefault(node, node) != node:
            node = parent[node]
        return node

    for row in rows:
        parent[root(row.meaning)] = root(row.group)
    smallest: dict[object, str] = {}
    for row in rows:
        top = root(row.group)
        smallest[top] = min(smallest.get(top, row.group), row.group)

    def held_out(row: Reference) -> bool:
        digest = hashlib.sha256(f"{seed}|{smallest[root(row.group)]}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64 < share

    return [row for row in rows if not held_out(row)], [row for row in rows if held_out(row)]


def digest(rows: Sequence[Reference]) -> str:
    """SHA-256 over the rows: names the dataset."""
    return sha256_json([[row.meaning, row.text] for row in rows])
