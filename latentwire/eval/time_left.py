"""Progress of an evaluation and its remaining time."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import mean


class TimeLeft:
    """Estimates the remaining time from the durations of completed methods.

    The estimate for a method is its mean duration with other seeds, or else the mean of all methods
    that train, respectively do not train. There is no estimate until every remaining method has
    one.

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
        """Return a progress line for the next unit, with the remaining time if known."""
        text = f"[{self._n_seen + 1}/{len(self._units)}] {what}"
        left = [self._expected(unit) for unit in self._units[self._n_seen :]]
        if None in left:
            return text
        return f"{text} (about {sum(filter(None, left)) / 60:.0f} min left in total)"

    def done(self, *, reused: bool) -> None:
        """Count a unit as done; reused answers do not count as a measurement."""
        now = self._now()
        if not reused:
            self._took.setdefault(self._units[self._n_seen], []).append(now - self._begun)
        self._n_seen, self._begun = self._n_seen + 1, now

    def _expected(self, unit: tuple[str, bool]) -> float | None:
        """Return the expected duration of a unit in seconds, if known."""
        if unit in self._took:
            return mean(self._took[unit])
        similar = [
            mean(seconds) for (_, trains), seconds in self._took.items() if trains == unit[1]
        ]
        return mean(similar) if similar else None
