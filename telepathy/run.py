"""Execute one experiment: `python -m telepathy.run FOLDER` reads `FOLDER/experiment.json`.

The registry's workers start experiments with this command. Everything that an experiment writes
goes to its folder; `results.json` is written last. The same command resumes a stopped experiment.
Exit codes: 0 done, 1 failed, 2 wrong configuration, 75 saved after a signal, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire.core.errors import UsageError
from latentwire.core.files import write_json, write_text
from latentwire.core.progress import Progress, default_progress
from telepathy.cli.errors import run_guarded
from telepathy.experiments.benchmarks import benchmark_options, run_benchmark
from telepathy.experiments.config import ExperimentConfig, read_config
from telepathy.experiments.sections import BenchmarkConfig

if TYPE_CHECKING:
    from latentwire import Task, Wire
    from latentwire.eval.results import Results
    from latentwire.models import LanguageModel
    from latentwire.train import SeedsResult, TrainResult


@dataclass(frozen=True)
class TrainedBridge:
    """A finished training.

    Args:
        wire: Both models with the trained bridge; with several seeds, with an untrained one.
        tasks: Tasks that it was trained on.
        result: Best validation, counts and folders.
        is_first: Whether this is the first of several processes; only that one prints.
    """

    wire: Wire
    tasks: list[Task]
    result: TrainResult | SeedsResult
    is_first: bool


def train(
    config: ExperimentConfig,
    out: Path,
    *,
    seeds: Sequence[int] = (),
    resume: bool = False,
    overwrite: bool = False,
) -> TrainedBridge:
    """Train a bridge, or one per seed.

    Args:
        config: Configuration of the experiment.
        out: Run folder.
        seeds: Several seeds, each with a run folder in `out`; by default `train.seed` alone.
        resume: Resume the run in `out`.
        overwrite: Replace the run in `out`.
    Raises: ConfigError, UsageError, DataError, InterruptedRunError.
    """
    from latentwire import Wire
    from latentwire.models import resolve_pair
    from latentwire.models.sharding import load_for_sharding
    from latentwire.train import Processes, train_bridge, train_seeds
    from latentwire.train.trackers import Trackers

    config.check()
    tasks = load_tasks(config)
    how: dict[str, Any] = {"resume": resume, "overwrite": overwrite, "config": config.train}
    how["trackers"] = Trackers.of(config.log_to)
    pair, wire_config = config.pair, config.wire
    where: dict[str, Any] = {"device": pair.device, "dtype": pair.dtype}
    with Processes.joined() as processes:  # before models are loaded: it selects the GPU
        config.train.check(tasks, processes.world)
        progress = default_progress() if processes.is_first else Progress()
        receiver: str | LanguageModel | None = pair.receiver
        if config.train.shard_receiver:
            name = resolve_pair(pair.name, pair.sender, pair.receiver)[1]
            receiver = load_for_sharding(name, **where, progress=progress)
        wire = Wire.build(
            pair.sender,
            receiver,
            pair=pair.name,
            bridge=wire_config.bridge,
            soft_tokens=wire_config.soft_tokens,
            layer=list(wire_config.layer) if wire_config.layer else None,
            sender_prompt=wire_config.sender_prompt,
            setting=config.task.setting,
            max_tokens=wire_config.max_tokens,
            prompt=wire_config.prompt,
            seed=config.train.seed,
            **where,
            progress=progress,
            **wire_config.options,
        )
        done: TrainResult | SeedsResult
        if seeds:
            done = train_seeds(wire, tasks, out, seeds, progress=progress, **how)
        else:
            done = train_bridge(wire, tasks, out, progress=progress, **how)
        return TrainedBridge(wire, tasks, done, processes.is_first)


def evaluate(
    config: ExperimentConfig,
    wire: Wire | tuple[LanguageModel, LanguageModel],
    task: Task,
    out: Path | None,
    progress: Progress,
) -> Results:
    """Evaluate a wire, or methods that need only the pair.

    Args:
        config: Its `eval` section and the codec are used; of a pair also `task.setting` and
            `wire.sender_prompt`.
        wire: Wire, or sender and receiver.
        task: The task.
        out: Run folder for predictions and results; nothing is written if it is None.
        progress: Called with progress updates.
    """
    from latentwire import evaluate as evaluate_methods

    options = config.eval
    codec = None if isinstance(wire, tuple) else config.wire.codec
    if codec is not None and codec == wire.spec.codec:  # type: ignore[union-attr]
        codec = None
    return evaluate_methods(
        wire,
        task,
        methods=options.methods,
        setting=config.task.setting,
        sender_prompt=config.wire.sender_prompt,
        codec=codec,
        controls=options.controls,
        split=options.split,
        limit=options.limit,
        relay_limit=options.relay_limit,
        prompt_val_limit=options.prompt_val_limit,
        timed=options.timed,
        seed=options.seed,
        out_dir=out,
        progress=progress,
    )


def run_baselines(
    config: ExperimentConfig,
    lms: tuple[LanguageModel, LanguageModel],
    task: Task,
    out: Path,
    progress: Progress,
) -> Results:
    """Evaluate many methods on a task with several seeds; answers in `out` are reused.

    Args:
        config: Configuration of the experiment.
        lms: Sender and receiver.
        task: The task.
        out: Folder of the experiment.
        progress: Called with progress updates.
    """
    from latentwire.eval import baselines
    from latentwire.train.trackers import Trackers

    options, wire = config.eval, config.wire
    if wire.layer is not None and len(wire.layer) > 1:
        raise UsageError("wire.layer: baselines take one sender layer.")
    plan = baselines.Plan(
        methods=options.methods,
        seeds=options.seeds,
        split=options.split,
        limit=options.limit,
        relay_limit=options.relay_limit,
        bridge=wire.bridge,
        soft_tokens=wire.soft_tokens,
        layer=wire.layer[0] if wire.layer else None,
        sender_prompt=wire.sender_prompt,
        setting=config.task.setting,
        max_tokens=wire.max_tokens,
        prompt=wire.prompt,
        training=config.train,
        prompt_val_limit=options.prompt_val_limit,
        options={
            "shots": options.shots,
            "relay_tokens": options.relay_tokens,
            "max_bytes": options.compressed_bytes,
            "rank": options.lora_rank,
        },
        other_run=Path(options.other_run) if options.other_run else None,
    )
    trackers = Trackers.of(config.log_to)
    return baselines.run_baselines(lms, task, out, plan, progress=progress, trackers=trackers)


def load_tasks(config: ExperimentConfig) -> list[Task]:
    """Load the experiment's task, followed by those that are mixed in.

    Raises: UnknownNameError, DataError; UsageError: If a task has no such setting.
    """
    from latentwire import load_task

    names = [config.task.file or config.task.name, *config.task.mixed_with]
    tasks = [load_task(name) for name in names]
    for task in tasks:
        task.setting(config.task.setting)
    return tasks


def open_pair(config: ExperimentConfig, progress: Progress) -> tuple[LanguageModel, LanguageModel]:
    """Load sender and receiver."""
    from latentwire.models import load_pair

    pair = config.pair
    return load_pair(
        pair.sender,
        pair.receiver,
        pair=pair.name,
        device=pair.device,
        dtype=pair.dtype,
        progress=progress,
    )


def execute(config: ExperimentConfig, folder: Path) -> None:
    """Run an experiment to its end, or resume it.

    Args:
        config: Configuration of the experiment.
        folder: Its run folder; the results are written to `results.json`.
    """
    config.check()
    if config.benchmark is not None:
        _execute_benchmark(config, config.benchmark, folder)
    elif config.kind == "baselines":
        _execute_baselines(config, folder)
    else:
        done = train(config, folder, resume=True)
        if done.is_first:
            evaluate(config, done.wire, done.tasks[0], folder, default_progress())


def _execute_baselines(config: ExperimentConfig, folder: Path) -> None:
    from telepathy.reporting.results import suites_markdown

    task, progress = load_tasks(config)[0], default_progress()
    found = run_baselines(config, open_pair(config, progress), task, folder, progress)
    write_text(folder / "table.md", suites_markdown([found.to_json()]))


def _execute_benchmark(config: ExperimentConfig, benchmark: BenchmarkConfig, folder: Path) -> None:
    options = benchmark_options(benchmark.name, benchmark.options)
    run, pair = folder.parent / benchmark.run, config.pair
    found = run_benchmark(benchmark.name, run, options, pair.device, pair.dtype, default_progress())
    write_json(folder / "results.json", found)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m telepathy.run", description=__doc__)
    parser.add_argument("folder", type=Path, help="run folder with experiment.json")
    folder = parser.parse_args(argv).folder
    run_guarded(lambda: execute(read_config(folder), folder))


if __name__ == "__main__":
    main()
