"""`latentwire baselines`: every method on a task, several seeds, one table and a verdict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentwire.core.errors import UsageError
from latentwire.core.progress import default_progress
from telepathy.cli.options import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    LimitOption,
    LogToOption,
    PairOption,
    ReceiverOption,
    SenderOption,
    SenderPromptOption,
    SettingOption,
    parse_seeds,
    parse_trackers,
)
from telepathy.reporting.results import show_suites


def baselines(
    task: Annotated[
        list[str], typer.Option("--task", help="Task name or YAML file; repeat for several.")
    ],
    methods: Annotated[
        str | None, typer.Option(help="Names joined by commas; default: all that suit the task.")
    ] = None,
    seeds: Annotated[str, typer.Option(help="Of what is trained, sampled or drawn.")] = "0,1,2",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    limit: LimitOption = None,
    relay_limit: Annotated[
        int | None, typer.Option(min=1, help="The same for methods that write text.")
    ] = None,
    pair: PairOption = None,
    sender: SenderOption = None,
    receiver: ReceiverOption = None,
    bridge: Annotated[str, typer.Option(help="Kind of bridge, see `bridges`.")] = "perceiver",
    soft_tokens: Annotated[int, typer.Option(min=1, help="Length of a message.")] = 8,
    layer: Annotated[int | None, typer.Option(help="Sender layer.")] = None,
    sender_prompt: SenderPromptOption = "raw",
    setting: SettingOption = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=8, help="Longest text in tokens; default: the task's.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps of what is trained.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate of the bridge.")] = None,
    train_limit: Annotated[int | None, typer.Option(help="Training examples.")] = None,
    val_limit: Annotated[int | None, typer.Option(help="Val examples of trainings.")] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps between validations.")] = None,
    prompt_val_limit: Annotated[
        int, typer.Option(min=1, help="Val examples on which prompts are chosen.")
    ] = 64,
    shots: Annotated[int, typer.Option(min=1, help="Most examples of each label, few-shot.")] = 4,
    relay_tokens: Annotated[int, typer.Option(min=1, help="Longest relay, in tokens.")] = 64,
    compressed_bytes: Annotated[
        int, typer.Option(min=1, help="Most bytes of a compressed text.")
    ] = 128,
    lora_rank: Annotated[int, typer.Option(min=1, help="Rank of LoRA and DoRA.")] = 8,
    other_run: Annotated[
        Path | None, typer.Option(help="Run of a bridge of another task; default: one is trained.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", help="Folder; what it has is not run again.")
    ] = Path("runs/baselines"),
    log_to: LogToOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    as_json: JsonOption = False,
) -> None:
    """Run bridge, controls and baselines on whole test splits; print one table with a verdict each.

    Stopped work goes on when the same command is given again.
    """
    from latentwire import TrainConfig, load_task
    from latentwire.eval.method import METHODS
    from latentwire.eval.suite import Plan, run_suite
    from latentwire.models.loading import load_pair

    names = tuple(name.strip() for name in methods.split(",")) if methods else None
    for name in names or ():
        METHODS.get(name)
    given = {
        "steps": steps,
        "batch_size": batch_size,
        "lr": lr,
        "train_limit": train_limit,
        "val_limit": val_limit,
        "eval_every": eval_every,
    }
    plan = Plan(
        methods=names,
        seeds=tuple(parse_seeds(seeds)),
        split=split,  # type: ignore[arg-type]
        limit=limit,
        relay_limit=relay_limit,
        bridge=bridge,
        soft_tokens=soft_tokens,
        layer=layer,
        sender_prompt=sender_prompt,
        setting=setting,  # type: ignore[arg-type]
        max_tokens=max_tokens,
        training=TrainConfig.of(**{k: v for k, v in given.items() if v is not None}),
        budgets={
            "prompt_val_limit": prompt_val_limit,
            "shots": shots,
            "relay_tokens": relay_tokens,
            "compressed_bytes": compressed_bytes,
            "lora_rank": lora_rank,
        },
        other_run=other_run,
    )
    if len({*task}) < len(task):
        raise UsageError(f"A task is given twice: {', '.join(task)}.")
    tasks = [load_task(name) for name in task]
    for each in tasks:
        each.setting(plan.setting)
    progress, trackers = default_progress(), parse_trackers(log_to)
    lms = load_pair(sender, receiver, pair=pair, device=device, dtype=dtype, progress=progress)
    found = [
        run_suite(lms, each, out / each.name, plan, progress=progress, trackers=trackers).to_json()
        for each in tasks
    ]
    show_suites(found, out, as_json)
