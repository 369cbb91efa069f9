"""`train_bridge`: tasks, models and settings in; a run folder out."""

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
from latentwire.train.learner import Forward
from latentwire.train.precompute import fill_answers, fill_states
from latentwire.train.processes import Processes
from latentwire.train.signals import stop_requests
from latentwire.train.trackers import Trackers
from latentwire.train.trainer import Trainer
from latentwire.train.training_data import first_words, read_tasks
from latentwire.train.warm_start import AUTO, FRESH, RIDGE, trained_bridge, warm_start
from latentwire.wire.wire import Wire


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Args:
        out_dir: The run's folder.
        best: Validation at the kept step: `step`, `loss` in nats and, for tasks with choices,
            `accuracy` in 0..1.
        n_steps: Optimiser steps done; fewer than asked for if it ended early.
        n_train: Training examples.
        n_cut: How many of them were longer than the sender reads.
        train_s: Seconds of this call spent in the loop.
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
    **settings: Any,
) -> TrainResult:
    """Train the wire's bridge and leave a run folder; the wire keeps the best weights.

    Both models stay frozen. The sender runs once per text; its states are read from disk then.
    Ctrl-C, SIGTERM or SIGUSR1 saves and ends; `resume=True` goes on with the same final weights
    as if nothing had happened. Processes that `accelerate launch` or `torchrun` started share
    every batch: `batch_size` is that of each. With `shard_receiver` they hold the receiver's blocks
    together, afterwards too: all of them must then run it, pass by pass.

    Args:
        wire: Built with `Wire.build`.
        task: Its train split is learned, its val split chooses the step; test is not touched.
            Several tasks are mixed; the first one is the wire's own afterwards.
        out_dir: The run's folder.
        config: Settings, or give them by name as `settings`.
        resume: Go on with the run in `out_dir` (from its start if it has no checkpoint).
        overwrite: Replace the run in `out_dir`.
        progress: A bar on a terminal, lines in a log by default.
        trackers: Where its numbers go beside the run folder; the first process sends them.
        settings: Fields of TrainConfig.
    Raises:
        ConfigError: If a setting is unknown or out of range, `init` does not fit, an objective
            does not suit the task or what the bridge writes, or there is nothing to shard over.
        UsageError: If `out_dir` holds another run.
        NonFiniteError: If the loss or a gradient stops being a number.
        InterruptedRunError: If it was asked to stop; the message says how to resume. It is a
            RequeueError where a scheduler asked.
        DiskFullError: If the disk is full; earlier checkpoints stay.
    """
    config = config or TrainConfig.of(**settings)
    tasks = [task] if isinstance(task, Task) else list(task)
    processes = Processes.join()
    progress = (progress or default_progress()) if processes.is_first else Progress()
    trackers = trackers if trackers and processes.is_first else Trackers()
    config.check(tasks, processes.world)
    if config.shard_receiver:
        _refuse_one_model(wire)
    space = _space(wire, config)
    ridge = config.init == RIDGE or (config.init == AUTO and wire.bridge.has_mean_path)
    named = config.init not in (AUTO, FRESH, RIDGE)
    source = trained_bridge(config.init, wire.bridge) if named else None
    run = RunFolder(out_dir)
    setting = _setting(wire, tasks, config, processes.world)
    if source is not None:
        setting["init"] = bridge_fingerprint(source)
    _claim(run, setting, processes, resume=resume, overwrite=overwrite)
    device = processes.device if config.shard_receiver else wire.receiver.lm.device
    forked = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=forked), stop_requests() as stop:
        data, texts, some = read_tasks(wire, tasks, config)
        cache = StateCache(wire.sender, wire.spec.layers)
        fill_states(cache, texts, processes, progress, stop, run)
        del texts
        if any(OBJECTIVES.get(term.name).asks_sender for term in config.terms):
            fill_answers(data, config, processes, progress, stop, run)
        if config.shard_receiver:
            shard_blocks(wire.receiver.lm, device)
            wire.bridge.to(device)
        processes.in_step = wire.receiver.lm.is_sharded
        # Processes draw different noise; the first one draws as a single process does.
        torch.manual_seed(config.seed + 1_000_003 * processes.rank)
        wire.initialize(cache.states(some), first_words(tasks), config.seed, texts=some)
        if source is not None:
            wire.bridge.load_state_dict(source.state_dict())
        loss = Loss(config.terms, space, config.seed).to(device)
        forward = Forward(wire, cache, loss, config)
        if ridge:
            start = warm_start(run, forward, data, processes, progress, resume=resume)
            data = [each.with_prompt(start.prompts[each.task.name]) for each in data]
        processes.share([*wire.bridge.state_dict().values(), *loss.state_dict().values()])
        trainer = Trainer(forward, data, config, run, processes, stop, progress, trackers)
        started = time.monotonic()
        with trackers.run(run.path, setting, progress.say):
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
    """Sizes of the soft tokens. Raises: ConfigError: If an objective has no meaning there."""
    bridge = wire.bridge
    wrong = [term.name for term in config.terms if OBJECTIVES.get(term.name).in_embeddings]
    if wrong and bridge.writes != "embeddings":
        fitting = [name for name in OBJECTIVES.names() if not OBJECTIVES.get(name).in_embeddings]
        raise ConfigError(
            f"train.loss: {', '.join(wrong)} measures soft tokens by the receiver's embeddings; "
            f"the {bridge.kind} bridge writes a deep {bridge.writes}. "
            f"Objectives that suit it: {', '.join(fitting)}."
        )
    return Space(bridge.receiver_width, bridge.soft_tokens, wire.receiver.lm.embedding_rms)


def _claim(
    run: RunFolder, setting: dict[str, Any], processes: Processes, *, resume: bool, overwrite: bool
) -> None:
    """Let the first process claim the folder; the others learn whether it may."""
    refused: UsageError | None = None
    if processes.is_first:
        config = {"setting": setting, "environment": describe_environment()}
        try:
            run.start(config, resume=resume, overwrite=overwrite)
        except UsageError as error:
            refused = error
    if processes.largest(float(refused is not None)):
        raise refused or UsageError(f"The first process could not use {run.path}; see its message.")


def _refuse_one_model(wire: Wire) -> None:
    """Raise ConfigError if the receiver cannot be sharded, since the sender must stay whole."""
    if wire.sender.lm.model is wire.receiver.lm.model:
        raise ConfigError(
            f"train.shard_receiver: sender and receiver are one loaded '{wire.receiver.lm.name}'; "
            "the sender must stay whole. Load the model a second time and give that as receiver."
        )


def _setting(wire: Wire, tasks: Sequence[Task], config: TrainConfig, world: int) -> dict[str, Any]:
    """What decides the result of a training; two runs with one setting are one run."""
    named = [{"name": t.name, "version": t.version, "fingerprint": t.fingerprint} for t in tasks]
    setting = {
        "wire": json.loads(json.dumps(asdict(wire.spec))),
        "train": config.model_dump(),
        "sender": {"name": wire.sender.lm.name, "fingerprint": wire.sender.lm.fingerprint},
        "receiver": {"name": wire.receiver.lm.name, "fingerprint": wire.receiver.lm.fingerprint},
    }
    setting["task" if len(named) == 1 else "tasks"] = named[0] if len(named) == 1 else named
    if world > 1:
        setting["processes"] = world
    return setting
