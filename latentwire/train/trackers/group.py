"""The trackers of a training together, and what keeps it from harm by them."""

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

    A failing tracker never ends a run: the failure is reported once, and that tracker gets nothing
    more, from later runs either.

    Args:
        trackers: None by default.
    """

    def __init__(self, trackers: Iterable[Tracker] = ()) -> None:
        self._left = list(trackers)
        self._say: Callable[[str], None] = lambda line: None

    @classmethod
    def of(cls, names: Iterable[str]) -> Trackers:
        """Trackers by name, each once.

        Raises:
            UnknownNameError: If there is no such tracker.
            MissingPackageError: If the package of one is not installed.
        """
        kinds = dict.fromkeys(TRACKERS.get(name) for name in names)
        if missing := [kind.package for kind in kinds if find_spec(kind.package) is None]:
            raise MissingPackageError(
                f"Trackers not installed: {', '.join(missing)}. Run: pip install "
                f"{' '.join(missing)} (pip install 'latentwire[trackers]' gives all of them), or "
                "leave it out of --log-to."
            )
        return cls(kind() for kind in kinds)

    @contextmanager
    def run(
        self, folder: Path, config: Mapping[str, Any], say: Callable[[str], None]
    ) -> Iterator[None]:
        """Tell the trackers of one run for as long as the block lasts, however it ends.

        Args:
            folder: The run's folder; its last two names are the run's.
            config: Settings, mappings in mappings.
            say: Told of trackers that fail.
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
        """Numbers of one step, mappings in mappings; inside `run`."""
        numbers = {k: v for k, v in _flat(values, "/").items() if not isinstance(v, str)}
        self._each(lambda tracker: tracker.log(step, numbers))

    def _each(self, act: Callable[[Tracker], None]) -> None:
        for tracker in [*self._left]:
            try:
                # Results alone go to stdout, and some packages greet there.
                with redirect_stdout(sys.stderr):
                    act(tracker)
            except Exception as error:  # a network, a disk, a server, another version
                self._left.remove(tracker)
                self._say(
                    f"The tracker {type(tracker).__name__} failed and gets nothing more; the run "
                    f"continues. {type(error).__name__}: {error}"
                )


def _flat(values: Mapping[str, Any], joint: str, above: str = "") -> dict[str, Value]:
    """Mappings in mappings as one; what is no number is text, and None is left out."""
    found: dict[str, Value] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= _flat(value, joint, f"{above}{key}{joint}")
        elif value is not None:
            plain = isinstance(value, bool | int | float | str)
            found[f"{above}{key}"] = value if plain else json.dumps(value, default=str)
    return found
