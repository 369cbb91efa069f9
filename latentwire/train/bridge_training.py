"""Training of a wire's bridge on tasks, into a run folder."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from latentwire.bridge.saving import bridge_fingerprint
from latentwire.core.errors import ConfigError, UsageError
from latentwire.core.progress import Progress, default_progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Task
from latentwire.models.sharding import shard_blocks
from latentwire.models.state_cache import StateCache
from latentwire.objectives import OBJECTIVES, Loss, Space
from latentwire.train.config import TrainConfig
from latentwire.train.learner import BridgeLearner
from latentwire.train.precompute import precompute_sender_scores, precompute_states
from latentwire.train.processes import Processes
from latentwire.train.signals import catch_signals
from latentwire.train.trackers import Trackers
from latentwire.train.trainer import Trainer
from latentwire.train.training_data import label_words, load_training_data
from latentwire.train.warm_start import AUTO, FRESH, RIDGE, load_initial_bridge, warm_start
from latentwire.wire.wire import Wire


@dataclass(frozen=True)
class TrainResult:
    """Result of a training run.

    Args:
        out_dir: The run folder.
        best: Best validation: `step`, `loss` in nats and, for tasks with choices, `accuracy` in
            0..1.
        n_steps: Number of completed optimizer steps.
        n_train: Number of training examples.
        n_cut: Number of training texts that were truncated to the sender's maximum length.
        train_s: Time of this call in the training loop, in seconds.
    """

    out_dir: Path
    best: dict[str, float]
    n_steps: int
    n_train: int
    n_cut: int
    train_s: float


def train_bridge(
    wire: Wire,
    task: Task | Sequence[Task],
    out_dir: str | Path,
    *,
    config: TrainConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    trackers: Trackers | None = None,
    **options: Any,
) -> TrainResult:
    """Train the wire's bridge into a run folder. The wire's bridge then has the best weights.

    Both models stay frozen. The sender runs once per text; its states are cached on disk. Ctrl-C,
    SIGTERM and SIGUSR1 save a checkpoint and stop; training resumed with `resume=True` ends with
    the same weights as an uninterrupted run. Processes started by `accelerate launch` or `torchrun`
    share each batch; `batch_size` counts the examples of one process. With `shard_receiver` the
    receiver stays sharded after training, so all processes must run its forward passes together.

    Args:
        wire: Wire to train, usually from `Wire.build`.
        task: Task or tasks to train on. The val split selects the best step; the test split is not
            read. Several tasks are mixed; the first becomes the wire's task.
        out_dir: The run folder.
        config: Training options; default: TrainConfig with `options`.
        resume: Continue the run in `out_dir` from its last checkpoint, or from its start.
        overwrite: Replace the run in `out_dir`.
        progress: Called with progress updates; default: a bar on a terminal, else log lines.
        trackers: Experiment trackers that receive the metrics of the first process.
        options: Fields of TrainConfig by name, instead of `config`.
    Raises:
        ConfigError: If an option is unknown or out of range, `init` does not fit the bridge, an
            objective does not apply to the task or the bridge, or the receiver cannot be sharded.
        UsageError: If `out_dir` holds another run.
        NonFiniteError: If the loss or a gradient is not finite.
        InterruptedRunError: If training was stopped by a signal; the message says how to resume.
            A RequeueError if the signal came from a scheduler.
        DiskFullError: If the disk is full; earlier checkpoints are kept.
    """
    config = config or TrainConfig.of(**options)
    tasks = [task] if isinstance(task, Task) else list(task)
    processes = Processes.join()
    progress = (progress or default_progress()) if processes.is_first else Progress()
    trackers = trackers if trackers and processes.is_first else Trackers()
    config.check(tasks, processes.world)
    if config.shard_receiver:
        _check_separate_models(wire)
    space = _space(wire, config)
    ridge = config.init == RIDGE or (config.init == AUTO and wire.bridge.has_linear_path)
    named = config.init not in (AUTO, FRESH, RIDGE)
    source = load_initial_bridge(config.init, wire.bridge) if named else None
    run = RunFolder(out_dir)
    identity = _run_identity(wire, tasks, config, processes.world)
    if source is not None:
        identity["init"] = bridge_fingerprint(source)
    _claim(run, identity, processes, resume=resume, overwrite=overwrite)
    device = processes.device if config.shard_receiver else wire.receiver.lm.device
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), catch_signals() as stop:
        loaded = load_training_data(wire, tasks, config)
        data, first_texts = loaded.tasks, loaded.initialization_texts
        cache = StateCache(wire.sender, wire.spec.layers)
        precompute_states(cache, loaded.texts, processes, progress, stop, run)
        del loaded  # holds all texts
        if any(OBJECTIVES.get(term.name).needs_sender_scores for term in config.terms):
            precompute_sender_scores(data, config, processes, progress, stop, run)
        if config.shard_receiver:
            shard_blocks(wire.receiver.lm, device)
            wire.bridge.to(device)
        processes.in_lockstep = wire.receiver.lm.is_sharded
        # Each process draws its own noise; the first one draws the noise of a single process.
        torch.manual_seed(config.seed + 1_000_003 * processes.rank)
        states = cache.states(first_texts)
        wire.initialize(states, label_words(tasks), config.seed, texts=first_texts)
        if source is not None:
            wire.bridge.load_state_dict(source.state_dict())
        loss = Loss(config.terms, space, config.seed).to(device)
        learner = BridgeLearner(wire, cache, loss, config)
        if ridge:
            start = warm_start(run, learner, data, processes, progress, resume=resume)
            data = [each.with_prompt(start.prompts[each.task.name]) for each in data]
        processes.broadcast([*wire.bridge.state_dict().values(), *loss.state_dict().values()])
        trainer = Trainer(learner, data, config, run, processes, stop, progress, trackers)
        started = time.monotonic()
        with trackers.run(run.path, identity, progress.say):
            state = trainer.fit(resume)
            trackers.log(state.step, {"best": state.best or {}})
        wire.task, wire.training = tasks[0], config.model_dump()
        if len(tasks) > 1:
            wire.training["tasks"] = [each.name for each in tasks]
        if processes.is_first:
            wire.save(run.bridge)
        processes.wait()
    assert state.best is not None
    return TrainResult(
        run.path,
        state.best,
        state.step,
        sum(len(each.train.examples) for each in data),
        sum(each.train.n_cut for each in data),
        time.monotonic() - started,
    )


def _space(wire: Wire, config: TrainConfig) -> Space:
    """Sizes of the soft tokens. Raises: ConfigError: If an objective needs embeddings."""
    bridge = wire.bridge
    wrong = [term.name for term in config.terms if OBJECTIVES.get(term.name).needs_embeddings]
    if wrong and bridge.writes != "embeddings":
        fitting = [name for name in OBJECTIVES.names() if not OBJECTIVES.get(name).needs_embeddings]
        raise ConfigError(
            f"train.loss: {', '.join(wrong)} compares soft tokens with the receiver's embeddings, "
            f"but the {bridge.kind} bridge writes a deep {bridge.writes}. "
            f"Use one of: {', '.join(fitting)}."
        )
    return Space(bridge.receiver_width, bridge.soft_tokens, wire.receiver.lm.embedding_rms)


def _claim(
    run: RunFolder, identity: dict[str, Any], processes: Processes, *, resume: bool, overwrite: bool
) -> None:
    """Prepare the run folder in the first process; raise in all processes if that fails."""
    failure: UsageError | None = None
    if processes.is_first:
        config = {"setting": identity, "environment": describe_environment()}
        try:
            run.start(config, resume=resume, overwrite=overwrite)
        except UsageError as error:
            failure = error
    if processes.largest(float(failure is not None)):
        raise failure or UsageError(f"The first process could not use {run.path}; see its error.")


def _check_separate_models(wire: Wire) -> None:
    """Raise ConfigError if the receiver is also the sender, which cannot be sharded."""
    if wire.sender.lm.model is wire.receiver.lm.model:
        raise ConfigError(
            f"train.shard_receiver: sender and receiver are the same model "
            f"'{wire.receiver.lm.name}', and the sender cannot be sharded. Load the model a second "
            "time and pass that as the receiver."
        )


def _run_identity(
    wire: Wire, tasks: Sequence[Task], config: TrainConfig, world: int
) -> dict[str, Any]:
    """Everything that determines the result of a run. A resumed run must have the same identity."""
    named = [{"name": t.name, "version": t.version, "fingerprint": t.fingerprint} for t in tasks]
    identity = {
        "wire": json.loads(json.dumps(asdict(wire.spec))),
        "train": config.model_dump(),
        "sender": {"name": wire.sender.lm.name, "fingerprint": wire.sender.lm.fingerprint},
        "receiver": {"name": wire.receiver.lm.name, "fingerprint": wire.receiver.lm.fingerprint},
    }
    identity["task" if len(named) == 1 else "tasks"] = named[0] if len(named) == 1 else named
    if world > 1:
        identity["processes"] = world
    return identity
