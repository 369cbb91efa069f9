"""What every tracker is: told of one run after another, each from `start` to `finish`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from latentwire.core.catalogue import Catalogue

Value = bool | int | float | str

TRACKERS: Catalogue[type[Tracker]] = Catalogue(
    "tracker", "latentwire.train.trackers", "latentwire.trackers", "latentwire.sinks.kinds"
)
PROJECT = "latentwire"
"""What runs are filed under where a service has projects and its own variables name none."""


class Tracker(ABC):
    """A service or folder that shows numbers of trainings. It may raise what it likes.

    Attributes:
        package: What has to be installed.
    """

    package: ClassVar[str]

    @abstractmethod
    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        """Begin a run.

        Args:
            name: Of the run, for people.
            folder: The run's folder; it exists.
            config: Settings by dotted key.
        """

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Numbers of one step, by name; parts of a name are joined by `/`."""

    @abstractmethod
    def finish(self, completed: bool) -> None:
        """End the run; not completed is one that was stopped or failed."""
