"""`latentwire train`: train one bridge, or one per seed, on one task or several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latentwire.core.errors import UsageError
from telepathy.cli.config_options import ConfigFileOption, Given, config_options, layers
from telepathy.cli.options import JsonOption, parse_seeds
from telepathy.experiments.config import build_config
from telepathy.reporting.text import print_json

if TYPE_CHECKING:
    from latentwire.train import SeedsResult, TrainResult


@config_options(
    "task.setting",
    *("pair", "wire.bridge", "wire.soft_tokens", "wire.layer", "wire.options"),
    *("wire.sender_prompt", "wire.max_tokens", "wire.prompt", "train", "log_to"),
)
def train(
    task: Annotated[
        list[str],
        typer.Option("--task", help="Task name or YAML file; repeat it to train on a mixture."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Run folder.")],
    preset: Annotated[
        str | None,
        typer.Option(
            help="Bridge and loss of a published method, such as mine; --bridge and --loss take "
            "precedence.",
            rich_help_panel="Bridge",
        ),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            help="Random seeds, joined by commas: train once per seed, each in a folder of --out.",
            rich_help_panel="Initialization",
        ),
    ] = None,
    diversity_weight: Annotated[
        float | None,
        typer.Option(
            help="Weight of the diversity objective, which is added to the loss.",
            rich_help_panel="Objective",
        ),
    ] = None,
    config: ConfigFileOption = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume the run in --out from its last checkpoint.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = (
        False
    ),
    as_json: JsonOption = False,
    *,
    given: Given,
) -> None:
    """Train a bridge and write a run folder.

    SIGTERM and SIGUSR1 save the state and end with exit code 75; --resume continues.
    """
    from telepathy.run import train as run_training

    several = _several_seeds(seeds, given.get("train.seed"))
    options = layers(config, given)
    options["wire.bridge"], options["train.loss"] = recipe(
        options.get("wire.bridge"), preset, options.get("train.loss"), diversity_weight
    )
    if several:
        options["train.seed"] = several[0]
    tasks = {"task.name": task[0], "task.mixed_with": task[1:]}
    done = run_training(
        build_config(options, tasks), out, seeds=several, resume=resume, overwrite=overwrite
    )
    if not done.is_first:
        return
    facts = {"task": "+".join(t.name for t in done.tasks), "pair": done.wire.pair}
    if several:
        _show_seeds(done.result, facts, as_json)  # type: ignore[arg-type]
    else:
        _show(done.result, facts, as_json)  # type: ignore[arg-type]


def recipe(
    bridge: str | None, preset: str | None, loss: str | None, diversity_weight: float | None
) -> tuple[str, str]:
    """Kind of bridge and loss of a training.

    Args:
        bridge: Kind of bridge or, if no kind has that name, a preset.
        preset: Preset; `bridge` and `loss` take precedence over it.
        loss: Weighted sum of objectives.
        diversity_weight: Weight of the diversity objective to add, >= 0.
    Raises: UnknownNameError: If the bridge or the preset does not exist. UsageError: If the weight
        is negative.
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
    BRIDGES.get(kind)
    return kind, loss


def _several_seeds(text: str | None, seed: int | None) -> list[int]:
    if text is None:
        return []
    if seed is not None:
        raise UsageError("Give --seed or --seeds, not both.")
    return parse_seeds(text)


def _show(done: TrainResult, facts: dict[str, Any], as_json: bool) -> None:
    if as_json:
        counts = {"n_train": done.n_train, "n_cut": done.n_cut, "n_steps": done.n_steps}
        where = {"train_s": done.train_s, "run": str(done.out_dir)}
        print_json({**facts, **counts, "val": done.best, **where})
        return
    print(f"Best on val: {_line(done.best)}")
    if done.n_cut:
        print(f"{done.n_cut} of {done.n_train} training texts were truncated to the token limit.")
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
