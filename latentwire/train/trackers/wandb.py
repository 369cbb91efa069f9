"""Weights & Biases."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from latentwire.train.trackers.base import PROJECT, TRACKERS, Tracker, Value


@TRACKERS.add("wandb")
class WandbTracker(Tracker):
    """One run there for each start of a run. Its own variables hold: WANDB_PROJECT, WANDB_ENTITY,
    WANDB_MODE=offline for machines without network (`wandb sync` later).
    """

    package = "wandb"

    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=name,
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(console="off"),  # our output is ours
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, completed: bool) -> None:
        self._run.finish(exit_code=0 if completed else 1)
