"""What every family's training shares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from models.training import (
    Average,
    Clock,
    EarlyStopping,
    load_beginning,
    load_checkpoint,
    save_checkpoint,
    seed_everything,
)
from parley.errors import ParleyError
from parley.runs import Run


def _steps(model: nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
    for _ in range(n):
        loss = model(torch.randn(8, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_a_checkpoint_restores_weights_optimizer_and_random_state(tmp_path: Path) -> None:
    seed_everything(1)
    model = nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    _steps(model, optimizer, 5)
    save_checkpoint(tmp_path / "c", model, optimizer, {"step": 5})
    _steps(model, optimizer, 5)

    other = nn.Linear(3, 2)
    other_optimizer = torch.optim.AdamW(other.parameters(), lr=0.5)
    state = load_checkpoint(tmp_path / "c", other, other_optimizer)
    _steps(other, other_optimizer, 5)

    assert state["step"] == 5
    assert torch.equal(model.weight, other.weight)


def test_a_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    save_checkpoint(tmp_path / "c", model, torch.optim.AdamW(model.parameters()), {})

    assert {p.suffix for p in (tmp_path / "c").iterdir()} == {".safetensors", ".json"}


def test_a_kill_while_swapping_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    save_checkpoint(tmp_path / "c", model, None, {"step": 1})
    (tmp_path / "c").rename(tmp_path / ".c.old")  # the state between the two renames

    assert load_checkpoint(tmp_path / "c", model)["step"] == 1


def test_no_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="train first, or leave out --resume"):
        load_checkpoint(tmp_path / "none", nn.Linear(1, 1))


def test_early_stopping_waits_for_its_patience() -> None:
    stopping = EarlyStopping(patience=2)
    seen = [(stopping.update(x), stopping.stop) for x in (3.0, 2.0, 2.5, 2.4)]

    assert seen == [(True, False), (True, False), (False, False), (False, True)]


def test_the_average_follows_the_weights() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = Average(model, decay=0.5)
    nn.init.ones_(model.weight)
    average.update(model)

    assert average.tensors["weight"].item() == pytest.approx(0.5)


def test_a_run_keeps_figures_and_mirrors_steps_to_wandb_offline(tmp_path: Path) -> None:
    script = (
        "from parley.runs import Run\n"
        f"run = Run.create({str(tmp_path / 'r')!r}, 'nlu', 'bank', {{'lr': 0.1}}, 7)\n"
        "run.log(1, loss=0.5); run.figures(f1=0.9); run.figures(acc=1.0); run.finish()\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_MODE"}
    subprocess.run([sys.executable, "-c", script], check=True, env=environment, capture_output=True, timeout=120)

    run = Run.open(tmp_path / "r")
    assert run.params == {"family": "nlu", "bot": "bank", "seed": 7, "lr": 0.1}
    assert json.loads((run.path / "figures.json").read_text()) == {"f1": 0.9, "acc": 1.0}
    assert json.loads((run.path / "metrics.jsonl").read_text())["loss"] == 0.5
    assert list(run.path.glob("wandb/offline-run-*/*.wandb"))


def test_what_is_no_run_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="not a run directory"):
        Run.open(tmp_path)


def test_a_published_version_is_no_run_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")

    with pytest.raises(ParleyError, match="no weights to begin with") as caught:
        load_beginning(tmp_path, torch.nn.Linear(2, 2))
    assert "published version" in caught.value.mend and "resume" not in caught.value.mend


def test_weights_of_another_network_are_one_clear_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best", torch.nn.Linear(3, 2), None, {})

    with pytest.raises(ParleyError, match="another network's"):
        load_beginning(tmp_path, torch.nn.Linear(2, 2))


def test_a_training_that_the_clock_ends_says_so(caplog: pytest.LogCaptureFixture) -> None:
    unlimited, used_up = Clock(0.0), Clock(1.0, spent_s=61.0)

    unlimited.say(3, 10)
    used_up.say(10, 10)
    assert not unlimited.over and used_up.over and not caplog.messages
    used_up.say(3, 10)
    assert caplog.messages == ["stopped by --minutes 1 at step 3 of 10: --resume goes on"]
