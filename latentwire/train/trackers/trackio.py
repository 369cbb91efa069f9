"""trackio: Weights & Biases' interface over a local database, or a Space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latentwire.train.trackers.base import PROJECT, TRACKERS, Tracker, Value


@TRACKERS.add("trackio")
class TrackioTracker(Tracker):
    """One run there for each start of a run; `trackio show --project latentwire` shows them."""

    package = "trackio"

    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        import trackio

        self._run = trackio.init(project=PROJECT, name=name, config=dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, completed: bool) -> None:
        self._run.finish()
