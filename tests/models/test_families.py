"""What the families' verbs have in common: called from Python, the same shape, and a command that only parses."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from models.configuration import Configuration
from models.dataset import Dataset
from models.dataset_making import make_dataset
from models.vad import train as vad
from parley.bot import load_bot
from parley.errors import ParleyError
from parley.runs import Run

FAMILIES = ("stt", "nlu", "nlg", "tts")


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    out = tmp_path_factory.mktemp("dataset")
    return make_dataset(load_bot("barista"), out, synthetic=12, seed=3)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_verb_is_called_from_python_in_one_way(family: str) -> None:
    verbs = {name: importlib.import_module(f"models.{family}.{name}") for name in ("train", "export", "evaluate")}
    train, export, evaluate = (inspect.signature(getattr(module, name)) for name, module in verbs.items())

    assert issubclass(verbs["train"].TrainConfig, Configuration)
    assert list(train.parameters) == ["config", "out", "resume"] and train.return_annotation == "Run"
    assert list(export.parameters)[:3] == ["run", "precision", "tensorrt"] and export.return_annotation == "Path"
    assert next(iter(evaluate.parameters)) == "run" and evaluate.return_annotation == "dict[str, Any]"


@pytest.mark.parametrize(("family", "given"), [("stt", {"data": Path("d")}), ("nlu", {}), ("nlg", {}), ("tts", {})])
def test_a_command_only_parses_and_calls(
    family: str, given: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module(f"models.{family}.train")
    called: list[Any] = []
    monkeypatch.setattr(module, "train", lambda config, out, resume: called.append((config, out, resume)))
    options = [part for name, value in given.items() for part in (f"--{name}", str(value))]

    module.main(["--bot", "barista", "--out", str(tmp_path), "--steps", "5", "--resume", *options])

    assert called == [(module.TrainConfig(bot="barista", steps=5, **given), tmp_path, True)]


def test_a_configuration_is_frozen_and_its_numbers_are_checked() -> None:
    for family, given in (("stt", {"data": Path("d")}), ("nlu", {}), ("nlg", {}), ("tts", {})):
        kind = importlib.import_module(f"models.{family}.train").TrainConfig
        config = kind(bot="barista", **given)
        with pytest.raises(AttributeError):
            config.steps = 1
        with pytest.raises(ParleyError, match="steps: 0 is not at least 1"):
            kind(bot="barista", steps=0, **given)


def test_a_voice_activity_that_was_interrupted_ends_where_a_straight_one_ends(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = vad.TrainConfig(dataset.path, examples=6, steps=9, look_every=4)
    straight = vad.train(config, tmp_path / "straight")
    original = vad.Recipe.batch

    def dying(recipe: vad.Recipe, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        if step == 6:
            raise KeyboardInterrupt
        return original(recipe, step)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(vad.Recipe, "batch", dying)
        vad.train(config, tmp_path / "cut")
    resumed = vad.train(config, tmp_path / "cut", resume=True)

    weights = [np.load(vad.export(run, run.path / "weights.npz")) for run in (straight, resumed)]
    assert all(np.array_equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert straight.figures() == resumed.figures()
    with pytest.raises(ParleyError, match="examples = 6, not 7"):
        vad.train(vad.TrainConfig(dataset.path, examples=7, steps=9, look_every=4), tmp_path / "cut", resume=True)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_training_that_did_not_end_or_is_of_another_family_is_refused(family: str, tmp_path: Path) -> None:
    unfinished, other = Run.create(tmp_path / "a", family, "bank", {}, 7), Run.create(tmp_path / "b", "vad", "b", {}, 7)
    export, evaluate = (getattr(importlib.import_module(f"models.{family}.{v}"), v) for v in ("export", "evaluate"))

    for verb, run in ((export, unfinished), (export, other), (evaluate, other)):
        with pytest.raises(ParleyError, match=f"not a trained {family} run") as caught:
            verb(run)
        assert f"parley train {family}" in caught.value.mend
