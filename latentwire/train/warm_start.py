"""Where a bridge begins: the weights of another run's bridge, or a closed-form linear map."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from einops import rearrange
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from latentwire.bridge import Bridge
from latentwire.bridge.pooling import masked_mean
from latentwire.bridge.ridge import ridge_map
from latentwire.bridge.saving import load_bridge
from latentwire.core.errors import ConfigError
from latentwire.core.files import replacing_dir, write_json
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example, Task
from latentwire.models.state_cache import StateCache
from latentwire.train.learner import Forward
from latentwire.train.processes import Processes
from latentwire.train.training_data import Part, TaskData
from latentwire.train.validation import validate
from latentwire.wire.wire import Wire

RIDGE, FRESH, AUTO = "ridge", "fresh", "auto"
"""Values of the setting `init` that are not a folder."""
_PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
_SCALES = (1.0, 2.0, 4.0, 8.0)
_TRIAL_EXAMPLES = 64
_BATCH = 64
_WEIGHTS, _FACTS = "model.safetensors", "start.json"


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


@dataclass(frozen=True)
class Start:
    """Where a bridge was put before its first step.

    Args:
        penalty: Of the closed-form map, as `ridge_map` takes it.
        scale: What the map was multiplied by.
        prompts: What the receiver reads around the message, for each task by name.
        loss: On some val examples with all this, nats, mean over the tasks.
    """

    penalty: float
    scale: float
    prompts: dict[str, str]
    loss: float


def warm_start(
    run: RunFolder,
    forward: Forward,
    data: Sequence[TaskData],
    processes: Processes,
    progress: Progress,
    *,
    resume: bool,
) -> Start:
    """`start_at_ridge`, or what a stopped run found by it.

    Args:
        run: Keeps the start.
        resume: Whether a kept start counts.
    """
    bridge = forward.wire.bridge
    kept = _kept(run.warm_start) if resume else None
    if processes.largest(float(kept is None)):
        start = start_at_ridge(forward, data, processes, progress)
        if processes.is_first:
            with replacing_dir(run.warm_start) as folder:
                save_file(
                    {name: v.contiguous() for name, v in bridge.state_dict().items()},
                    folder / _WEIGHTS,
                )
                write_json(folder / _FACTS, asdict(start))
        return start
    assert kept is not None
    start, weights = kept
    bridge.load_state_dict(weights)
    forward.wire.prompts = dict(start.prompts)
    return start


def _kept(folder: Path) -> tuple[Start, dict[str, Tensor]] | None:
    """The start in a folder; None if there is none or it is damaged."""
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        return Start(**facts), load_file(folder / _WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError):
        return None


@torch.no_grad()
def start_at_ridge(
    forward: Forward, data: Sequence[TaskData], processes: Processes, progress: Progress
) -> Start:
    """Start the bridge's linear path from the mean state at the map to the right answers.

    The map from standardised mean states to the receiver's embedding of the right answer is solved
    for in closed form on the training examples; its penalty is the one with the smallest squared
    error on val. A map found so shrinks towards the mean answer, and a receiver follows the words
    around a message before the message: the map's scale and each task's prompt are those of the
    smallest loss on some val examples.

    Args:
        forward: Its wire is calibrated, its cache has the states of all examples.
        data: The tasks.
        processes: Share the val examples.
        progress: Told of each trial.
    Returns: What was chosen; the bridge and the wire's prompts are at it.
    Raises: ConfigError: If the bridge's kind has no linear path.
    """
    wire = forward.wire
    bridge = wire.bridge
    x, y = _pairs(wire, data, forward.cache, "train")
    penalty, found, shift = _ridge(x, y, *_pairs(wire, data, forward.cache, "val"))
    before = {name: value.clone() for name, value in bridge.state_dict().items()}

    def put(scale: float) -> None:
        bridge.load_state_dict(before)
        # The anchors already stand where answers are on average: the map adds what differs.
        bridge.start_at((scale * found).float(), (scale * (shift - y.mean(0))).float())

    best: Start | None = None
    with progress.task("warm start", len(_SCALES)) as bar:
        for scale in _SCALES:
            put(scale)
            losses, prompts = [], {}
            for each in data:
                loss, prompts[each.task.name] = _best_prompt(forward, each, processes)
                losses.append(loss)
            trial = Start(penalty, scale, prompts, sum(losses) / len(losses))
            if best is None or trial.loss < best.loss:
                best = trial
            bar.advance(1)
    assert best is not None
    put(best.scale)
    wire.prompts = dict(best.prompts)
    return best


def _ridge(x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor) -> tuple[float, Tensor, Tensor]:
    """The penalty with the smallest squared error on val, its map and shift."""
    trials = []
    for penalty in _PENALTIES:
        found, shift = ridge_map(x, y, penalty)
        error = float((x_val.double() @ found + shift - y_val).pow(2).mean())
        trials.append((error, penalty, found, shift))
    return min(trials, key=lambda trial: trial[0])[1:]


def _best_prompt(forward: Forward, data: TaskData, processes: Processes) -> tuple[float, str]:
    """The smallest loss on some val examples, and the prompt it has."""
    val = data.val
    some = replace(val, examples=val.examples[:_TRIAL_EXAMPLES], keys=val.keys[:_TRIAL_EXAMPLES])
    losses = {}
    for prompt in forward.wire.prompts_for(data.task):
        asked = replace(data.with_prompt(prompt), val=some)
        found = validate(forward, [asked], processes, lambda: False)
        assert found is not None
        losses[prompt] = found["loss"]
    best = min(losses, key=losses.__getitem__)
    return losses[best], best


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
