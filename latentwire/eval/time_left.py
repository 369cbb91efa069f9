"""Progress of an evaluation and its remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import mean


class TimeLeft:
    """Estimates the remaining time from the methods that have run.

    A method is expected to take as long as with its other seeds; one that has not run yet as long
    as the mean of its kind, where methods that train are one kind and all others another. Without
    a measurement for each remaining method there is no estimate.

    Args:
        units: Units of work in order: name of the method, and whether it trains.
        now: Clock in seconds.
    """

    def __init__(
        self, units: Sequence[tuple[str, bool]], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._units, self._now = units, now
        self._n_seen = 0
        self._took: dict[tuple[str, bool], list[float]] = {}
        self._begun = now()

    def line(self, what: str) -> str:
        """Return the number of the unit that begins, its description and the remaining time."""
        text = f"[{self._n_seen + 1}/{len(self._units)}] {what}"
        left = [self._expected(unit) for unit in self._units[self._n_seen :]]
        if None in left:
            return text
        return f"{text} (about {sum(filter(None, left)) / 60:.0f} min left in total)"

    def done(self, *, reused: bool) -> None:
        """Count a unit as done; reused answers are no measurement."""
        now = self._now()
        if not reused:
            self._took.setdefault(self._units[self._n_seen], []).append(now - self._begun)
        self._n_seen, self._begun = self._n_seen + 1, now

    def _expected(self, unit: tuple[str, bool]) -> float | None:
        """Return the expected seconds of a unit; None if there is no measurement."""
        if unit in self._took:
            return mean(self._took[unit])
        alike = [mean(seconds) for (_, trains), seconds in self._took.items() if trains == unit[1]]
        return mean(alike) if alike else None
