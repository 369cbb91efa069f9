"""Weights & Biases tracker."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from latentwire.train.trackers.base import PROJECT, TRACKERS, Tracker, Value


@TRACKERS.add("wandb")
class WandbTracker(Tracker):
    """Creates one W&B run per training run, or per resumption of it.

    Configured by W&B's environment variables: WANDB_PROJECT, WANDB_ENTITY, and WANDB_MODE=offline
    for machines without network access (upload later with `wandb sync`).
    """

    package = "wandb"

    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(console="off"),  # do not capture the console
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, completed: bool) -> None:
        self._run.finish(exit_code=0 if completed else 1)
