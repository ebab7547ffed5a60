"""A served site with the starter versions and an NLU that answers rubbish beside its own: for the drills."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import helper
from rich.console import Console
from starters import copy_starters

from calling.speech import Speech, speech_of_file
from calling.synthetic import synthetic_caller
from orchestrator.app import RunningApp
from orchestrator.running import running_site
from parley.audio import TELEPHONE_RATE
from parley.bundle import read_manifest, write_bundle
from parley.settings import Settings
from registry.releasing.creating import create_release
from registry.versions.publish import publish
from registry.writing import open_for_writing

ROOT = Path(__file__).parents[2]
BAD = 2
"""The release that holds the bad NLU."""


@dataclass(frozen=True)
class DrillSite:
    settings: Settings
    app: RunningApp
    caller: list[Speech]


@contextmanager
def drill_site(folder: Path) -> Iterator[DrillSite]:
    """Serve release 1, the starters; release 2 has an NLU that means the least likely thing."""
    repo = folder / "triton_repo"
    starters = copy_starters("barista", repo)
    settings = Settings(
        bots_dir=ROOT / "bots", repo_dir=repo, state_dir=folder / "var", trusted_keys_dir=ROOT / "keys",
        port=0, max_calls=8,
        answer_within_ms=60_000,  # on a machine that runs other tests too nobody is to be refused here
    )  # fmt: skip
    with open_for_writing(settings) as registry:
        publish(_contrary(starters["nlu"], folder / "bundle"), registry)
        create_release(registry, "barista", {"nlu": 2}, who="tester", why="drill")
    with running_site("barista", settings, Console(stderr=True)) as app:
        yield DrillSite(settings, app, [speech_of_file(path, TELEPHONE_RATE) for path in synthetic_caller(folder)])


def _contrary(version: Path, bundle: Path) -> Path:
    """The bundle of an NLU whose logits have the wrong sign."""
    shutil.copytree(version, bundle, ignore=shutil.ignore_patterns("model.sig", "config*", "card.md"))
    graph = bundle / "model.onnx"
    graph.chmod(0o644)
    (bundle / "manifest.json").chmod(0o644)
    model = onnx.load(str(graph))
    for node in model.graph.node:
        node.output[:] = ["right_logits" if name == "intent_logits" else name for name in node.output]
    model.graph.node.append(helper.make_node("Neg", ["right_logits"], ["intent_logits"]))
    onnx.save(model, str(graph))
    write_bundle(bundle, read_manifest(version).model_copy(update={"version": None}))
    return bundle
