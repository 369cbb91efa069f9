"""trackio tracker: a local database or a Hugging Face Space."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from latentwire.train.trackers.base import PROJECT, TRACKERS, Tracker, Value


@TRACKERS.add("trackio")
class TrackioTracker(Tracker):
    """Creates one trackio run per training run. View: `trackio show --project latentwire`."""

    package = "trackio"

    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        import trackio

        self._run = trackio.init(project=PROJECT, name=name, config=dict(config))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self, completed: bool) -> None:
        self._run.finish()
