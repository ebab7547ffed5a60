"""The one training loop: steps, looks at held-out data, checkpoints, early stopping, averaged weights.

A family gives a :class:`Recipe` (its network, its batches, their loss, how the network is judged) and a :class:`Plan`
(how long, how often, when to stop); :func:`fit` does the rest::

    plan = Plan(steps=1000, look_every=100, patience=5, clip=1.0)
    outcome = fit(recipe, run, plan, resume=True)

A stopped training that is resumed ends with the weights of one that was not: batches depend on the step alone, and a
checkpoint keeps torch's random state. Weights to export lie in ``best/`` of the run when :func:`fit` returns.
"""

from __future__ import annotations

import copy
import logging
import math
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from models.checkpoints import load_checkpoint, save_checkpoint
from models.run_directory import has_checkpoint
from parley.errors import ParleyError
from parley.progress import progress
from parley.runs import Run

LOG = logging.getLogger(__name__)
Network = TypeVar("Network", bound=nn.Module)
Batch = TypeVar("Batch")
_MOST_SKIPPED = 20
"""Steps in a row whose gradient may be infinite or no number: one is a hard batch, many are a broken training."""


@dataclass(frozen=True)
class Loss:
    """What a batch cost."""

    total: Tensor
    """Scalar: what is minimised."""
    parts: Mapping[str, Tensor] = field(default_factory=dict)
    """Scalars that are only written down."""


@dataclass(frozen=True)
class Look:
    """What held-out data says of a network."""

    figures: Mapping[str, float]
    """Written into the run's ``metrics.jsonl``."""
    figure: float | None = None
    """The one that should fall: it chooses the best weights and stops a training that gets no better. None: this look
    does neither."""


class Recipe(Protocol[Network, Batch]):
    """What a family gives to the loop."""

    @property
    def network(self) -> Network:
        """The network that learns, with its first weights."""
        ...

    def optimizer(self) -> Optimizer:
        """A new optimiser of the network's parameters, at the peak of its rates."""
        ...

    def schedule(self, optimizer: Optimizer) -> LRScheduler:
        """The rates of each step; a function of the step's number alone."""
        ...

    def prepare(self, step: int) -> bool:
        """Set the network to learn step ``step``. True: its weights were changed, so that their average begins anew."""
        ...

    def batch(self, step: int) -> Batch:
        """What step ``step`` learns from; depends on the seed, the step, and torch's random state alone."""
        ...

    def loss(self, batch: Batch) -> Loss:
        """Of the network as it is."""
        ...

    def look(self, step: int, averaged: Network) -> Look:
        """Judge on held-out data after ``step`` steps: ``averaged`` is the network itself where nothing is averaged."""
        ...


@dataclass(frozen=True)
class Averaging:
    """An exponential moving average of the weights and buffers, kept beside the network."""

    decay: float
    """Of a step."""
    every: int = 1
    """Steps from one update to the next: a pass over all weights."""
    warm: bool = False
    """Whether it forgets faster in the beginning: ``(1 + step) / (10 + step)``."""

    def of_step(self, step: int) -> float:
        """The share that the average keeps of itself in an update."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warm else self.decay
        return decay**self.every


@dataclass(frozen=True)
class Plan:
    """How long a training lasts, and when it looks, saves and stops. All counts are steps."""

    steps: int
    look_every: int
    clip: float
    """Largest norm of the gradient; longer ones are shortened to it."""
    save_every: int = 0
    """Checkpoints are written so often, and at each look; 0: at looks alone."""
    log_every: int = 0
    """Losses are written down so often, and at each look; 0: at looks alone."""
    patience: int = 0
    """Looks without a better figure before training stops; 0: it goes to the end."""
    minutes: float = 0.0
    """Wall time of this start after which it stops, to be resumed; 0: no limit."""
    average: Averaging | None = None
    keep: Literal["best", "last"] = "best"
    """Which weights are kept: of the look with the best figure, or those at the end."""


@dataclass(frozen=True)
class Outcome:
    """How a training ended."""

    steps: int
    spent_s: float
    """Seconds of training, all starts together."""
    best: float | None
    """The best look's figure, if one had any."""
    look: Look
    """The last one."""


class PerStep(LRScheduler):
    """Rates by a function of the step's number and the peak of the rate."""

    def __init__(self, optimizer: Optimizer, rate: Callable[[int, float], float]) -> None:
        self._rate = rate
        super().__init__(optimizer)

    def get_lr(self) -> list[float | Tensor]:
        """A rate for each group of parameters."""
        return [self._rate(self.last_epoch, float(peak)) for peak in self.base_lrs]


def warm_up_then_cosine(optimizer: Optimizer, steps: int, warm_share: float) -> PerStep:
    """A linear warm-up over ``warm_share`` of the run, then a cosine from the peak to zero."""
    return PerStep(optimizer, lambda step, peak: peak * warm_up_share(step, steps, warm_share))


def warm_up_share(step: int, steps: int, warm_share: float) -> float:
    """Share of the peak rate that :func:`warm_up_then_cosine` gives a step."""
    warm = max(1, int(steps * warm_share))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch. One thread each: two processes with two OpenMP threads on two cores crawl."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


@torch.no_grad()
def move_average(average: nn.Module, network: nn.Module, decay: float) -> None:
    """Move averaged weights and buffers towards the network's; what is no fraction is copied."""
    theirs = network.state_dict()
    for name, mine in average.state_dict().items():
        if mine.dtype.is_floating_point:
            mine.lerp_(theirs[name], 1 - decay)
        else:
            mine.copy_(theirs[name])


def fit(recipe: Recipe[Network, Batch], run: Run, plan: Plan, *, resume: bool) -> Outcome:
    """Train to the plan's end, or until held-out data has not got better for long, or the time is over.

    Args:
        recipe: network, batches, loss.
        run: the directory that gets ``metrics.jsonl``, ``checkpoint/`` and ``best/``.
        plan: how long.
        resume: go on from the run's checkpoint, where there is one.

    Raises:
        ParleyError: the loss is no number for many steps, or the checkpoint is an earlier Parley's.
    """
    loop = _Loop(recipe, run, plan)
    if resume and has_checkpoint(run.checkpoint_path):
        loop.restore()
    else:
        if resume:
            LOG.warning("%s holds no checkpoint yet: the training begins", run.path)
        run.forget_after(0)
    return loop.go()


@dataclass
class _Place:
    """Where a training is: what a checkpoint holds beside tensors."""

    step: int = 0
    spent_s: float = 0.0
    best: float | None = None
    looks_since_best: int = 0
    summed: dict[str, float] = field(default_factory=dict)
    """Losses since they were last written down."""
    steps_summed: int = 0


class _Loop(Generic[Network, Batch]):
    """One start of a training."""

    def __init__(self, recipe: Recipe[Network, Batch], run: Run, plan: Plan) -> None:
        self.recipe, self.run, self.plan = recipe, run, plan
        self.optimizer = recipe.optimizer()
        self.schedule = recipe.schedule(self.optimizer)
        self.averaged = _twin(recipe.network) if plan.average else recipe.network
        self.at = _Place()
        self.skipped = 0
        self.begun = time.monotonic()

    def restore(self) -> None:
        """Go on from the run's checkpoint."""
        average = self.averaged if self.plan.average else None
        state = load_checkpoint(self.run.checkpoint_path, self.recipe.network, self.optimizer, average)
        if "place" not in state:
            raise ParleyError(
                "the checkpoint is an earlier Parley's", where=str(self.run.checkpoint_path),
                mend="train from the beginning: leave out --resume",
            )  # fmt: skip
        self.at = _Place(**state["place"])
        self.schedule.last_epoch = self.at.step
        self.run.forget_after(self.at.step)

    def go(self) -> Outcome:
        """Train on from where it is."""
        plan, spent_before = self.plan, self.at.spent_s
        ends = self.begun + plan.minutes * 60 if plan.minutes else math.inf
        looked: Look | None = None
        with progress(self.run.path.name, plan.steps) as bar:
            bar.advance(self.at.step)
            while self.at.step < plan.steps and not self.patience_over and time.monotonic() < ends:
                self._learn()
                bar.advance()
                self.at.spent_s = spent_before + time.monotonic() - self.begun
                looked = self._write_down()
        if self.at.step < plan.steps and not self.patience_over:
            say = "stopped by --minutes %g at step %d of %d: --resume goes on"
            LOG.warning(say, plan.minutes, self.at.step, plan.steps)
            self._save()
        # A look out of turn counts for nothing: a resumed training must not differ from one that was not stopped.
        looked = looked or self._look()
        if plan.keep == "last" or not has_checkpoint(self.run.path / "best"):
            save_checkpoint(self.run.path / "best", self.averaged, None, {"step": self.at.step})
        return Outcome(self.at.step, self.at.spent_s, self.at.best, looked)

    @property
    def patience_over(self) -> bool:
        """Whether enough looks in a row were no better."""
        return bool(self.plan.patience) and self.at.looks_since_best >= self.plan.patience

    def _learn(self) -> None:
        """One step."""
        step, network = self.at.step, self.recipe.network
        if self.recipe.prepare(step) and self.plan.average:
            self.averaged.load_state_dict(network.state_dict())
        loss = self.recipe.loss(self.recipe.batch(step))
        self.optimizer.zero_grad()
        torch.autograd.backward(loss.total)
        norm = nn.utils.clip_grad_norm_(network.parameters(), self.plan.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
            self.skipped = 0
            self._sum(loss, float(norm))
        else:
            self._skip()
        average = self.plan.average
        if average and step % average.every == 0:
            move_average(self.averaged, network, average.of_step(step))
        self.schedule.step()
        self.at.step += 1

    def _skip(self) -> None:
        """Leave a step out whose gradient is not finite."""
        self.skipped += 1
        if self.skipped == _MOST_SKIPPED:
            raise ParleyError(
                f"the loss is not finite at step {self.at.step}, nor at the {_MOST_SKIPPED - 1} before it",
                where=str(self.run.path), mend="train with a lower rate",
            )  # fmt: skip

    def _sum(self, loss: Loss, gradient: float) -> None:
        figures = {"train_loss": loss.total, **loss.parts}
        for name, value in figures.items():
            self.at.summed[name] = self.at.summed.get(name, 0.0) + float(value.detach())
        self.at.summed["gradient"] = self.at.summed.get("gradient", 0.0) + gradient
        self.at.steps_summed += 1

    def _write_down(self) -> Look | None:
        """Look, log and save where the step is one for it; returns the look."""
        plan, step = self.plan, self.at.step
        looked = self._look() if _due(step, plan.look_every) or step == plan.steps else None
        if looked or _due(step, plan.log_every):
            self._log(looked)
        if looked and looked.figure is not None:
            better = self.at.best is None or looked.figure < self.at.best
            self.at.looks_since_best = 0 if better else self.at.looks_since_best + 1
            if better:
                self.at.best = looked.figure
            if better and plan.keep == "best":
                state = {"step": step, "figure": looked.figure}
                save_checkpoint(self.run.path / "best", self.averaged, None, state)
        if looked or _due(step, plan.save_every):
            self._save()
        return looked

    def _look(self) -> Look:
        return self.recipe.look(self.at.step, self.averaged)

    def _log(self, looked: Look | None) -> None:
        """Write means of the losses since the last line, and what a look found."""
        means = {name: round(value / self.at.steps_summed, 5) for name, value in self.at.summed.items()}
        self.at.summed, self.at.steps_summed = {}, 0
        self.run.log(self.at.step, **means, **(looked.figures if looked else {}))

    def _save(self) -> None:
        average = self.averaged if self.plan.average else None
        state = {"place": asdict(self.at)}
        save_checkpoint(self.run.checkpoint_path, self.recipe.network, self.optimizer, state, average)


def _due(step: int, every: int) -> bool:
    return bool(every) and step % every == 0


def _twin(network: Network) -> Network:
    """A copy of the network for averaged weights, which does not learn."""
    twin = copy.deepcopy(network).requires_grad_(False)
    return twin.eval()
