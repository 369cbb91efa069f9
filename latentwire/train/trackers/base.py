"""Base class of experiment trackers."""

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
"""Default project name; the environment variables of a service take precedence."""


class Tracker(ABC):
    """Base class of trackers. Runs are tracked one after another, each from `start` to `finish`.

    Methods may raise any exception; `Trackers` catches and reports it.

    Attributes:
        package: Required package.
    """

    package: ClassVar[str]

    @abstractmethod
    def start(self, name: str, folder: Path, config: Mapping[str, Value]) -> None:
        """Start a run.

        Args:
            name: Display name of the run.
            folder: Existing run folder.
            config: Configuration values by dotted key.
        """

    @abstractmethod
    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the metrics of one step by name; nested names are joined by `/`."""

    @abstractmethod
    def finish(self, completed: bool) -> None:
        """End the run. `completed` is False if it was stopped or failed."""
