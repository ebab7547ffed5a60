"""The training loop, on a line through a few points: looks, stops, averages, and a resumed run that is like another."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from models import loop
from models.checkpoints import load_beginning, load_checkpoint, save_checkpoint
from models.loop import Averaging, Look, Loss, Plan, fit
from parley.errors import ParleyError
from parley.runs import Run

PLAN = Plan(steps=12, look_every=3, clip=1.0, average=Averaging(0.9), log_every=2)


@pytest.fixture(autouse=True)
def _no_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")


@dataclass
class Line:
    """A recipe: a linear layer with dropout, which draws from torch's random state as families do."""

    network: nn.Sequential
    figures: list[float | None]
    """What each look finds; the last one again when there are no more."""
    dies_at: int = -1
    broken_from: int = 10**9
    restarts_at: int = -1

    def optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.network.parameters(), lr=0.1)

    def schedule(self, optimizer: torch.optim.Optimizer) -> LRScheduler:
        return loop.warm_up_then_cosine(optimizer, 12, 0.2)

    def prepare(self, step: int) -> bool:
        if step == self.dies_at:
            raise KeyboardInterrupt
        self.network.train()
        return step == self.restarts_at

    def batch(self, step: int) -> Tensor:
        return torch.full((4, 3), float(step + 1))

    def loss(self, batch: Tensor) -> Loss:
        total = self.network(batch).square().mean()
        return Loss(total * float("nan") if batch[0, 0] > self.broken_from else total, {"squared": total})

    def look(self, step: int, averaged: nn.Sequential) -> Look:
        place = min(step // 3 - 1, len(self.figures) - 1)
        return Look({"weight": float(averaged.get_parameter("0.weight").sum())}, self.figures[place])


def line(*figures: float | None, **more: int) -> Line:
    loop.seed_everything(1)
    return Line(nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5)), list(figures or (None,)), **more)


def run_in(path: Path) -> Run:
    return Run.create(path, "toy", "line", {}, 1)


def weights(path: Path) -> dict[str, Tensor]:
    return load_file(path / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    mine, theirs = weights(one), weights(other)
    return all(torch.equal(mine[name], theirs[name]) for name in mine)


def lines_of(run: Run) -> list[dict[str, float]]:
    rows = [json.loads(row) for row in (run.path / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "elapsed_s"} for row in rows]


@pytest.mark.parametrize("dies_at", range(1, 12))
def test_a_killed_training_goes_on_to_the_weights_and_figures_of_one_that_was_not(tmp_path: Path, dies_at: int) -> None:
    whole, cut = run_in(tmp_path / "whole"), run_in(tmp_path / "cut")
    figures = (3.0, 2.0, 2.5, 1.0)
    fit(line(*figures), whole, PLAN, resume=False)

    with pytest.raises(KeyboardInterrupt):
        fit(line(*figures, dies_at=dies_at), cut, PLAN, resume=False)
    outcome = fit(line(*figures), cut, PLAN, resume=True)

    assert outcome.steps == 12 and outcome.best == 1.0
    assert same(whole.path / "best", cut.path / "best") and same(whole.checkpoint_path, cut.checkpoint_path)
    assert lines_of(whole) == lines_of(cut)


def test_a_training_that_the_clock_stopped_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole, cut = run_in(tmp_path / "whole"), run_in(tmp_path / "cut")
    fit(line(2.0), whole, PLAN, resume=False)
    seconds = iter(range(0, 1000, 10))
    with monkeypatch.context() as patch:
        patch.setattr(loop.time, "monotonic", lambda: float(next(seconds)))
        stopped = fit(line(2.0), cut, replace(PLAN, minutes=1.0), resume=False)

    assert 0 < stopped.steps < 12 and (cut.path / "best").is_dir()
    assert f"stopped by --minutes 1 at step {stopped.steps} of 12: --resume goes on" in caplog.messages
    fit(line(2.0), cut, PLAN, resume=True)
    assert same(whole.path / "best", cut.path / "best") and same(whole.checkpoint_path, cut.checkpoint_path)


def test_the_weights_of_the_best_look_are_kept_or_those_at_the_end(tmp_path: Path) -> None:
    best, last = run_in(tmp_path / "best"), run_in(tmp_path / "last")
    fit(line(2.0, 1.0, 3.0), best, PLAN, resume=False)
    fit(line(2.0, 1.0, 3.0), last, replace(PLAN, keep="last"), resume=False)

    assert json.loads((best.path / "best" / "state.json").read_text())["step"] == 6
    assert json.loads((last.path / "best" / "state.json").read_text())["step"] == 12
    assert not same(best.path / "best", last.path / "best")


def test_training_stops_when_looks_get_no_better(tmp_path: Path) -> None:
    outcome = fit(line(2.0, 1.0, 3.0), run_in(tmp_path), replace(PLAN, steps=60, patience=2), resume=False)

    assert (outcome.steps, outcome.best) == (12, 1.0), "a look, a better one, then two that are no better"


def test_looks_without_a_figure_neither_stop_nor_choose(tmp_path: Path) -> None:
    outcome = fit(line(None), run_in(tmp_path), replace(PLAN, patience=1), resume=False)

    assert (outcome.steps, outcome.best) == (12, None)
    assert (tmp_path / "best").is_dir()


def test_the_average_follows_the_weights_and_begins_anew_when_asked() -> None:
    network, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    nn.init.zeros_(average.weight)
    nn.init.ones_(network.weight)

    loop.move_average(average, network, 0.75)

    assert average.weight.item() == pytest.approx(0.25)
    assert Averaging(0.9, every=2).of_step(100) == pytest.approx(0.81)
    assert Averaging(0.99, warm=True).of_step(0) == pytest.approx(0.1)


def test_an_average_that_begins_anew_forgets_what_was_before(tmp_path: Path) -> None:
    slow = replace(PLAN, average=Averaging(1.0), keep="last")
    fit(line(None), run_in(tmp_path / "first"), slow, resume=False)
    fit(line(None, restarts_at=5), run_in(tmp_path / "anew"), slow, resume=False)
    first = line(None).network.state_dict()

    assert torch.equal(weights(tmp_path / "first" / "best")["0.weight"], first["0.weight"])
    assert not same(tmp_path / "first" / "best", tmp_path / "anew" / "best")


def test_a_step_whose_gradient_is_not_finite_is_left_out_and_many_end_the_training(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    fit(line(1.0, broken_from=9), run, PLAN, resume=False)

    assert all(torch.isfinite(tensor).all() for tensor in weights(run.path / "best").values())
    with pytest.raises(ParleyError, match="not finite at step 23, nor at the 19 before it"):
        fit(line(1.0, broken_from=4), run, replace(PLAN, steps=60), resume=False)


def test_a_fresh_training_forgets_the_figures_of_the_one_before(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    fit(line(1.0), run, PLAN, resume=False)
    before = lines_of(run)
    with pytest.raises(KeyboardInterrupt):
        fit(line(1.0, dies_at=1), run, PLAN, resume=False)

    assert before and not lines_of(run)


def test_resume_where_nothing_is_begins_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fit(line(1.0), run_in(tmp_path), PLAN, resume=True)

    assert "holds no checkpoint yet: the training begins" in caplog.text


def test_a_checkpoint_of_an_earlier_parley_is_refused_in_one_line(tmp_path: Path) -> None:
    run, recipe = run_in(tmp_path), line(1.0)
    save_checkpoint(run.checkpoint_path, recipe.network, recipe.optimizer(), {"step": 3})

    for plan in (PLAN, replace(PLAN, average=None)):
        with pytest.raises(ParleyError, match="an earlier Parley's"):
            fit(line(1.0), run, plan, resume=True)


def _steps(model: nn.Module, optimizer: torch.optim.Optimizer, n: int) -> None:
    for _ in range(n):
        loss = model(torch.randn(8, 3)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def test_a_checkpoint_restores_weights_optimizer_and_random_state(tmp_path: Path) -> None:
    loop.seed_everything(1)
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
    save_checkpoint(tmp_path / "c", model, torch.optim.AdamW(model.parameters()), {}, nn.Linear(3, 2))

    assert {p.suffix for p in (tmp_path / "c").iterdir()} == {".safetensors", ".json"}


def test_a_kill_while_swapping_leaves_the_previous_checkpoint(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    save_checkpoint(tmp_path / "c", model, None, {"step": 1})
    (tmp_path / "c").rename(tmp_path / ".c.old")  # the state between the two renames

    assert load_checkpoint(tmp_path / "c", model)["step"] == 1


def test_no_checkpoint_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ParleyError, match="train first, or leave out --resume"):
        load_checkpoint(tmp_path / "none", nn.Linear(1, 1))


def test_a_published_version_is_no_run_to_begin_with(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"")

    with pytest.raises(ParleyError, match="no weights to begin with") as caught:
        load_beginning(tmp_path, torch.nn.Linear(2, 2))
    assert "published version" in caught.value.mend and "resume" not in caught.value.mend


def test_weights_of_another_network_are_one_clear_error(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "best", torch.nn.Linear(3, 2), None, {})

    with pytest.raises(ParleyError, match="another network's"):
        load_beginning(tmp_path, torch.nn.Linear(2, 2))
