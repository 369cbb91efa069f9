"""`latentwire train`: one bridge, or one per seed, on one task or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress, default_progress
from telepathy.cli.options import (
    DeviceOption,
    DtypeOption,
    JsonOption,
    LogToOption,
    PairOption,
    ReceiverOption,
    SenderOption,
    SenderPromptOption,
    SettingOption,
    parse_seeds,
    parse_trackers,
)
from telepathy.reporting.text import print_json

if TYPE_CHECKING:
    from latentwire.train import SeedsResult, TrainResult


def train(
    task: Annotated[
        list[str], typer.Option("--task", help="Task name or YAML file; repeat to mix several.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Run folder.")],
    pair: PairOption = None,
    sender: SenderOption = None,
    receiver: ReceiverOption = None,
    preset: Annotated[
        str | None, typer.Option(help="Bridge and loss as a paper names them, e.g. mine.")
    ] = None,
    bridge: Annotated[
        str | None, typer.Option(help="Bridge kind, see `bridges`; default: perceiver.")
    ] = None,
    loss: Annotated[
        str | None, typer.Option(help="Objectives, e.g. answer+0.5*kd; default: answer.")
    ] = None,
    soft_tokens: Annotated[int, typer.Option(min=1, help="Length of a message.")] = 8,
    layer: Annotated[
        list[int] | None, typer.Option(help="Sender layer; repeat for several.")
    ] = None,
    sender_prompt: SenderPromptOption = "raw",
    setting: SettingOption = None,
    prompt: Annotated[
        str | None,
        typer.Option(help="What the receiver reads, with {context} for the message."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=8, help="Longest text in tokens; default: the task's.")
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Bridge option, e.g. --set width=256.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Optimiser steps.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples per pass and process.")] = None,
    grad_accum: Annotated[int | None, typer.Option(help="Passes per step.")] = None,
    lr: Annotated[float | None, typer.Option(help="Highest learning rate.")] = None,
    warmup_steps: Annotated[int | None, typer.Option(help="Linear warm-up.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Of AdamW.")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Largest gradient norm.")] = None,
    diversity_weight: Annotated[
        float | None, typer.Option(help="Adds that much of the diversity objective to the loss.")
    ] = None,
    mixing: Annotated[
        str | None, typer.Option(help="Of several tasks: proportional (default) or equal.")
    ] = None,
    ema: Annotated[
        float | None, typer.Option(help="Decay of averaged weights; default: 0.95, 0: off.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Validations without a better one before it ends.")
    ] = None,
    init: Annotated[
        str | None,
        typer.Option(help="ridge, fresh, auto or a run folder: where the bridge starts."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="auto (bfloat16 on a GPU) or float32, of the bridge.")
    ] = None,
    recompute: Annotated[
        bool, typer.Option("--recompute", help="Gradient checkpointing of the receiver.")
    ] = False,
    compile_: Annotated[
        bool, typer.Option("--compile", help="Run the bridge through torch.compile.")
    ] = False,
    shard_receiver: Annotated[
        bool,
        typer.Option(
            "--shard-receiver",
            help="Spread the receiver's blocks over the processes that torchrun started.",
        ),
    ] = False,
    train_limit: Annotated[int | None, typer.Option(help="Training examples.")] = None,
    val_limit: Annotated[int | None, typer.Option(help="Validation examples.")] = None,
    eval_every: Annotated[int | None, typer.Option(help="Steps between validations.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints.")] = None,
    keep: Annotated[int | None, typer.Option(help="Checkpoints that stay.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and samples.")] = None,
    seeds: Annotated[
        str | None, typer.Option(help="Several, e.g. 0,1,2: one run each below --out.")
    ] = None,
    log_to: LogToOption = None,
    device: DeviceOption = "auto",
    dtype: DtypeOption = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace it.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Train a bridge and leave a run folder.

    SIGTERM and SIGUSR1 save and end with exit code 75: start again with --resume.
    """
    from latentwire import TrainConfig, Wire, load_task
    from latentwire.models import LanguageModel, resolve_pair
    from latentwire.models.sharding import load_for_sharding
    from latentwire.train import Processes, train_bridge, train_seeds

    several = _seeds(seeds, seed)
    kind, objectives = recipe(bridge, preset, loss, diversity_weight)
    given = {
        "steps": steps,
        "batch_size": batch_size,
        "grad_accum": grad_accum,
        "lr": lr,
        "warmup_steps": warmup_steps,
        "weight_decay": weight_decay,
        "clip_norm": clip_norm,
        "mixing": mixing,
        "ema": ema,
        "patience": patience,
        "init": init,
        "precision": precision,
        "recompute": recompute,
        "compile": compile_,
        "shard_receiver": shard_receiver,
        "train_limit": train_limit,
        "val_limit": val_limit,
        "eval_every": eval_every,
        "save_every": save_every,
        "keep": keep,
        "seed": several[0] if several else seed,
    }
    # Wrong settings and names are told before a model is loaded.
    chosen = {name: value for name, value in given.items() if value is not None}
    config = TrainConfig.of(loss=objectives, **chosen)
    tasks = [load_task(name) for name in task]
    for each in tasks:
        each.setting(setting)  # type: ignore[arg-type]
    how: dict[str, Any] = {
        "resume": resume,
        "overwrite": overwrite,
        "config": config,
        "trackers": parse_trackers(log_to),
    }
    with Processes.joined() as processes:  # before models: it chooses the GPU
        config.check(tasks, processes.world)
        progress = default_progress() if processes.is_first else Progress()
        receiving: str | LanguageModel | None = receiver
        if config.shard_receiver:
            name = resolve_pair(pair, sender, receiver)[1]
            receiving = load_for_sharding(name, device=device, dtype=dtype, progress=progress)
        wire = Wire.build(
            sender,
            receiving,
            pair=pair,
            bridge=kind,
            soft_tokens=soft_tokens,
            layer=layer or None,
            sender_prompt=sender_prompt,
            setting=setting,  # type: ignore[arg-type]
            max_tokens=max_tokens,
            prompt=prompt,
            seed=config.seed,
            device=device,
            dtype=dtype,
            progress=progress,
            **_options(set_ or []),
        )
        facts = {"task": "+".join(t.name for t in tasks), "pair": wire.pair}
        if several:
            all_runs = train_seeds(wire, tasks, out, several, progress=progress, **how)
            if processes.is_first:
                _show_seeds(all_runs, facts, as_json)
        else:
            done = train_bridge(wire, tasks, out, progress=progress, **how)
            if processes.is_first:
                _show(done, facts, as_json)


def recipe(
    bridge: str | None, preset: str | None, loss: str | None, diversity_weight: float | None
) -> tuple[str, str]:
    """Kind of bridge and loss that the flags name; what is given by itself beats a preset.

    Args:
        bridge: A kind of bridge or, if no kind has that name, a preset.
        preset: A preset.
        loss: Objectives.
        diversity_weight: Weight of the diversity objective that is added to them, >= 0.
    Raises: UnknownNameError, UsageError.
    """
    from latentwire.bridge import BRIDGES
    from latentwire.train import PRESETS, get_preset

    if bridge in PRESETS and bridge not in BRIDGES.names() and preset is None:
        bridge, preset = None, bridge
    if preset is not None:
        found = get_preset(preset)
        bridge, loss = bridge or found.bridge, loss or found.loss
    loss = loss or "answer"
    if diversity_weight:
        if diversity_weight < 0:
            raise UsageError(f"The diversity weight is {diversity_weight}; it must be 0 or more.")
        loss = f"{loss}+{diversity_weight}*diversity"
    kind = bridge or "perceiver"
    BRIDGES.get(kind)  # a wrong name is told before a model is loaded
    return kind, loss


def _seeds(text: str | None, seed: int | None) -> list[int]:
    if text is None:
        return []
    if seed is not None:
        raise UsageError("Give --seed or --seeds, not both.")
    return parse_seeds(text)


def _options(pairs: list[str]) -> dict[str, Any]:
    """`width=256` -> {"width": 256}; values are JSON where they parse, text otherwise."""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"--set wants name=value, not '{pair}'.")
        try:
            found[name] = json.loads(value)
        except ValueError:
            found[name] = value
    return found


def _show(done: TrainResult, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        counts = {"n_train": done.n_train, "n_cut": done.n_cut, "n_steps": done.n_steps}
        where = {"train_s": done.train_s, "run": str(done.out_dir)}
        print_json({**facts, **counts, "val": done.best, **where})
        return
    print(f"Best on val: {_line(done.best)}")
    if done.n_cut:
        print(f"{done.n_cut} of {done.n_train} training texts were cut to the token limit.")
    print(f"Run folder: {done.out_dir}   next: latentwire eval --run {done.out_dir}")


def _show_seeds(found: SeedsResult, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        runs = {str(s): {"val": r.best, "run": str(r.out_dir)} for s, r in found.runs.items()}
        print_json({**facts, "seeds": runs, "mean": found.mean, "sd": found.sd})
        return
    for seed, run in found.runs.items():
        print(f"Seed {seed}, best on val: {_line(run.best)}   {run.out_dir}")
    spread = "  ".join(
        f"{key} {value:.4g} (sd {found.sd[key]:.2g})" for key, value in found.mean.items()
    )
    print(f"Mean of {len(found.runs)} seeds: {spread}")


def _line(best: dict[str, float]) -> str:
    return "  ".join(f"{key} {value:.4g}" for key, value in best.items())
