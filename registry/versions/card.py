"""The model card of a version: what a person needs to judge it, written from its manifest and from nothing else.

    text = model_card(read_manifest(Path("triton_repo/barista_stt/3")))

Equal manifests give equal text, so the card inside a version (`card.md`) can be made again and compared.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from parley.bundle import Manifest, TensorSpec

CARD = "card.md"
_FAMILY_NAMES = {
    "stt": "speech to text",
    "nlu": "language understanding",
    "nlg": "language generation",
    "tts": "text to speech",
}
_COUNTS = ("rows", "utterances", "sentences", "replies", "words", "there")
"""Names under which the families' evaluations count what a slice held."""
_LONG = 160


def model_card(manifest: Manifest) -> str:
    """The card of one version as Markdown."""
    number = "unpublished" if manifest.version is None else f"version {manifest.version}"
    sections = (
        [f"# {_cell(manifest.model)} {number}", "", _summary(manifest)],
        _section("Data", _data(manifest)),
        _section("Recipe", _recipe(manifest)),
        _section("Inputs and outputs", _tensors(manifest)),
        _section("Fits with", _fits(manifest)),
        _section(
            "Parity", _table(("Figure", "Value"), flatten(manifest.parity).items(), "torch against ONNX: not stated")
        ),
        _section("Evaluation", _evaluation(manifest)),
        _section("Limits", [f"- {_cell(limit)}" for limit in limits(manifest)]),
        _section("Files", _files(manifest)),
    )
    return "\n".join(line for section in sections for line in section) + "\n"


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Leaves of a nested mapping by their dotted path, in sorted order; an empty mapping has none."""
    found: dict[str, Any] = {}
    for key in sorted(tree, key=str):
        path, value = f"{prefix}{key}", tree[key]
        if isinstance(value, Mapping):
            found.update(flatten(value, f"{path}."))
        else:
            found[path] = value
    return found


def slices(evaluation: Mapping[str, Any], name: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every part of an evaluation with its own figures: (`test.noisy`, {"frame_accuracy": 0.99, …}).

    The figures that belong to no slice come first, under the name `all`.
    """
    own = {key: value for key, value in sorted(evaluation.items()) if not isinstance(value, Mapping)}
    if own:
        yield name or "all", own
    for key, value in sorted(evaluation.items()):
        if isinstance(value, Mapping):
            yield from slices(value, f"{name}.{key}" if name else key)


def limits(manifest: Manifest) -> list[str]:
    """What the manifest itself says that nobody should expect of this version, one sentence each."""
    lineage, said = manifest.lineage, []
    if language := manifest.constants.get("language"):
        said.append(f"Learned {language} only, and only what the bot {manifest.bot} is about.")
    else:
        said.append(f"Learned only what the bot {manifest.bot} is about.")
    if rate := manifest.sample_rate or manifest.constants.get("sample_rate"):
        said.append(f"Works on audio of {rate} Hz, and on no other.")
    for name, figures in slices(manifest.evaluation):
        if any(figures.get(count) == 0 for count in _COUNTS):
            said.append(f"Not measured on the slice {name}: it held nothing.")
    if not manifest.evaluation:
        said.append("It was not evaluated.")
    if not manifest.parity:
        said.append("The exported graph was not compared with the trained network.")
    if lineage.git_dirty or not lineage.git_commit:
        why = "held changes that no commit has" if lineage.git_commit else "was no checkout"
        said.append(f"The working tree {why}: it cannot be made again exactly.")
    if not lineage.dataset_digest:
        said.append("The data it learned from is not named by a digest.")
    if not manifest.data_licence:
        said.append("The licence of its data is not stated: ask before you use it.")
    return said


def show_value(value: Any) -> str:
    """A figure or parameter as people read it: five significant digits, lists and mappings shortened."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, float):
        return f"{value:.5g}" if math.isfinite(value) else str(value)
    text = str(value)
    return text if len(text) <= _LONG else f"{text[:_LONG]} … ({len(text)} characters)"


def _summary(manifest: Manifest) -> str:
    family = f"{manifest.family.upper()} ({_FAMILY_NAMES[manifest.family]})"
    return f"{family} of the bot {_cell(manifest.bot)}, exported {_cell(manifest.created)}."


def _section(title: str, lines: Iterable[str]) -> list[str]:
    return ["", f"## {title}", "", *lines]


def _data(manifest: Manifest) -> list[str]:
    return _table(
        ("", ""),
        {
            "Licence": manifest.data_licence or "not stated",
            "Dataset digest": _code(manifest.lineage.dataset_digest) or "not stated",
            "Bot digest": _code(manifest.lineage.bot_digest) or "not stated",
        }.items(),
    )


def _recipe(manifest: Manifest) -> list[str]:
    lineage = manifest.lineage
    commit = _code(lineage.git_commit) or "not stated"
    rows: dict[str, Any] = {
        "Commit": f"{commit}, with uncommitted changes" if lineage.git_dirty else commit,
        "Seed": lineage.seed,
    }
    rows |= {f"Parameter {_code(name)}": value for name, value in flatten(lineage.params).items()}
    rows |= {f"Environment: {name}": value for name, value in sorted(lineage.environment.items())}
    rows |= {f"Weights & Biases, {kind}": _code(name) for kind, name in sorted(lineage.tracking.items())}
    return _table(("", ""), rows.items())


def _tensors(manifest: Manifest) -> list[str]:
    def row(side: str, spec: TensorSpec) -> tuple[str, str, str, str]:
        dims = " × ".join("any" if size < 0 else str(size) for size in spec.dims) or "one number"
        return side, _code(spec.name), spec.dtype, dims

    rows = [row("in", spec) for spec in manifest.inputs] + [row("out", spec) for spec in manifest.outputs]
    return [
        *_table(("", "Tensor", "Type", "Shape, without the batch"), rows),
        "",
        f"Up to {manifest.max_batch_size} items a batch.",
    ]


def _fits(manifest: Manifest) -> list[str]:
    rows = [("gives", _code(key), value) for key, value in sorted(manifest.provides.items())]
    rows += [("needs", _code(key), value) for key, value in sorted(manifest.requires.items())]
    return _table(("", "Property", "Value"), rows, "It asks nothing of the other stages and promises them nothing.")


def _evaluation(manifest: Manifest) -> list[str]:
    rows = [(name, figure, value) for name, figures in slices(manifest.evaluation) for figure, value in figures.items()]
    return _table(("Slice", "Figure", "Value"), rows, "Not evaluated.")


def _files(manifest: Manifest) -> list[str]:
    # The card is itself a file of the version, and its own digest cannot stand in it.
    rows = [(_code(name), _code(digest)) for name, digest in sorted(manifest.files.items()) if name != CARD]
    return _table(("File", "SHA-256"), rows, "None listed yet.")


def _table(heads: tuple[str, ...], rows: Iterable[tuple[Any, ...]], empty: str = "None.") -> list[str]:
    """A Markdown table, or the sentence `empty` where there is no row."""
    lines = ["| " + " | ".join(_cell(show_value(value)) for value in row) + " |" for row in rows]
    if not lines:
        return [empty]
    return ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads), *lines]


def _code(text: str) -> str:
    return "`" + text.replace("`", "'") + "`" if text else ""


def _cell(text: str) -> str:
    """Text that cannot leave its table cell or smuggle links and mark-up: manifests come from other sites too."""
    return re.sub(r"([\\|\[\]])", r"\\\1", " ".join(text.split())).replace("<", "&lt;")
