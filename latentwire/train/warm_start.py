"""Where a bridge begins: the weights of another run's bridge, or a closed-form linear map."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from latentwire.bridge import Bridge
from latentwire.bridge.kinds.ridge import ridge_map
from latentwire.bridge.pooling import masked_mean
from latentwire.bridge.saving import load_bridge
from latentwire.data import Example, Task
from latentwire.errors import ConfigError
from latentwire.models.states import StateCache
from latentwire.train.tasks import Part, TaskData
from latentwire.wire import Wire

RIDGE = "ridge"
"""Value of the setting `init` that asks for the closed-form map."""
_PENALTIES = (0.03, 0.3, 3.0)
_BATCH = 64


def trained_bridge(folder: str | Path, wanted: Bridge) -> Bridge:
    """The bridge of a run, if its weights fit into another one.

    Args:
        folder: A run's folder, or its `bridge/`.
        wanted: The bridge that is to take them.
    Raises:
        BridgeError: If the folder is missing, foreign or damaged.
        ConfigError: If a weight has another shape or name; the message lists all of them.
    """
    folder = Path(folder)
    found, _ = load_bridge(folder / "bridge" if (folder / "bridge").is_dir() else folder)
    theirs = {name: tuple(v.shape) for name, v in found.state_dict().items()}
    ours = {name: tuple(v.shape) for name, v in wanted.state_dict().items()}
    differing = [
        f"{name}: {theirs.get(name, 'not')} there, {ours.get(name, 'not')} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if differing or found.kind != wanted.kind:
        raise ConfigError(
            f"The {found.kind} bridge in {folder} cannot start this {wanted.kind} bridge "
            f"({'; '.join(differing) or 'another kind'}). Give the same kind, options, soft "
            "tokens, layers and pair, or leave out init."
        )
    return found


@torch.no_grad()
def start_at_ridge(wire: Wire, data: Sequence[TaskData], cache: StateCache) -> float:
    """Start the bridge's linear path from the mean state at the map to the right answers.

    The map from standardised mean states to the receiver's embedding of the right answer is solved
    for in closed form on the training examples; its penalty is the one with the smallest squared
    error on val.

    Args:
        wire: Calibrated; its bridge has a linear path.
        data: The tasks.
        cache: Has the states of all examples.
    Returns: The penalty that was chosen.
    Raises: ConfigError: If the bridge's kind has no linear path.
    """
    x, y = _pairs(wire, data, cache, "train")
    x_val, y_val = _pairs(wire, data, cache, "val")
    best: tuple[float, float, Tensor, Tensor] | None = None
    for penalty in _PENALTIES:
        found, shift = ridge_map(x, y, penalty)
        error = float((x_val.double() @ found + shift - y_val).pow(2).mean())
        if best is None or error < best[0]:
            best = (error, penalty, found, shift)
    assert best is not None
    _, penalty, found, shift = best
    # The anchors already stand where answers are on average: the map adds what differs.
    wire.bridge.start_at(found.float(), (shift - y.mean(0)).float())
    return penalty


def _pairs(
    wire: Wire, data: Sequence[TaskData], cache: StateCache, split: str
) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n dr"]]:
    """Mean states, standardised, and embeddings of the right answers, in units of their scale."""
    bridge = wire.bridge
    x, y = [], []
    for each in data:
        part: Part = getattr(each, split)
        for start in range(0, len(part.keys), _BATCH):
            states = cache.states_of(part.keys[start : start + _BATCH])
            raw = masked_mean(
                states.states.to(bridge.state_mean), states.mask.to(bridge.anchors.device)
            )
            scaled = (raw - bridge.state_mean) / bridge.state_std
            x.append(rearrange(scaled, "b l d -> b (l d)").cpu())
        y += [_answer_embedding(wire, each.task, example) for example in part.examples]
    return torch.cat(x), torch.stack(y)


def _answer_embedding(wire: Wire, task: Task, example: Example) -> Tensor:
    lm = wire.receiver.lm
    said = (
        example.references[0] if example.target is None else task.answers(example)[example.target]
    )
    rows = lm.embed(torch.tensor(lm.token_ids(" " + said)))
    return rows.float().mean(0).cpu() / lm.embedding_rms
