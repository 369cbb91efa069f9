"""TensorBoard tracker: event files in the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentwire.core.run_folder import RunFolder
from latentwire.train.trackers.base import TRACKERS, Tracker, Value


@TRACKERS.add("tensorboard")
class TensorBoardTracker(Tracker):
    """Writes to `tensorboard/` in the run folder. View all runs with `tensorboard --logdir runs`.

    A resumed run continues the same curves.
    """

    package = "tensorboard"

    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(RunFolder(folder).tensorboard))
        lines = [f"    {key}: {value}" for key, value in config.items()]
        self._writer.add_text("config", "\n".join([name, "", *lines]))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def finish(self, completed: bool) -> None:
        self._writer.close()
