"""A group of trackers. A failing tracker never stops a training run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latentwire.core.errors import MissingPackageError
from latentwire.train.trackers.base import TRACKERS, Tracker, Value


class Trackers:
    """Sends the metrics of a training run to every tracker.

    A tracker that fails is reported once and then turned off, also for later runs.
    """

    def __init__(self, trackers: Iterable[Tracker] = ()) -> None:
        self._left = list(trackers)
        self._say: Callable[[str], None] = lambda line: None

    @classmethod
    def of(cls, names: Iterable[str]) -> Trackers:
        """Create trackers by name, each once.

        Raises:
            UnknownNameError: If a name is unknown.
            MissingPackageError: If the package of a tracker is not installed.
        """
        kinds = dict.fromkeys(TRACKERS.get(name) for name in names)
        if missing := [kind.package for kind in kinds if find_spec(kind.package) is None]:
            raise MissingPackageError(
                f"Trackers not installed: {', '.join(missing)}. Run: pip install "
                f"{' '.join(missing)} (or pip install 'latentwire[trackers]' for all trackers), or "
                "remove them from --log-to."
            )
        return cls(kind() for kind in kinds)

    @contextmanager
    def run(
        self, folder: Path, config: Mapping[str, Any], say: Callable[[str], None]
    ) -> Iterator[None]:
        """Track one run inside the block.

        Args:
            folder: Run folder; its last two path components name the run.
            config: Configuration, a nested mapping.
            say: Called with a message if a tracker fails.
        """
        self._say, completed = say, False
        name, flat = "/".join(folder.absolute().parts[-2:]), _flat(config, ".")
        self._each(lambda tracker: tracker.start(name, folder, flat))
        try:
            yield
            completed = True
        finally:
            self._each(lambda tracker: tracker.finish(completed))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Log metrics of one step, a nested mapping. Only inside `run`."""
        numbers = {k: v for k, v in _flat(values, "/").items() if not isinstance(v, str)}
        self._each(lambda tracker: tracker.log(step, numbers))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in [*self._left]:
            try:
                # stdout is reserved for results, and some packages print to it.
                with redirect_stdout(sys.stderr):
                    act(tracker)
            except Exception as error:  # network, disk, server, package version ..
                self._left.remove(tracker)
                self._say(
                    f"Tracker {type(tracker).__name__} failed and is turned off; training "
                    f"continues. {type(error).__name__}: {error}"
                )


def _flat(values: Mapping[str, Any], joint: str, above: str = "") -> dict[str, Value]:
    """Flatten a nested mapping. None is dropped; values that are not scalars become JSON text."""
    found: dict[str, Value] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, joint, f"{above}{key}{joint}")
        elif value is not None:
            plain = isinstance(value, bool | int | float | str)
            found[f"{above}{key}"] = value if plain else json.dumps(value, default=str)
    return found
