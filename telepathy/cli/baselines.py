"""`latentwire baselines`: compare all methods on one or more tasks with several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentwire.core.errors import UsageError
from latentwire.core.progress import default_progress
from telepathy.cli.config_options import ConfigFileOption, Given, config_options, layers
from telepathy.cli.options import JsonOption
from telepathy.experiments.config import build_config
from telepathy.reporting.results import show_suites


@config_options(
    *("eval.methods", "eval.seeds", "eval.split", "eval.limit", "eval.relay_limit"),
    *("eval.prompt_val_limit", "task.setting", "pair", "wire.bridge", "wire.soft_tokens"),
    *("wire.layer", "wire.sender_prompt", "wire.max_tokens", "train.steps", "train.batch_size"),
    *("train.lr", "train.train_limit", "train.val_limit", "train.eval_every", "eval.shots"),
    *("eval.relay_tokens", "eval.compressed_bytes", "eval.lora_rank", "eval.other_run", "log_to"),
)
def baselines(
    task: Annotated[
        list[str],
        typer.Option("--task", help="Task name or YAML file; repeat it for several tasks."),
    ],
    out: Annotated[
        Path,
        typer.Option("--out", help="Folder for the results; answers in it are reused."),
    ] = Path("runs/baselines"),
    config: ConfigFileOption = None,
    as_json: JsonOption = False,
    *,
    given: Given,
) -> None:
    """Compare the bridge with controls and baselines on whole test splits, with several seeds.

    Prints a table and a verdict per task. Repeat the command to resume interrupted work.
    """
    from telepathy.run import load_tasks, open_pair, run_baselines

    if len({*task}) < len(task):
        raise UsageError(f"--task must name each task once, not: {', '.join(task)}.")
    options = layers(config, given)
    configs = [build_config({"kind": "baselines"}, options, {"task.name": name}) for name in task]
    for each in configs:
        each.check()
    tasks = [load_tasks(each)[0] for each in configs]
    progress = default_progress()
    lms = open_pair(configs[0], progress)
    found = [
        run_baselines(each, lms, loaded, out / loaded.name, progress).to_json()
        for each, loaded in zip(configs, tasks, strict=True)
    ]
    show_suites(found, out, as_json)
