"""Published corpora of sentences with intents and slots: SNIPS, ATIS, Banking77, CLINC150, read from a path given.

A corpus is a folder with ``train.jsonl``, ``test.jsonl`` and, if it has one, ``valid.jsonl``. A line holds ``intent``
and either ``tokens`` with a BIO ``tags`` for each, or ``text``. A corpus without a validation split gets one from
training, by a hash of the sentence. Nothing here is part of the project: the corpora have licences of their own.

SNIPS: Coucke et al. 2018; ATIS: Hemphill et al. 1990 in the splits of Goo et al. 2018; Banking77: Casanueva et al.
2020; CLINC150: Larson et al. 2019.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

from parley.errors import ParleyError
from parley.files import sha256_json
from parley.text_files import read_lines

OUTSIDE = "O"
CLINC_OUT_OF_SCOPE = "oos"
_VALID_SHARE = 0.1
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\d+|[^\w\s]")


@dataclass(frozen=True)
class Sentence:
    """One row: words, a BIO tag for each (all ``O`` where the corpus has no slots), and the intent."""

    words: tuple[str, ...]
    tags: tuple[str, ...]
    intent: str


@dataclass(frozen=True)
class Corpus:
    """The splits of a corpus; the labels are those of its training split."""

    name: str
    train: list[Sentence]
    valid: list[Sentence]
    test: list[Sentence]

    @property
    def intents(self) -> list[str]:
        return sorted({row.intent for row in self.train})

    @property
    def tags(self) -> list[str]:
        """``O``, then the tags of training, and every ``I`` whose ``B`` is there."""
        seen = {tag for row in self.train for tag in row.tags if tag != OUTSIDE}
        return [OUTSIDE, *sorted(seen | {f"I{tag[1:]}" for tag in seen})]

    @property
    def has_slots(self) -> bool:
        return any(tag != OUTSIDE for row in self.train for tag in row.tags)

    @property
    def digest(self) -> str:
        """SHA-256 over every row: names the dataset."""
        return sha256_json(
            [[(r.words, r.tags, r.intent) for r in part] for part in (self.train, self.valid, self.test)]
        )


def read_corpus(folder: Path) -> Corpus:
    """Read a corpus; see the module's text for its files.

    Raises:
        ParleyError: a split is missing or a line of it is not a row.
    """
    train, test = _read_split(folder / "train.jsonl"), _read_split(folder / "test.jsonl")
    if (folder / "valid.jsonl").is_file():
        return Corpus(folder.name, train, _read_split(folder / "valid.jsonl"), test)
    valid = [row for row in train if _held_out(row)]
    return Corpus(folder.name, [row for row in train if not _held_out(row)], valid, test)


def split_words(text: str) -> tuple[str, ...]:
    """Lower-case words, numbers and marks of a sentence; a number apart from what it touches (``$5`` is two)."""
    return tuple(_WORD.findall(text.lower().replace("’", "'")))


def _held_out(row: Sentence) -> bool:
    digest = hashlib.sha256(" ".join(row.words).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64 < _VALID_SHARE


def _read_split(file: Path) -> list[Sentence]:
    if not file.is_file():
        raise ParleyError("no such split", where=str(file), mend="give a folder with train, valid, test")
    lines = read_lines(file)
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_sentence(json.loads(line)))
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ParleyError("not a row of a corpus", where=f"{file}:{number}",
                              mend="a line has intent, and text or tokens with tags") from None  # fmt: skip
    return [row for row in rows if row.words]


def _sentence(record: dict[str, object]) -> Sentence:
    intent = str(record["intent"]).replace("atis_", "")  # flight#airfare is a label of its own
    if "tokens" not in record:
        words = split_words(str(record["text"]))
        return Sentence(words, (OUTSIDE,) * len(words), intent)
    tokens, tags = record["tokens"], record["tags"]
    if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags):
        raise ValueError("one tag for each token")
    return Sentence(tuple(str(t).lower() for t in tokens), tuple(map(str, tags)), intent)
