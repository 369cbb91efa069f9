"""`latentwire train`: train one bridge, or one per seed, on one task or several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentwire.core.errors import UsageError
from telepathy.cli.config_options import ConfigFileOption, Given, config_options, layers
from telepathy.cli.options import JsonOption, parse_seeds
from telepathy.experiments.config import build_config
from telepathy.reporting.training import show_training


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
            help="Preset with the bridge and loss of a published method, e.g. contrastive; "
            "--bridge and --loss take precedence.",
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
    options["wire.bridge"], options["train.loss"] = bridge_and_loss(
        options.get("wire.bridge"), preset, options.get("train.loss"), diversity_weight
    )
    if several:
        options["train.seed"] = several[0]
    tasks = {"task.name": task[0], "task.mixed_with": task[1:]}
    done = run_training(
        build_config(options, tasks), out, seeds=several, resume=resume, overwrite=overwrite
    )
    show_training(done, as_json)


def bridge_and_loss(
    bridge: str | None, preset: str | None, loss: str | None, diversity_weight: float | None
) -> tuple[str, str]:
    """Return the kind of bridge and the loss that the options select.

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
