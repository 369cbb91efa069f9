"""Checkpoints, from which a training run resumes exactly. No pickle."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from latentwire.core.files import replacing_dir, write_json
from latentwire.core.run_folder import RunFolder
from latentwire.train.ema import WeightAverage
from latentwire.train.processes import Processes

_WEIGHTS, _OPTIMIZER, _OBJECTIVES, _AVERAGE, _BEST, _STATE = (
    "model.safetensors",
    "optimiser.safetensors",
    "objectives.safetensors",
    "average.safetensors",
    "best.safetensors",
    "state.json",
)


@dataclass
class TrainState:
    """Progress of a training run.

    Args:
        step: Number of completed optimizer steps.
        validated: Step of the last validation, 0 before the first.
        stale: Number of validations since the best one.
        best: Metrics of the best validation and its `step`, None before the first validation.
        best_weights: Weights at that step.
    """

    step: int = 0
    validated: int = 0
    stale: int = 0
    best: dict[str, float] | None = None
    best_weights: dict[str, Tensor] | None = None


@dataclass(frozen=True)
class TrainedObjects:
    """Objects whose state a checkpoint contains.

    Args:
        module: The trained module: a bridge, or the weights of a trained baseline.
        loss: The objectives, with their trained parameters and buffers.
        optimizer: Optimizer of both.
        average: Moving average of the module's weights, or None.
        device: Device of the module, whose random state is saved too.
    """

    module: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    average: WeightAverage | None
    device: torch.device


def save_checkpoint(
    run: RunFolder, state: TrainState, trained: TrainedObjects, keep: int, processes: Processes
) -> None:
    """Write a checkpoint atomically, then delete all but the last `keep`.

    All processes must call it, because each contributes its random state; the first one writes.
    """
    random = {
        f"rng.{name}.{rank}": value
        for name, own in _random_states(trained.device).items()
        for rank, value in enumerate(processes.gather(own))
    }
    if processes.is_first:
        with replacing_dir(run.checkpoint(state.step)) as folder:
            save_file(_detached(trained.module.state_dict()), folder / _WEIGHTS)
            save_file({**_flatten(trained.optimizer), **random}, folder / _OPTIMIZER)
            if objectives := trained.loss.state_dict():
                save_file(_detached(objectives), folder / _OBJECTIVES)
            if trained.average is not None:
                save_file(_detached(trained.average.state_dict()), folder / _AVERAGE)
            if state.best_weights is not None:
                save_file(state.best_weights, folder / _BEST)
            facts = {"step": state.step, "validated": state.validated, "stale": state.stale}
            write_json(folder / _STATE, {**facts, "best": state.best})
        for step in run.steps()[:-keep]:
            shutil.rmtree(run.checkpoint(step), ignore_errors=True)
    processes.wait()


def load_checkpoint(
    run: RunFolder, trained: TrainedObjects, processes: Processes
) -> TrainState | None:
    """Load the newest valid checkpoint into the objects and the random number generators.

    Damaged checkpoints are skipped. Returns None if there is no valid one.
    """
    for step in reversed(run.steps()):
        folder = run.checkpoint(step)
        try:
            facts = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            weights, moments = load_file(folder / _WEIGHTS), load_file(folder / _OPTIMIZER)
            random = {
                name: moments[f"rng.{name}.{processes.rank}"]
                for name in _random_states(trained.device)
            }
            objectives = load_file(folder / _OBJECTIVES) if trained.loss.state_dict() else {}
            average = load_file(folder / _AVERAGE) if trained.average is not None else {}
            best = load_file(folder / _BEST) if facts["best"] else None
            state = TrainState(
                int(facts["step"]), int(facts["validated"]), int(facts["stale"]), facts["best"]
            )
        except (OSError, ValueError, KeyError, SafetensorError):
            continue
        state.best_weights = best
        trained.module.load_state_dict(weights)
        trained.loss.load_state_dict(objectives)
        if trained.average is not None:
            trained.average.load_state_dict(average, state.step)
        _set_random_states(random, trained.device)
        _unflatten(trained.optimizer, moments)
        return state
    return None


def copy_weights(model: nn.Module) -> dict[str, Tensor]:
    """Copy the weights of a model to the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def _random_states(device: torch.device) -> dict[str, Tensor]:
    """States of the random number generators that training uses, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _set_random_states(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    if "mps" in states:
        torch.mps.set_rng_state(states["mps"])


def _detached(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous() for name, value in weights.items()}


def _flatten(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{index}.{name}": torch.as_tensor(value).contiguous()
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in entry.items()
    }


def _unflatten(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Any]] = {}
    for key, value in tensors.items():
        index, _, name = key.partition(".")
        if index.isdigit():
            state.setdefault(int(index), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
