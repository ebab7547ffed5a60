"""Figures of a benchmark on the model card of the version that a run will be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from parley.bundle import read_manifest, write_bundle
from parley.runs import Run


def add_to_card(run: Run, title: str, slices: Mapping[str, Mapping[str, Any]]) -> None:
    """Put figures, a slice a condition, into an exported run's bundle; what ``title`` had there before is replaced."""
    manifest = read_manifest(run.bundle_path)
    # A dot would end a slice's name on the card.
    named = {name.replace(".", ","): dict(row) for name, row in slices.items()}
    evaluation = {**manifest.evaluation, title: named}
    write_bundle(run.bundle_path, manifest.model_copy(update={"evaluation": evaluation}))
    run.figures(evaluation=evaluation)
