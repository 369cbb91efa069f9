"""Checkpoints: all a training needs to go on as if it had never stopped. No pickle."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latentwire.files import replacing_dir, write_json
from latentwire.run_folder import RunFolder

_WEIGHTS, _OPTIMISER, _BEST, _STATE = (
    "model.safetensors",
    "optimiser.safetensors",
    "best.safetensors",
    "state.json",
)


@dataclass
class TrainState:
    """Where a training stands.

    Args:
        step: Optimiser steps done.
        best: The best validation so far and its step, None before the first.
        best_weights: Weights at that step.
    """

    step: int = 0
    best: dict[str, float] | None = None
    best_weights: dict[str, Tensor] | None = None


def save_checkpoint(
    run: RunFolder, state: TrainState, model: nn.Module, optimiser: torch.optim.Optimizer, keep: int
) -> None:
    """Write a checkpoint atomically, then drop all but the last `keep`."""
    with replacing_dir(run.checkpoint(state.step)) as folder:
        save_file(_detached(model.state_dict()), folder / _WEIGHTS)
        save_file(_flatten(optimiser), folder / _OPTIMISER)
        if state.best_weights is not None:
            save_file(state.best_weights, folder / _BEST)
        write_json(folder / _STATE, {"step": state.step, "best": state.best})
    for step in run.steps()[:-keep]:
        shutil.rmtree(run.checkpoint(step), ignore_errors=True)


def load_checkpoint(
    run: RunFolder, model: nn.Module, optimiser: torch.optim.Optimizer
) -> TrainState | None:
    """Take the newest whole checkpoint into model, optimiser and random generator.

    A damaged one is passed over. Returns None if there is none.
    """
    for step in reversed(run.steps()):
        folder = run.checkpoint(step)
        try:
            facts = json.loads((folder / _STATE).read_text())
            weights, moments = load_file(folder / _WEIGHTS), load_file(folder / _OPTIMISER)
            best = load_file(folder / _BEST) if facts["best"] else None
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
        model.load_state_dict(weights)
        torch.set_rng_state(moments.pop("rng"))
        _unflatten(optimiser, moments)
        return TrainState(int(facts["step"]), facts["best"], best)
    return None


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _detached(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in weights.items()}


def _flatten(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    tensors = {"rng": torch.get_rng_state()}
    for index, entry in optimiser.state_dict()["state"].items():
        for name, value in entry.items():
            tensors[f"{index}.{name}"] = torch.as_tensor(value).contiguous()
    return tensors


def _unflatten(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    groups = optimiser.state_dict()["param_groups"]
    optimiser.load_state_dict({"state": state, "param_groups": groups})
