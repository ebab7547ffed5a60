"""``utterances.tsv``: which utterances a version learned from and was measured on, one a line.

    # dataset <digest> bot <bot> licence <text>
    <sha256 of the recording, or of the text where there is no sound><TAB><id><TAB><split>

It names content by digest only: no text, no caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from parley.bundle import UTTERANCES
from parley.errors import ParleyError

_HEADER = re.compile(r"# dataset ([0-9a-f]{64}) bot (\S+) licence ?(.*)")
_LINE = re.compile(r"([0-9a-f]{64})\t([^\t]{1,128})\t([a-z]{1,16})")
_LARGEST = 256 << 20
_NAME_CHARS = 16


@dataclass(frozen=True)
class Utterance:
    """One row of the dataset."""

    sha256: str
    """Of the recording as the dataset stores it, or of the text where there is no sound."""
    id: str
    """The row's name in the dataset. It is made of the row's content; lists of older versions count instead."""
    split: str


@dataclass(frozen=True)
class Utterances:
    """The content of ``utterances.tsv``."""

    dataset: str
    """SHA-256 that names the dataset."""
    bot: str
    licence: str
    rows: tuple[Utterance, ...]


def text_digest(text: str) -> str:
    """SHA-256 by which an utterance without sound is known."""
    return sha256(text.encode()).hexdigest()


def text_name(text: str) -> str:
    """The name of an utterance without sound: the same text has the same, wherever it stands."""
    return f"text-{text_digest(text)[:_NAME_CHARS]}"


def of_texts(splits: Iterable[tuple[str, Iterable[str]]]) -> list[Utterance]:
    """Rows of a dataset without sound: an utterance is its text, named by it, and stands once in a split."""
    return [
        Utterance(text_digest(text), text_name(text), split) for split, texts in splits for text in dict.fromkeys(texts)
    ]


def write_utterances(directory: Path, content: Utterances) -> None:
    """Write ``directory/utterances.tsv``.

    Raises:
        ParleyError: a field cannot stand in a line of it.
    """
    licence = " ".join(content.licence.split())
    lines = [f"# dataset {content.dataset} bot {content.bot} licence {licence}"]
    lines += [f"{row.sha256}\t{row.id}\t{row.split}" for row in content.rows]
    path = directory / UTTERANCES
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    if read_utterances(directory) != Utterances(content.dataset, content.bot, licence, tuple(content.rows)):
        raise ParleyError("a row cannot be written", where=str(path), mend="ids have no tabs, splits are words")


def read_utterances(directory: Path) -> Utterances | None:
    """What a bundle or version learned from; None where it does not say.

    Raises:
        ParleyError: names the line that is none.
    """
    path = directory / UTTERANCES
    if not path.is_file():
        return None
    mend = "export the run again"
    if path.stat().st_size > _LARGEST:
        raise ParleyError(f"larger than {_LARGEST >> 20} MB", where=str(path), mend=mend)
    try:
        first, *rest = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError:
        raise ParleyError("not text", where=str(path), mend=mend) from None
    header = _HEADER.fullmatch(first)
    if header is None:
        raise ParleyError("no header: # dataset DIGEST bot NAME licence TEXT", where=f"{path}:1", mend=mend)
    if rest and not rest[-1]:
        rest.pop()
    rows = []
    for number, line in enumerate(rest, start=2):
        match = _LINE.fullmatch(line)
        if match is None:
            raise ParleyError("expected sha256, id and split", where=f"{path}:{number}", mend=mend)
        rows.append(Utterance(*match.groups()))
    return Utterances(header[1], header[2], header[3], tuple(rows))
