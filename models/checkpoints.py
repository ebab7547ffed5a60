"""Checkpoints of a training without pickle: tensors as safetensors, the rest as JSON, swapped in as one folder.

``checkpoint/`` of a run is where it goes on, ``best/`` the weights that it is exported with.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from models.run_directory import has_checkpoint, weights_to_begin_with
from parley.errors import ParleyError
from parley.files import write_json
from parley.text_files import read_json_object


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None, state: dict[str, Any],
    average: nn.Module | None = None,
) -> None:  # fmt: skip
    """Write a checkpoint: weights, what the optimiser remembers, and torch's random state.

    A kill at any moment leaves the previous checkpoint or this one.

    Args:
        path: the folder.
        model: the network.
        optimizer: None where nothing goes on from here.
        state: anything that JSON can say.
        average: the network of averaged weights.
    """
    staging = path.with_name(f".{path.name}.new")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    save_file(_tensors(model), staging / "model.safetensors")
    if average is not None:
        save_file(_tensors(average), staging / "average.safetensors")
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


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer | None = None, average: nn.Module | None = None
) -> dict[str, Any]:
    """Read a checkpoint back into ``model`` (and ``optimizer``, and ``average``) and return its state.

    Raises:
        ParleyError: there is none, its state is damaged, or it holds no averaged weights where they are asked for.
    """
    if not has_checkpoint(path):
        raise ParleyError("no checkpoint", where=str(path), mend="train first, or leave out --resume")
    if average is not None and not (path / "average.safetensors").is_file():
        raise ParleyError(
            "the checkpoint is an earlier Parley's, which kept no averaged weights in it", where=str(path),
            mend="train from the beginning: leave out --resume",
        )  # fmt: skip
    model.load_state_dict(load_file(path / "model.safetensors"))
    if average is not None:
        average.load_state_dict(load_file(path / "average.safetensors"))
    state = read_json_object(path / "state.json")
    if optimizer:
        _unflatten_optimizer(optimizer, load_file(path / "optimizer.safetensors"), state["optimizer"])
    torch.set_rng_state(torch.tensor(state["torch_rng"], dtype=torch.uint8))
    return state


def load_beginning(run: Path, model: nn.Module) -> dict[str, Any]:
    """Read another run's weights into ``model``, to begin with.

    Raises:
        ParleyError: it holds no weights, or those of another network.
    """
    found = weights_to_begin_with(run)
    try:
        return load_checkpoint(found, model)
    except RuntimeError as error:  # torch's, of names and shapes
        reason = " ".join(str(error).split())[:200]
        raise ParleyError(
            f"its weights are another network's: {reason}", where=str(found), mend="name another run"
        ) from None


def _tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.contiguous().clone() for name, value in model.state_dict().items()}


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
