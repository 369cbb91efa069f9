"""Initial weights of a bridge: another run's bridge, or a linear map found in closed form."""

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
from latentwire.train.learner import BridgeLearner
from latentwire.train.processes import Processes
from latentwire.train.training_data import SplitData, TaskData
from latentwire.train.validation import validate
from latentwire.wire.wire import Wire

RIDGE, FRESH, AUTO = "ridge", "fresh", "auto"
"""Values of the option `init` that are not a folder."""
_PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)
_SCALES = (1.0, 2.0, 4.0, 8.0)
_TRIAL_EXAMPLES = 64
_BATCH = 64
_WEIGHTS, _FACTS = "model.safetensors", "start.json"


def load_initial_bridge(folder: str | Path, bridge: Bridge) -> Bridge:
    """Load the bridge of a run to initialize another bridge with its weights.

    Args:
        folder: A run folder, or its `bridge/`.
        bridge: The bridge to be initialized.
    Raises:
        BridgeError: If the folder is missing, damaged or not a bridge.
        ConfigError: If a weight has another name or shape; the message lists all of them.
    """
    folder = Path(folder)
    found, _ = load_bridge(folder / "bridge" if (folder / "bridge").is_dir() else folder)
    theirs = {name: tuple(v.shape) for name, v in found.state_dict().items()}
    ours = {name: tuple(v.shape) for name, v in bridge.state_dict().items()}
    differing = [
        f"{name}: {theirs.get(name, 'missing')} there, {ours.get(name, 'missing')} here"
        for name in sorted({*theirs, *ours})
        if theirs.get(name) != ours.get(name)
    ]
    if differing or found.kind != bridge.kind:
        raise ConfigError(
            f"The {found.kind} bridge in {folder} cannot initialize this {bridge.kind} bridge "
            f"({'; '.join(differing) or 'another kind'}). Use the same bridge, options, soft "
            "tokens, layers and pair, or remove the option init."
        )
    return found


@dataclass(frozen=True)
class RidgeStart:
    """Values chosen on val for a ridge initialization.

    Args:
        penalty: Ridge penalty of the linear map, see `ridge_map`.
        scale: Factor of the map.
        prompts: Prompt template of the receiver for each task, by name.
        loss: Loss on some val examples with these values, in nats, mean over tasks.
    """

    penalty: float
    scale: float
    prompts: dict[str, str]
    loss: float


def warm_start(
    run: RunFolder,
    learner: BridgeLearner,
    data: Sequence[TaskData],
    processes: Processes,
    progress: Progress,
    *,
    resume: bool,
) -> RidgeStart:
    """Run `fit_ridge_start`, or load its result from an earlier start of the run.

    Args:
        run: Run folder that stores the result.
        learner: The learner, see `fit_ridge_start`.
        data: Data of each task.
        processes: The processes that share the val examples.
        progress: Called after each trial.
        resume: Whether to use a stored result.
    """
    bridge = learner.wire.bridge
    stored = _load_start(run.warm_start) if resume else None
    if processes.largest(float(stored is None)):
        start = fit_ridge_start(learner, data, processes, progress)
        if processes.is_first:
            with replacing_dir(run.warm_start) as folder:
                save_file(
                    {name: v.contiguous() for name, v in bridge.state_dict().items()},
                    folder / _WEIGHTS,
                )
                write_json(folder / _FACTS, asdict(start))
        return start
    assert stored is not None
    start, weights = stored
    bridge.load_state_dict(weights)
    learner.wire.prompts = dict(start.prompts)
    return start


def _load_start(folder: Path) -> tuple[RidgeStart, dict[str, Tensor]] | None:
    """Load a stored result and the bridge's weights; None if missing or damaged."""
    try:
        facts = json.loads((folder / _FACTS).read_text(encoding="utf-8"))
        return RidgeStart(**facts), load_file(folder / _WEIGHTS)
    except (OSError, ValueError, TypeError, SafetensorError):
        return None


@torch.no_grad()
def fit_ridge_start(
    learner: BridgeLearner, data: Sequence[TaskData], processes: Processes, progress: Progress
) -> RidgeStart:
    """Initialize the bridge's linear path with a ridge regression onto the right answers.

    The regression maps standardized mean states to the receiver's embedding of the right answer, on
    the training examples; the penalty with the smallest squared error on val is used. Such a map
    shrinks towards the mean answer, and a receiver without a trained bridge follows the prompt more
    than the message. The scale of the map and the prompt of each task are therefore also chosen, by
    the smallest loss on some val examples.

    Args:
        learner: The learner; its wire is initialized, its cache has the states of all examples.
        data: Data of each task.
        processes: The processes that share the val examples.
        progress: Called after each trial.
    Returns: The chosen values; they are applied to the bridge and the wire's prompts.
    Raises: ConfigError: If the bridge has no linear path.
    """
    wire = learner.wire
    bridge = wire.bridge
    x, y = _pairs(wire, data, learner.cache, "train")
    penalty, found, shift = _ridge(x, y, *_pairs(wire, data, learner.cache, "val"))
    before = {name: value.clone() for name, value in bridge.state_dict().items()}

    def apply(scale: float) -> None:
        bridge.load_state_dict(before)
        # The anchors are initialized at the mean answer, so the map adds the difference.
        bridge.set_linear_path((scale * found).float(), (scale * (shift - y.mean(0))).float())

    best: RidgeStart | None = None
    with progress.task("warm start", len(_SCALES)) as bar:
        for scale in _SCALES:
            apply(scale)
            losses, prompts = [], {}
            for each in data:
                loss, prompts[each.task.name] = _best_prompt(learner, each, processes)
                losses.append(loss)
            trial = RidgeStart(penalty, scale, prompts, sum(losses) / len(losses))
            if best is None or trial.loss < best.loss:
                best = trial
            bar.advance(1)
    assert best is not None
    apply(best.scale)
    wire.prompts = dict(best.prompts)
    return best


def _ridge(x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor) -> tuple[float, Tensor, Tensor]:
    """Penalty with the smallest squared error on val, its map and shift."""
    trials = []
    for penalty in _PENALTIES:
        found, shift = ridge_map(x, y, penalty)
        error = float((x_val.double() @ found + shift - y_val).pow(2).mean())
        trials.append((error, penalty, found, shift))
    return min(trials, key=lambda trial: trial[0])[1:]


def _best_prompt(learner: BridgeLearner, data: TaskData, processes: Processes) -> tuple[float, str]:
    """Smallest loss on some val examples over all prompts, and the prompt that has it."""
    val = data.val
    some = replace(val, examples=val.examples[:_TRIAL_EXAMPLES], keys=val.keys[:_TRIAL_EXAMPLES])
    losses = {}
    for prompt in learner.wire.prompts_for(data.task):
        asked = replace(data.with_prompt(prompt), val=some)
        found = validate(learner, [asked], processes, lambda: False)
        assert found is not None
        losses[prompt] = found["loss"]
    best = min(losses, key=losses.__getitem__)
    return losses[best], best


def _pairs(
    wire: Wire, data: Sequence[TaskData], cache: StateCache, split: str
) -> tuple[Float[Tensor, "n f"], Float[Tensor, "n dr"]]:
    """Standardized mean states, and scaled receiver embeddings of the right answers."""
    bridge = wire.bridge
    x, y = [], []
    for each in data:
        examples: SplitData = getattr(each, split)
        for start in range(0, len(examples.keys), _BATCH):
            states = cache.states_of(examples.keys[start : start + _BATCH])
            raw = masked_mean(
                states.states.to(bridge.state_mean), states.mask.to(bridge.anchors.device)
            )
            scaled = (raw - bridge.state_mean) / bridge.state_std
            x.append(rearrange(scaled, "b l d -> b (l d)").cpu())
        y += [_answer_embedding(wire, each.task, example) for example in examples.examples]
    return torch.cat(x), torch.stack(y)


def _answer_embedding(wire: Wire, task: Task, example: Example) -> Tensor:
    lm = wire.receiver.lm
    said = (
        example.references[0] if example.target is None else task.answers(example)[example.target]
    )
    rows = lm.embed(torch.tensor(lm.token_ids(" " + said)))
    return rows.float().mean(0).cpu() / lm.embedding_rms
