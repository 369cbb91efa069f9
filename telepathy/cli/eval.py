"""`latentwire eval`: evaluate a bridge, controls and baselines on one split."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress, default_progress
from telepathy.cli.config_options import ConfigFileOption, Given, config_options, layers
from telepathy.cli.options import JsonOption
from telepathy.experiments.config import ExperimentConfig, build_config, replace
from telepathy.reporting.results import show_results

if TYPE_CHECKING:
    from latentwire import Task, Wire
    from latentwire.models import LanguageModel

_NEEDS_RUN = "needs a trained bridge: give --run"


@config_options(
    "task.setting",
    *("pair", "wire.sender_prompt", "wire.codec"),
    *("eval.split", "eval.limit", "eval.relay_limit", "eval.prompt_val_limit", "eval.timed"),
    *("eval.seed", "eval.controls"),
)
def evaluate(
    run: Annotated[
        Path | None, typer.Option("--run", help="Run folder with a trained bridge.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            help="Method to evaluate; repeatable. By default the bridge, its controls and the "
            "usual baselines.",
        ),
    ] = None,
    task: Annotated[
        str | None,
        typer.Option("--task", help="Task name or YAML file. By default the task of the run."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder for predictions and results. By default the run folder; a partial "
            "evaluation is only printed.",
        ),
    ] = None,
    config: ConfigFileOption = None,
    encoding: Annotated[str | None, typer.Option("--encoding", hidden=True)] = None,
    as_json: JsonOption = False,
    *,
    given: Given,
) -> None:
    """Evaluate a bridge with its controls and baselines, or baselines alone, on a whole split."""
    from telepathy.run import evaluate as run_evaluation

    if encoding is not None:  # the earlier name of --codec
        given.setdefault("wire.codec", encoding)
    if method:
        given["eval.methods"] = method
    if task is not None:
        given["task.name"] = task
    options = layers(config, given)
    chosen = build_config({"task.name": "of the run"}, options)
    chosen.check()
    _check_run(chosen, options, run)
    progress = default_progress()
    wire, loaded = _open(chosen, options, run, progress)
    if run is not None and "wire.codec" not in options:
        chosen = replace(chosen, {"wire.codec": wire.spec.codec})  # type: ignore[union-attr]
    shortened = ("eval.methods", "eval.limit", "task.name", "wire.codec")
    partial = bool(
        any(options.get(key) for key in shortened)
        or not chosen.eval.controls
        or chosen.eval.split != "test"
    )
    # A partial evaluation does not replace the complete one in the run folder.
    folder = out or (None if partial else run)
    results = run_evaluation(chosen, wire, loaded, folder, progress)
    show_results(results.to_json(), as_json)


def _check_run(chosen: ExperimentConfig, options: Given, run: Path | None) -> None:
    """Check the options that depend on whether a run is given, before models are loaded."""
    from latentwire.eval.options import parse_method

    if run is not None:
        if {"pair.name", "wire.sender_prompt"} & options.keys():
            raise UsageError(
                "--pair and --sender-prompt cannot be combined with --run: the run determines them."
            )
        return
    for name in chosen.eval.methods or ():
        if parse_method(name).method.needs_wire:
            raise UsageError(f"Method '{name}' {_NEEDS_RUN}.")
    if "wire.codec" in options:
        raise UsageError(f"--codec {_NEEDS_RUN}.")
    if "task.name" not in options:
        raise UsageError("Give --run (a trained run) or --task and --method (baselines alone).")


def _open(
    chosen: ExperimentConfig, options: Given, run: Path | None, progress: Progress
) -> tuple[Wire | tuple[LanguageModel, LanguageModel], Task]:
    """Load the wire of a run, or the pair, and the task."""
    from latentwire import Wire
    from telepathy.run import load_tasks, open_pair

    task = load_tasks(chosen)[0] if "task.name" in options else None
    if run is None:
        assert task is not None
        return open_pair(chosen, progress), task
    pair = chosen.pair
    wire = Wire.from_pretrained(
        run,
        sender=pair.sender,
        receiver=pair.receiver,
        device=pair.device,
        dtype=pair.dtype,
        progress=progress,
    )
    task = task or wire.task
    if task is None:
        raise UsageError(f"The bridge in {run} was not trained on a task: give --task.")
    return wire, task
