"""The sinks of a training together, and what keeps it from harm by them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latentwire.errors import MissingPackageError
from latentwire.sinks.base import SINKS, Sink, Value


class Sinks:
    """Sends what a training measures to every sink. Trainings outlive their sinks: one that fails
    is told of once and gets nothing more, from later runs neither.

    Args:
        sinks: None by default.
    """

    def __init__(self, sinks: Iterable[Sink] = ()) -> None:
        self._left = list(sinks)
        self._say: Callable[[str], None] = lambda line: None

    @classmethod
    def of(cls, names: Iterable[str]) -> Sinks:
        """Sinks by name, each once.

        Raises:
            UnknownNameError: If there is no such sink.
            MissingPackageError: If the package of one is not installed.
        """
        kinds = dict.fromkeys(SINKS.get(name) for name in names)
        if missing := [kind.package for kind in kinds if find_spec(kind.package) is None]:
            raise MissingPackageError(
                f"Not installed, and asked for as a sink: {', '.join(missing)}. Run: pip install "
                f"{' '.join(missing)} (pip install 'latentwire[sinks]' gives all of them), or "
                "leave it out of --log-to."
            )
        return cls(kind() for kind in kinds)

    @contextmanager
    def run(
        self, folder: Path, config: Mapping[str, Any], say: Callable[[str], None]
    ) -> Iterator[None]:
        """Tell the sinks of one run for as long as the block lasts, however it ends.

        Args:
            folder: The run's folder; its last two names are the run's.
            config: Settings, mappings in mappings.
            say: Told of sinks that fail.
        """
        self._say, completed = say, False
        name, flat = "/".join(folder.absolute().parts[-2:]), _flat(config, ".")
        self._each(lambda sink: sink.start(name, folder, flat))
        try:
            yield
            completed = True
        finally:
            self._each(lambda sink: sink.finish(completed))

    def log(self, step: int, values: Mapping[str, Any]) -> None:
        """Numbers of one step, mappings in mappings; inside `run`."""
        numbers = {k: v for k, v in _flat(values, "/").items() if not isinstance(v, str)}
        self._each(lambda sink: sink.log(step, numbers))

    def _each(self, act: Callable[[Sink], None]) -> None:
        for sink in [*self._left]:
            try:
                # Results alone go to stdout, and some packages greet there.
                with redirect_stdout(sys.stderr):
                    act(sink)
            except Exception as error:  # a network, a disk, a server, another version
                self._left.remove(sink)
                self._say(
                    f"The sink {type(sink).__name__} failed and gets nothing more; the run goes "
                    f"on. {type(error).__name__}: {error}"
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
