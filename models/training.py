"""What every family's training shares: seeds, checkpoints without pickle, early stopping, lineage."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import os
import platform
import random
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from parley.bot import Bot, load_bot
from parley.errors import ParleyError
from parley.files import write_json
from parley.runs import Run

LOG = logging.getLogger(__name__)


def seed_everything(seed: int) -> None:
    """Seed Python, numpy and torch. One thread each: two processes with two OpenMP threads on two cores crawl."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, state: dict[str, Any]
) -> None:
    """Write a checkpoint: tensors as safetensors, the rest as JSON, swapped in as one folder.

    A kill at any moment leaves the previous checkpoint or this one.
    """
    staging = path.with_name(f".{path.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    save_file({k: v.contiguous().clone() for k, v in model.state_dict().items()}, staging / "model.safetensors")
    if optimizer:
        tensors, rest = _flatten_optimizer(optimizer)
        save_file(tensors, staging / "optimizer.safetensors")
        state = {**state, "optimizer": rest}
    state = {**state, "torch_rng": torch.get_rng_state().tolist()}
    write_json(staging / "state.json", state)
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    staging.rename(path)
    shutil.rmtree(old, ignore_errors=True)


def load_checkpoint(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None) -> dict[str, Any]:
    """Read a checkpoint back into ``model`` (and ``optimizer``) and return its state.

    Raises:
        ParleyError: there is none.
    """
    old = path.with_name(f".{path.name}.old")
    if not path.exists() and old.exists():
        old.rename(path)
    if not (path / "state.json").is_file():
        raise ParleyError("no checkpoint", where=str(path), mend="train first, or leave out --resume")
    model.load_state_dict(load_file(path / "model.safetensors"))
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    if optimizer:
        _unflatten_optimizer(optimizer, load_file(path / "optimizer.safetensors"), state["optimizer"])
    torch.set_rng_state(torch.tensor(state["torch_rng"], dtype=torch.uint8))
    return state


def load_beginning(run: Path, model: nn.Module) -> dict[str, Any]:
    """Read another run's weights into ``model``, to begin with: its best ones, else its averaged ones.

    Raises:
        ParleyError: it holds no weights, or those of another network.
    """
    found = next((run / name for name in ("best", "average") if (run / name / "state.json").is_file()), None)
    if found is None:
        raise ParleyError(
            "no weights to begin with", where=str(run),
            mend="--init takes the --out of a training run; a published version holds a graph that cannot be trained",
        )  # fmt: skip
    try:
        return load_checkpoint(found, model)
    except RuntimeError as error:  # torch's, of names and shapes
        reason = " ".join(str(error).split())[:200]
        raise ParleyError(
            f"its weights are another network's: {reason}", where=str(found), mend="name another run"
        ) from None


def _flatten_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    whole = optimizer.state_dict()
    tensors: dict[str, torch.Tensor] = {}
    scalars: dict[str, dict[str, Any]] = {}
    for index, entry in whole["state"].items():
        for key, value in entry.items():
            if isinstance(value, torch.Tensor):
                tensors[f"{index}.{key}"] = value.contiguous().clone()
            else:
                scalars.setdefault(str(index), {})[key] = value
    return tensors, {"scalars": scalars, "groups": whole["param_groups"]}


def _unflatten_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], rest: dict[str, Any]
) -> None:
    state: dict[int, dict[str, Any]] = {int(i): dict(v) for i, v in rest["scalars"].items()}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": rest["groups"]})


def warm_up_then_cosine(step: int, steps: int, warm_share: float) -> float:
    """Share of the peak learning rate: a linear warm-up over ``warm_share`` of the run, then a cosine to zero."""
    warm = max(1, int(steps * warm_share))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def trained_run(path: Path, family: str) -> tuple[Run, Bot]:
    """A finished training run and its bot as it is now.

    Raises:
        ParleyError: no such run, no weights, or the bot has changed since.
    """
    run = Run.open(path)
    if run.params.get("family") != family or not (path / "best" / "model.safetensors").is_file():
        raise ParleyError(
            f"not a trained {family} run", where=str(path), mend=f"run `parley train {family}` to its end"
        )
    bot = load_bot(run.params["bot_path"])
    if bot.digest != run.params["bot_digest"]:
        raise ParleyError("the bot has changed since the training", where=str(path), mend="train again")
    return run, bot


class Clock:
    """A limit of time on a training, which is otherwise counted in steps.

    Args:
        minutes: the limit; 0 for none.
        spent_s: seconds that earlier parts of the run have used of it.
    """

    def __init__(self, minutes: float, spent_s: float = 0.0) -> None:
        self._minutes = minutes
        self._ends = time.monotonic() + minutes * 60 - spent_s if minutes else math.inf

    @property
    def over(self) -> bool:
        """Whether the time is used up."""
        return time.monotonic() >= self._ends

    def say(self, step: int, steps: int) -> None:
        """Warn when the clock and not the schedule ended the training: the last steps' small rates are lacking."""
        if self.over and step < steps:
            LOG.warning("stopped by --minutes %g at step %d of %d: --resume goes on", self._minutes, step, steps)


class EarlyStopping:
    """Stop when a figure that should fall has not fallen for ``patience`` looks."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best = float("inf")
        self.looks_since_best = 0

    def update(self, figure: float) -> bool:
        """Record a look; True when it is the best so far."""
        if figure < self.best:
            self.best, self.looks_since_best = figure, 0
            return True
        self.looks_since_best += 1
        return False

    @property
    def stop(self) -> bool:
        """Whether to stop now."""
        return self.looks_since_best >= self.patience


class Average:
    """Exponential moving average of a model's weights and buffers, evaluated in their place."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.tensors = {k: v.detach().clone() for k, v in model.state_dict().items()}

    @classmethod
    def of(cls, averaged: nn.Module, decay: float) -> Self:
        """An average that is kept in another model's own tensors."""
        average = cls.__new__(cls)
        average.decay, average.tensors = decay, averaged.state_dict()
        return average

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Move towards the model's present weights."""
        for name, value in model.state_dict().items():
            mine = self.tensors[name]
            if mine.dtype.is_floating_point:
                mine.lerp_(value, 1 - self.decay)
            else:
                mine.copy_(value)


def git_lineage() -> dict[str, Any]:
    """Commit of the working tree and whether it differs from it; empty outside a checkout."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], capture_output=True, text=True, encoding="utf-8")
        return done.stdout.strip() if done.returncode == 0 else ""

    commit = git("rev-parse", "HEAD")
    return {"git_commit": commit, "git_dirty": bool(commit and git("status", "--porcelain", "-uno"))}


def environment() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("torch", "transformers", "onnx", "onnxruntime-gpu", "numpy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
