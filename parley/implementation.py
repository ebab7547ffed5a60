"""Which code reads a version, and under which name a server of models knows it. Standard library alone.

A manifest names its implementation, ``phone-ctc-grammar/1``: a family's way of turning a graph and assets into answers,
and the number of its contract. Versions of one model may have different ones, and then different tensors; those of one
implementation may differ in their tensors' sizes, as when a bot gets an intent. A Triton server has one set of tensors
for each of its models, so it knows such versions under names of their own: ``barista_nlu.keyword-1`` those of another
implementation than the family's first, ``barista_nlu.5e1f02ab`` those of other sizes than the model's first.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

Family = Literal["stt", "nlu", "nlg", "tts"]
FAMILIES: tuple[Family, ...] = ("stt", "nlu", "nlg", "tts")
FIRST: dict[Family, str] = {
    "stt": "phone-ctc-grammar/1",
    "nlu": "joint-bio/1",
    "nlg": "act-prompt/1",
    "tts": "harmonic-noise/1",
}
"""The implementation of each family's oldest versions, whose manifests name none."""
CORPUS_NLU, CORPUS_NLG = "corpus-chain/1", "corpus-meaning/1"
_OF_FILES: dict[tuple[Family, str], str] = {("nlu", "chain.json"): CORPUS_NLU, ("nlg", "slots.json"): CORPUS_NLG}
"""Other old ones, told by a file that only they have."""
NAME = r"[a-z][a-z0-9-]{0,47}/[1-9][0-9]{0,3}"
"""What an implementation may be called; it becomes a part of folders' names."""
SIZES = r"[0-9a-f]{8}"
"""A digest of tensors in a name: no implementation's part, which ends with ``-`` and a number."""


def implementation_of(family: Family, declared: str, files: Collection[str]) -> str:
    """The implementation that reads a version.

    Args:
        family: the manifest's.
        declared: what the manifest names; empty in manifests from before there were several.
        files: names of the version's files.
    """
    if declared:
        return declared
    return next((name for (of, file), name in _OF_FILES.items() if of == family and file in files), FIRST[family])


def served_name(model: str, family: Family, implementation: str, sizes: str = "") -> str:
    """The name by which a Triton server knows those versions of a model that take and give the same tensors.

    Args:
        sizes: as their manifests say (`parley.bundle.Manifest.sizes`).
    """
    read_by = "" if implementation == FIRST[family] else implementation.replace("/", "-")
    return ".".join(part for part in (model, read_by, sizes) if part)


def model_of(served: str) -> str:
    """The model that a `served_name` is of: a model's own name has no dot."""
    return served.partition(".")[0]
