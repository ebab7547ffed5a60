"""What changed between two versions: figures, parameters, contract, data, files, environment.

    changes = difference(manifest_of(c, "barista_stt", 2), manifest_of(c, "barista_stt", 3), before, after)

Figures come from each version's own evaluation. They say which way a number went; whether that is more than chance
is the gate's question, which hears both on the same utterances.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from parley.bundle import Manifest
from registry.versions.card import flatten

Direction = Literal["better", "worse", ""]
_LOWER_IS_BETTER = re.compile(r"(^|[._])(wer|cer|ms|errors?|fallbacks?|distance|real_time_factor)([._]|$)")
_HIGHER_IS_BETTER = re.compile(r"(^|[._])(accuracy|f1|precision|recall|acceptance|bleu|per_s|agreement)([._]|$)")


@dataclass(frozen=True)
class Change:
    """One thing that differs; None where a side has none of it."""

    name: str
    before: Any
    after: Any
    direction: Direction = ""
    """For figures, where their name says which way is good."""


@dataclass(frozen=True)
class OtherSplit:
    """An utterance that both versions know, in another split: what was tested on may now be learned from."""

    utterance: str
    before: str
    after: str


@dataclass(frozen=True)
class Data:
    """What the second version's dataset has beyond the first's, by SHA-256 of each utterance."""

    known: bool = False
    """Whether both versions list their utterances."""
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    shared: int = 0
    moved: list[OtherSplit] = field(default_factory=list)


@dataclass(frozen=True)
class Difference:
    """Everything `parley diff` shows."""

    before: str
    after: str
    figures: list[Change]
    parameters: list[Change]
    contract: list[Change]
    data: Data
    origin: list[Change]
    """Digests of the data and the bot, licence, commit."""
    files: list[Change]
    environment: list[Change]

    @property
    def same_data(self) -> bool:
        """Whether both were trained, and so measured, on one dataset."""
        return not any(change.name == "dataset digest" for change in self.origin)


def difference(
    before: Manifest,
    after: Manifest,
    utterances_before: Iterable[tuple[str, str]] = (),
    utterances_after: Iterable[tuple[str, str]] = (),
) -> Difference:
    """Compare two versions.

    Args:
        before: manifest of the version compared with.
        after: manifest of the version asked about.
        utterances_before: (SHA-256, split) of each of its utterances; nothing where they are not known.
        utterances_after: the same of the other.
    """
    old, new = before.lineage, after.lineage
    return Difference(
        before=_name(before),
        after=_name(after),
        figures=figure_changes(before.evaluation, after.evaluation),
        parameters=changes({**flatten(old.params), "seed": old.seed}, {**flatten(new.params), "seed": new.seed}),
        contract=changes(_contract(before), _contract(after)),
        data=data_changes(utterances_before, utterances_after),
        origin=changes(_origin(before), _origin(after)),
        files=changes(before.files, after.files),
        environment=changes(old.environment, new.environment),
    )


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Every key whose value differs, sorted by key."""
    names = sorted(before.keys() | after.keys())
    found = [Change(name, before.get(name), after.get(name)) for name in names]
    return [change for change in found if change.before != change.after]


def figure_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The figures of an evaluation that differ, each with its direction."""
    found = changes(flatten(before), flatten(after))
    return [Change(each.name, each.before, each.after, _direction(each)) for each in found]


def data_changes(before: Iterable[tuple[str, str]], after: Iterable[tuple[str, str]]) -> Data:
    """Utterances added, removed and moved between splits, each by its SHA-256, sorted."""
    old, new = _splits(before), _splits(after)
    if not old or not new:
        return Data()
    shared = old.keys() & new.keys()
    return Data(
        known=True,
        added=sorted(new.keys() - old.keys()),
        removed=sorted(old.keys() - new.keys()),
        shared=len(shared),
        moved=[OtherSplit(each, old[each], new[each]) for each in sorted(shared) if old[each] != new[each]],
    )


def _splits(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Splits by utterance; one text may stand in several rows, even of several splits."""
    found: dict[str, set[str]] = {}
    for utterance, split in rows:
        found.setdefault(utterance, set()).add(split)
    return {utterance: "+".join(sorted(splits)) for utterance, splits in found.items()}


def _direction(change: Change) -> Direction:
    """Better or worse, where the figure's name tells.

    Whole numbers are counts, which grow with what was measured: they have no direction.
    """
    both = (change.before, change.after)
    if not all(isinstance(value, int | float) for value in both) or all(isinstance(value, int) for value in both):
        return ""
    rose = change.after > change.before
    if _LOWER_IS_BETTER.search(change.name):
        return "worse" if rose else "better"
    if _HIGHER_IS_BETTER.search(change.name):
        return "better" if rose else "worse"
    return ""


def _contract(manifest: Manifest) -> dict[str, Any]:
    """What clients and other stages rely on."""
    sides = (("input", manifest.inputs), ("output", manifest.outputs))
    tensors = {f"{side} {spec.name}": f"{spec.dtype} {spec.dims}" for side, specs in sides for spec in specs}
    return {
        "implementation": manifest.read_by,
        **tensors,
        **{f"constants.{name}": value for name, value in flatten(manifest.constants).items()},
        **{f"provides.{name}": value for name, value in manifest.provides.items()},
        **{f"requires.{name}": value for name, value in manifest.requires.items()},
        "max_batch_size": manifest.max_batch_size,
        "precision": manifest.parity.get("precision"),
    }


def _origin(manifest: Manifest) -> dict[str, Any]:
    lineage = manifest.lineage
    return {
        "bot digest": lineage.bot_digest,
        "commit": lineage.git_commit + (" with uncommitted changes" if lineage.git_dirty else ""),
        "dataset digest": lineage.dataset_digest,
        "licence of the data": manifest.data_licence,
    }


def _name(manifest: Manifest) -> str:
    return manifest.model if manifest.version is None else f"{manifest.model} {manifest.version}"
